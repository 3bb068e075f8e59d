"""Texts in PNG, JPEG and WebP files: text chunks, Exif comments, XMP packets and JPEG comments, by keyword.

Files are untrusted: every length is checked before it is used, and nothing is decoded but texts.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from bot.core.file_marks import XMP

MAX_TEXT = 4 * 2**20
"""Most bytes of one text, unpacked. Large ComfyUI workflows have about 1 MiB."""

MAX_TEXTS = 32
"""Most texts of a file that are read."""

MAX_PARTS = 50_000
"""Most chunks or segments of a file that are looked at; a PNG of 32 MiB has about 4,000."""

USER_COMMENT = "UserComment"
"""Keyword of Exif's comment, where A1111 and Civitai store their text in JPEG and WebP files."""

COMMENT = "Comment"
"""Keyword of a JPEG's comment."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_EXIF = b"Exif\0\0"
_XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
_MAKE, _MODEL, _DESCRIPTION, _EXIF_IFD, _USER_COMMENT = 0x010F, 0x0110, 0x010E, 0x8769, 0x9286
_ASCII_TAGS = {_DESCRIPTION: "ImageDescription", _MAKE: "Make", _MODEL: "Model"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1}
_MOST_ENTRIES = 1000
_CODE = 8
"""Bytes of the code at the beginning of Exif's comment, which names its encoding."""


class NotAnImage(ValueError):
    """The file is no PNG, JPEG or WebP."""


def read_texts(data: bytes) -> dict[str, str]:
    """Return the texts of a file by keyword; the first one counts where a keyword comes twice.

    Damaged and oversized texts are left out. ComfyUI's texts in Exif (``prompt:{...}`` as the camera's make or model)
    come under the keyword that they begin with.

    Raises:
        NotAnImage: It is no PNG, JPEG or WebP.
    """
    if data.startswith(_PNG):
        pairs = _png(data)
    elif data.startswith(_JPEG):
        pairs = _jpeg(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        pairs = _webp(data)
    else:
        raise NotAnImage("no PNG, JPEG or WebP")
    texts: dict[str, str] = {}
    for keyword, text in pairs:
        if text and len(texts) < MAX_TEXTS:
            texts.setdefault(keyword, text)
    return texts


def _png(data: bytes) -> Iterator[tuple[str, str]]:
    at = len(_PNG)
    for _ in range(MAX_PARTS):
        if at + 12 > len(data):
            return
        (length,) = struct.unpack_from(">I", data, at)
        name, end = data[at + 4 : at + 8], at + 8 + length
        if end > len(data) or not name.isalpha():
            return
        if name in {b"tEXt", b"zTXt", b"iTXt"} and length <= MAX_TEXT:
            yield from _chunk(name, data[at + 8 : end])
        elif name == b"eXIf":
            yield from _exif(data[at + 8 : end])
        at = end + 4


def _chunk(name: bytes, content: bytes) -> Iterator[tuple[str, str]]:
    raw_keyword, _, rest = content.partition(b"\0")
    keyword = raw_keyword.decode("latin-1")
    text: bytes | None = rest
    encoding = "latin-1"
    if name == b"zTXt":
        text = _unpacked(rest[1:]) if rest[:1] == b"\0" else None
    elif name == b"iTXt":
        packed, method, rest = rest[:1], rest[1:2], rest[2:]
        text = rest.partition(b"\0")[2].partition(b"\0")[2]
        encoding = "utf-8"
        if packed == b"\1":
            text = _unpacked(text) if method == b"\0" else None
    if text is not None:
        yield keyword, text.decode(encoding, "replace")


def _unpacked(packed: bytes) -> bytes | None:
    """Return the unpacked text; None if it is damaged or larger than MAX_TEXT."""
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed, MAX_TEXT)
    except zlib.error:
        return None
    return None if unpacker.unconsumed_tail or not unpacker.eof else text


def _jpeg(data: bytes) -> Iterator[tuple[str, str]]:
    at = 2
    for _ in range(MAX_PARTS):
        if at + 4 > len(data) or data[at] != 0xFF:
            return
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xDA:  # compressed data begins
            return
        (length,) = struct.unpack_from(">H", data, at + 2)
        content, end = data[at + 4 : at + 2 + length], at + 2 + length
        if length < 2 or end > len(data):
            return
        if marker == 0xE1 and content.startswith(_EXIF):
            yield from _exif(content)
        elif marker == 0xE1 and content.startswith(_XMP_SEGMENT):
            yield XMP, content[len(_XMP_SEGMENT) :].decode("utf-8", "replace")
        elif marker == 0xFE:
            yield COMMENT, content.decode("utf-8", "replace")
        at = end


def _webp(data: bytes) -> Iterator[tuple[str, str]]:
    at = 12
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            return
        name, (length,) = data[at : at + 4], struct.unpack_from("<I", data, at + 4)
        end = at + 8 + length
        if end > len(data):
            return
        if name == b"EXIF":
            yield from _exif(data[at + 8 : end])
        elif name == b"XMP " and length <= MAX_TEXT:
            yield XMP, data[at + 8 : end].decode("utf-8", "replace")
        at = end + length % 2


def _exif(block: bytes) -> Iterator[tuple[str, str]]:
    """Yield the texts of an Exif block: comment, description, make and model."""
    block = block.removeprefix(_EXIF)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return
    try:
        (offset,) = struct.unpack_from(f"{order}I", block, 4)
        below = 0
        for tag, value in _entries(block, offset, order):
            if tag == _EXIF_IFD and len(value) == 4:
                (below,) = struct.unpack(f"{order}I", value)
            elif tag in _ASCII_TAGS:
                yield _ascii(_ASCII_TAGS[tag], value)
        if below:
            for tag, value in _entries(block, below, order):
                if tag == _USER_COMMENT:
                    yield USER_COMMENT, user_comment(value, big_endian=order == ">")
    except struct.error:
        return


def _entries(block: bytes, offset: int, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield tag and value of each entry of a directory. Raises struct.error where it leaves the block."""
    (count,) = struct.unpack_from(f"{order}H", block, offset)
    for index in range(min(count, _MOST_ENTRIES)):
        at = offset + 2 + 12 * index
        tag, kind, number = struct.unpack_from(f"{order}HHI", block, at)
        length = _SIZES.get(kind, 0) * number
        if not 0 < length <= MAX_TEXT:
            continue
        (start,) = struct.unpack_from(f"{order}I", block, at + 8) if length > 4 else (at + 8,)
        if start + length <= len(block):
            yield tag, block[start : start + length]


def _ascii(keyword: str, value: bytes) -> tuple[str, str]:
    text = value.rstrip(b"\0").decode("utf-8", "replace")
    head, colon, rest = text.partition(":")
    # ComfyUI's WebP files have "prompt:{...}" and "workflow:{...}" here.
    if colon and head in {"prompt", "workflow"} and rest.lstrip()[:1] == "{":
        return head, rest
    return keyword, text


def user_comment(value: bytes, *, big_endian: bool) -> str:
    """Return the text of Exif's comment.

    Its first 8 bytes name the encoding. UTF-16 should have the byte order of the Exif block, but A1111 always writes big
    endian and others little endian: of both readings, the one with more ASCII characters is right.

    Args:
        value: The comment.
        big_endian: Byte order of the Exif block, which decides between equal readings.
    """
    code, text = value[:_CODE], value[_CODE:]
    if code == b"UNICODE\0":
        text = text[: len(text) // 2 * 2]
        if text[:2] in {b"\xff\xfe", b"\xfe\xff"}:
            return text.decode("utf-16", "replace").rstrip("\0")
        readings = [text.decode("utf-16-be", "replace"), text.decode("utf-16-le", "replace")]
        if not big_endian:
            readings.reverse()
        return max(readings, key=lambda reading: sum(" " <= char <= "~" for char in reading)).rstrip("\0")
    if code in {b"ASCII\0\0\0", b"JIS\0\0\0\0\0", b"\0" * _CODE}:
        return text.decode("utf-8", "replace").strip("\0")
    # Some programs leave the code out.
    return value.decode("utf-8", "replace").strip("\0")
