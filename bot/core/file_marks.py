"""Where marks stand in picture files: text chunks of a PNG, and options of Pillow's writers for JPEG and WebP copies."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TypedDict

from bot.core.image_parts import Part, parts

PARAMETERS = "parameters"
"""Keyword of A1111's text in a PNG."""

XMP = "XML:com.adobe.xmp"
"""Keyword of the XMP packet in a PNG (XMP specification, part 3, 1.1.5)."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_END = len(_SIGNATURE) + 4 + 4 + 13 + 4
"""Length of the signature and of IHDR (length, name, 13 bytes, checksum), which is always the first chunk."""

_EXIF_HEADER = b"Exif\0\0"
_CODE = b"UNICODE\0"
_LONG, _UNDEFINED = 4, 7
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286

_GUESSED = 1000
"""Bytes by which Civitai guesses the byte order of a comment."""

MAX_SEGMENT = 65_000
"""Most bytes of one mark in a JPEG, whose segments hold 65,533; a longer prompt is left out of the copy."""


SignCopy = Callable[[bytes, str, bytes], bytes]
"""Signs a copy of a stored picture: copy with its other marks, media type and stored file in, signed copy out. It blocks."""


def unsigned(copy: bytes, mime: str, original: bytes) -> bytes:  # noqa: ARG001 - a SignCopy
    """Return a copy as it is: the ``SignCopy`` where nothing is signed."""
    return copy


class SaveOptions(TypedDict, total=False):
    """Options of ``PIL.Image.Image.save`` for JPEG, WebP and AVIF."""

    exif: bytes
    xmp: bytes


def embed_texts(data: bytes, texts: Mapping[str, str]) -> bytes:
    """Return the PNG with these text chunks after its header, before the pixels: some readers ignore later ones.

    ASCII becomes a tEXt chunk. Other text becomes an iTXt chunk in UTF-8 without compression, since readers disagree on
    Latin-1; so does XMP, as its specification asks.

    Args:
        data: A PNG.
        texts: Text by keyword (1 to 79 Latin-1 characters).

    Raises:
        ValueError: It is not a PNG.
    """
    if data[: len(_SIGNATURE)] != _SIGNATURE or data[12:16] != b"IHDR" or len(data) < _HEADER_END:
        raise ValueError("not a PNG: its signature or its header is missing")
    pixels = memoryview(data)[_HEADER_END:]  # without a copy of a megabyte or more
    return b"".join((data[:_HEADER_END], *(_chunk(keyword, text) for keyword, text in texts.items()), pixels))


def embed_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    """Return the PNG with a chunk after its header.

    Args:
        data: A PNG.
        name: Four letters, whose cases say how readers treat it (PNG specification, 5.4).
        content: Its content.
    """
    return data[:_HEADER_END] + _encoded(name, content) + data[_HEADER_END:]


def read_chunk(data: bytes, name: bytes) -> bytes:
    """Return the content of a PNG's first chunk of this name before its pixels; empty where there is none."""
    return next((data[start:end] for found, start, end in _before_pixels(data) if found == name), b"")


def drop_chunks(data: bytes, names: Collection[bytes]) -> bytes:
    """Return the PNG without the chunks of these names, which stand before its pixels."""
    dropped = [(start - 8, end + 4) for found, start, end in _before_pixels(data) if found in names]
    for start, end in reversed(dropped):
        data = data[:start] + data[end:]
    return data


def _before_pixels(png: bytes) -> Iterator[Part]:
    """Yield the parts of a PNG up to its pixels: all marks stand before them. Nothing for other data."""
    if png.startswith(_SIGNATURE):
        yield from itertools.takewhile(lambda part: part[0] != b"IDAT", parts(png)[1])


def _encoded(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _chunk(keyword: str, text: str) -> bytes:
    name, between = (b"tEXt", b"\0") if text.isascii() and keyword != XMP else (b"iTXt", b"\0\0\0\0\0")
    # A lone surrogate is no text; it can come from a chat, and a picture must not be lost for it.
    body = name + keyword.encode("latin-1") + between + text.encode("utf-8", "replace")
    return struct.pack(">I", len(body) - len(name)) + body + struct.pack(">I", zlib.crc32(body))


def copied_marks(info: Mapping[str | tuple[int, int], object]) -> SaveOptions:
    """Return the options that write the marks of a stored PNG into a JPEG or WebP copy of it.

    Args:
        info: ``info`` of the opened PNG.
    """
    options = SaveOptions()
    parameters, packet = info.get(PARAMETERS), info.get(XMP)
    if isinstance(parameters, str) and len(block := exif_block(parameters)) <= MAX_SEGMENT:
        options["exif"] = block
    if isinstance(packet, str):
        options["xmp"] = packet.encode() if len(packet.encode()) <= MAX_SEGMENT else _without_prompt(packet)
    return options


def thumbnail_marks(info: Mapping[str | tuple[int, int], object]) -> SaveOptions:
    """Return the options that write the XMP of a stored PNG, without its prompt, into a thumbnail: about 1 kB.

    Args:
        info: ``info`` of the opened PNG.
    """
    packet = info.get(XMP)
    marks = _without_prompt(packet) if isinstance(packet, str) else b""
    return SaveOptions(xmp=marks) if 0 < len(marks) <= MAX_SEGMENT else SaveOptions()


def _without_prompt(packet: str) -> bytes:
    """Return a packet without its prompt, which alone can be long."""
    head, _, rest = packet.partition("<Iptc4xmpExt:AIPromptInformation>")
    return (head + rest.partition("</Iptc4xmpExt:AIPromptInformation>")[2]).encode()


def exif_block(text: str) -> bytes:
    """Return an Exif block (big-endian TIFF) with this comment in UTF-16, as A1111 and Civitai read it.

    Pillow's own writer gives the comment the type BYTE. A1111 and piexif read only UNDEFINED, so the block is built here:
    a directory with a link to the Exif directory, which has the comment (Exif 2.32, 4.6.5 and 4.6.6).
    """
    value = _CODE + _utf_16(text)
    first = struct.pack(">2sHIHHHIII", b"MM", 42, 8, 1, _EXIF_IFD, _LONG, 1, 26, 0)
    second = struct.pack(">HHHIII", 1, _USER_COMMENT, _UNDEFINED, len(value), 26 + 18, 0)
    return _EXIF_HEADER + first + second + value


def _utf_16(text: str) -> bytes:
    """Return the text in big-endian UTF-16, with spaces before it where Civitai would take it for little-endian.

    Civitai takes a text for little-endian if zeros are more frequent at odd places of its first bytes. ASCII characters
    have their zeros at even places; 一, 最 and the ideographic space have theirs at odd places, and a long Chinese prompt
    has no ASCII before its settings. Readers strip the spaces.
    """
    encoded = text.encode("utf-16-be", "surrogatepass")
    head = encoded[:_GUESSED]
    return b"\0 " * (head[1::2].count(0) - head[::2].count(0)) + encoded
