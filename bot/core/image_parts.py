"""Chunks and segments of PNG, JPEG and WebP files, and the sizes in their headers.

Files are untrusted: every length is checked before it is used, and nothing is decoded.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAX_PARTS = 50_000
"""Most chunks or segments of a file; a PNG of 32 MiB has about 4,000. Decoders take seconds for more."""

MAX_EXIF_SEGMENTS = 64
"""Most Exif segments of a JPEG, which has one or some. Pillow joins them in quadratic time, which can be minutes."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
EXIF = b"Exif\0\0"
"""What Exif begins with in a JPEG's segment."""

_PNG_NAME = re.compile(rb"\w{4}")
_APP1, _SOS = 0xE1, 0xDA
# Markers without a length; Pillow also reads JPG, DAC and the reserved ones so.
_STANDALONE = frozenset({0x00, 0x01, 0xC8, 0xCC, *range(0xD0, 0xDA), *range(0xF0, 0xFE)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4} - _STANDALONE
"""Markers of frames, which begin with the number of bits and the size."""

Part = tuple[bytes, int, int]
"""A chunk or a segment: its name (a JPEG's marker), and where its content begins and ends in the file."""


class NotAnImage(ValueError):
    """The file is no PNG, JPEG or WebP, or it has more parts than any program writes."""


class TooManyParts(NotAnImage):
    """The file has more than MAX_PARTS chunks or segments, or more than MAX_EXIF_SEGMENTS of Exif."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Format (``PNG``, ``JPEG`` or ``WEBP``) and size in pixels, as the file's header says."""

    format: str
    width: int
    height: int


def read_header(data: bytes) -> ImageHeader:
    """Return what a file's header says; nothing is decoded. Raises NotAnImage."""
    kind, found = parts(data)
    size_of = {"PNG": _png_size, "JPEG": _jpeg_size, "WEBP": _webp_size}[kind]
    try:
        # Sizes stand in the first bytes of a part.
        sizes = (size_of(name, data[start : min(end, start + 32)]) for name, start, end in found)
        width, height = next((size for size in sizes if size is not None), (0, 0))
    except struct.error:
        width = height = 0
    if not width or not height:
        raise NotAnImage("its header is damaged")
    return ImageHeader(kind, width, height)


def has_too_many_parts(data: bytes) -> bool:
    """Whether a PNG, JPEG or WebP has more parts than any program writes; other files have none."""
    try:
        for _ in parts(data)[1]:
            pass
    except TooManyParts:
        return True
    except NotAnImage:
        pass
    return False


def parts(data: bytes) -> tuple[str, Iterator[Part]]:
    """Return a file's format and its parts in order, up to the first one that leaves the file. Raises NotAnImage."""
    if data.startswith(_PNG):
        return "PNG", _png(data)
    if data.startswith(_JPEG):
        return "JPEG", _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP", _webp(data)
    raise NotAnImage("no PNG, JPEG or WebP")


def _png(data: bytes) -> Iterator[Part]:
    at = len(_PNG)
    for _ in range(MAX_PARTS):
        if at + 12 > len(data):
            return
        (length,) = struct.unpack_from(">I", data, at)
        name, end = data[at + 4 : at + 8], at + 8 + length
        if end > len(data) or not _PNG_NAME.fullmatch(name):
            return
        yield name, at + 8, end
        at = end + 4
    raise TooManyParts("too many chunks")


def _jpeg(data: bytes) -> Iterator[Part]:
    at, of_exif = 2, 0
    for _ in range(MAX_PARTS):
        # Decoders skip what is no marker.
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            return
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _STANDALONE:
            at += 2
            continue
        if marker == _SOS:  # compressed data begins
            return
        (length,) = struct.unpack_from(">H", data, at + 2)
        start, end = at + 4, at + 2 + length
        if length < 2 or end > len(data):
            return
        of_exif += marker == _APP1 and data.startswith(EXIF, start)
        if of_exif > MAX_EXIF_SEGMENTS:
            raise TooManyParts("too many segments of Exif")
        yield bytes([marker]), start, end
        at = end
    raise TooManyParts("too many segments")


def _webp(data: bytes) -> Iterator[Part]:
    at = 12
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            return
        name, (length,) = data[at : at + 4], struct.unpack_from("<I", data, at + 4)
        end = at + 8 + length
        if end > len(data):
            return
        yield name, at + 8, end
        at = end + length % 2
    raise TooManyParts("too many chunks")


def _png_size(name: bytes, head: bytes) -> tuple[int, int] | None:
    return struct.unpack_from(">II", head) if name == b"IHDR" else None


def _jpeg_size(name: bytes, head: bytes) -> tuple[int, int] | None:
    if name[0] not in _FRAMES:
        return None
    height, width = struct.unpack_from(">HH", head, 1)
    return width, height


def _webp_size(name: bytes, head: bytes) -> tuple[int, int] | None:
    match name:
        case b"VP8X":
            low = struct.unpack_from("<HBHB", head, 4)
            return low[0] + (low[1] << 16) + 1, low[2] + (low[3] << 16) + 1
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", head, 6)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", head, 1)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None
