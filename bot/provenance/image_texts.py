"""Texts in PNG, JPEG and WebP files: text chunks, Exif comments, XMP packets and JPEG comments, by keyword.

Files are untrusted: every length is checked before it is used, and nothing is decoded but texts.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from bot.core.file_marks import XMP
from bot.core.image_parts import EXIF, parts

MAX_TEXT = 4 * 2**20
"""Most bytes of one text, unpacked. Large ComfyUI workflows have about 1 MiB."""

MAX_ALL_TEXTS = 4 * MAX_TEXT
"""Most bytes that are unpacked and copied for all texts of a file; what comes later is left out."""

MAX_TEXTS = 32
"""Most texts of a file that are read."""

MAX_EXIF_BLOCKS = 8
"""Most Exif blocks of a file that are read; formats allow one."""

USER_COMMENT = "UserComment"
"""Keyword of Exif's comment, where A1111 and Civitai store their text in JPEG and WebP files."""

COMMENT = "Comment"
"""Keyword of a JPEG's comment."""

_XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
_APP1, _COM = 0xE1, 0xFE
_MAKE, _MODEL, _DESCRIPTION, _EXIF_IFD, _USER_COMMENT = 0x010F, 0x0110, 0x010E, 0x8769, 0x9286
_ASCII_TAGS = {_DESCRIPTION: "ImageDescription", _MAKE: "Make", _MODEL: "Model"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1}
_MOST_ENTRIES = 1000
_CONTROLS = bytes([*range(32), 127])
_CODE = 8
"""Bytes of the code at the beginning of Exif's comment, which names its encoding."""


def read_texts(data: bytes) -> dict[str, str]:
    """Return the texts of a file by keyword; the first one counts where a keyword comes twice.

    Damaged and oversized texts are left out. ComfyUI's texts in Exif (``prompt:{...}`` as the camera's make or model)
    come under the keyword that they begin with.

    Raises:
        NotAnImage: It is no PNG, JPEG or WebP, or it has too many parts.
    """
    kind, found = parts(data)
    read = {"PNG": _png_texts, "JPEG": _jpeg_texts, "WEBP": _webp_texts}[kind]
    budget = _Budget()
    texts: dict[str, str] = {}
    for name, start, end in found:
        for keyword, text in read(name, data[start:end], budget):
            if text and len(texts) < MAX_TEXTS:
                texts.setdefault(keyword, text)
    return texts


class _Budget:
    """What may still be read of a file: bytes that are unpacked and copied for its texts, and Exif blocks."""

    def __init__(self) -> None:
        self.left = MAX_ALL_TEXTS
        self.blocks = MAX_EXIF_BLOCKS

    def take(self, size: int) -> bool:
        """Take this number of bytes; returns whether there were as many."""
        self.left = max(0, self.left - size)
        return self.left > 0


def _png_texts(name: bytes, content: bytes, budget: _Budget) -> Iterator[tuple[str, str]]:
    if name in {b"tEXt", b"zTXt", b"iTXt"} and len(content) <= MAX_TEXT:
        yield from _chunk(name, content, budget)
    elif name == b"eXIf":
        yield from _exif(content, budget)


def _jpeg_texts(name: bytes, content: bytes, budget: _Budget) -> Iterator[tuple[str, str]]:
    marker = name[0]
    if marker == _APP1 and content.startswith(EXIF):
        yield from _exif(content, budget)
    elif marker == _APP1 and content.startswith(_XMP_SEGMENT) and budget.take(len(content)):
        yield XMP, content[len(_XMP_SEGMENT) :].decode("utf-8", "replace")
    elif marker == _COM and budget.take(len(content)):
        yield COMMENT, content.decode("utf-8", "replace")


def _webp_texts(name: bytes, content: bytes, budget: _Budget) -> Iterator[tuple[str, str]]:
    if name == b"EXIF":
        yield from _exif(content, budget)
    elif name == b"XMP " and len(content) <= MAX_TEXT and budget.take(len(content)):
        yield XMP, content.decode("utf-8", "replace")


def _chunk(name: bytes, content: bytes, budget: _Budget) -> Iterator[tuple[str, str]]:
    raw_keyword, _, rest = content.partition(b"\0")
    keyword = raw_keyword.decode("latin-1")
    text: bytes | None = rest
    encoding = "latin-1"
    if name == b"zTXt":
        text = _unpacked(rest[1:], budget) if rest[:1] == b"\0" else None
    elif name == b"iTXt":
        packed, method, rest = rest[:1], rest[1:2], rest[2:]
        text = rest.partition(b"\0")[2].partition(b"\0")[2]
        encoding = "utf-8"
        if packed == b"\1":
            text = _unpacked(text, budget) if method == b"\0" else None
    if text is not None and budget.take(len(text)):
        yield keyword, text.decode(encoding, "replace")


def _unpacked(packed: bytes, budget: _Budget) -> bytes | None:
    """Return the unpacked text; None if it is damaged or larger than MAX_TEXT. What is refused takes as much as it could."""
    if not budget.left:
        return None
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed, MAX_TEXT)
    except zlib.error:
        text = None
    if text is None or unpacker.unconsumed_tail or not unpacker.eof:
        budget.take(MAX_TEXT)
        return None
    return text


def _exif(block: bytes, budget: _Budget) -> Iterator[tuple[str, str]]:
    """Yield the texts of an Exif block: comment, description, make and model."""
    block = block.removeprefix(EXIF)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or not budget.blocks:
        return
    budget.blocks -= 1
    try:
        (offset,) = struct.unpack_from(f"{order}I", block, 4)
        below = 0
        for tag, start, end in _entries(block, offset, order):
            if tag == _EXIF_IFD and end - start == 4:
                (below,) = struct.unpack_from(f"{order}I", block, start)
            elif tag in _ASCII_TAGS and budget.take(end - start):
                yield _ascii(_ASCII_TAGS[tag], block[start:end])
        if below:
            for tag, start, end in _entries(block, below, order):
                if tag == _USER_COMMENT and budget.take(end - start):
                    yield USER_COMMENT, user_comment(block[start:end], big_endian=order == ">")
    except struct.error:
        return


def _entries(block: bytes, offset: int, order: str) -> Iterator[tuple[int, int, int]]:
    """Yield each entry's tag, and where its value begins and ends. Raises struct.error where the directory leaves the block."""
    (count,) = struct.unpack_from(f"{order}H", block, offset)
    for index in range(min(count, _MOST_ENTRIES)):
        at = offset + 2 + 12 * index
        tag, kind, number = struct.unpack_from(f"{order}HHI", block, at)
        length = _SIZES.get(kind, 0) * number
        if not 0 < length <= MAX_TEXT:
            continue
        (start,) = struct.unpack_from(f"{order}I", block, at + 8) if length > 4 else (at + 8,)
        if start + length <= len(block):
            yield tag, start, start + length


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
        return max(
            readings, key=lambda reading: len(reading.encode("ascii", "ignore").translate(None, _CONTROLS))
        ).rstrip("\0")
    if code in {b"ASCII\0\0\0", b"JIS\0\0\0\0\0", b"\0" * _CODE}:
        return text.decode("utf-8", "replace").strip("\0")
    # Some programs leave the code out.
    return value.decode("utf-8", "replace").strip("\0")
