"""JPEG and PNG containers: strips metadata, reads the Exif orientation, and finds truncated scans.

Files are untrusted: every length is checked before it is used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

JPEG = b"\xff\xd8\xff"
PNG = b"\x89PNG\r\n\x1a\n"
JPEG_END = b"\xff\xd9"

_EXIF = b"Exif\0\0"
_ORIENTATION, _SHORT = 0x0112, 3
_MOST_ENTRIES = 1000
# JFIF and Adobe's colour transform define the colour space.
_KEPT_SEGMENTS = {0xE0: b"JFIF\0", 0xEE: b"Adobe"}
_SOS, _EOI, _SOF2 = 0xDA, 0xD9, 0xC2
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_COEFFICIENTS = 64


@dataclass(frozen=True, slots=True)
class StrippedImage:
    """A file without metadata, and its Exif orientation, 1 to 8."""

    data: bytes
    orientation: int


def strip_metadata(data: bytes) -> StrippedImage | None:
    """Return a JPEG or a PNG without texts, profiles and Exif; None for other or damaged files."""
    try:
        if data.startswith(JPEG):
            return _bare_jpeg(data)
        if data.startswith(PNG):
            return _bare_png(data)
    except (struct.error, IndexError):
        return None
    return None


def exif_orientation(exif: bytes) -> int:
    """Return the orientation of an Exif block, 1 to 8; 1 if there is none that can be read."""
    exif = exif.removeprefix(_EXIF)
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (offset,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, offset)
        for index in range(min(count, _MOST_ENTRIES)):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, offset + 2 + 12 * index)
            if tag == _ORIENTATION:
                return value if kind == _SHORT and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def is_progressive(data: bytes) -> bool:
    """Return whether a JPEG is progressive."""
    return any(marker == _SOF2 for marker, _, _ in _segments(data))


def has_all_scans(data: bytes) -> bool:
    """Return whether a progressive JPEG has begun its last scan; missing rows of it are hardly visible."""
    try:
        return _all_fine(data)
    except IndexError:
        return False


def _all_fine(data: bytes) -> bool:
    # By component: the coefficients whose last bit is in a scan.
    fine: dict[int, set[int]] = {}
    for marker, start, end in _segments(data):
        content = data[start:end]
        if marker == _SOF2:
            fine = {content[6 + 3 * index]: set() for index in range(content[5])}
        elif marker == _SOS:
            count = content[0]
            first, last, bits = content[1 + 2 * count], content[2 + 2 * count], content[3 + 2 * count] & 15
            for index in range(count):
                if bits == 0 and content[1 + 2 * index] in fine:
                    fine[content[1 + 2 * index]].update(range(first, last + 1))
    return bool(fine) and all(len(found) >= _COEFFICIENTS for found in fine.values())


def _bare_jpeg(data: bytes) -> StrippedImage:
    kept, exif, end = [JPEG[:2]], b"", 2
    for marker, start, stop in _segments(data):
        if marker == _SOS:
            break
        content = data[start:stop]
        if marker == 0xE1 and content.startswith(_EXIF):
            exif = exif or content
        about = 0xE0 <= marker <= 0xEF or marker == 0xFE
        if not about or (marker in _KEPT_SEGMENTS and content.startswith(_KEPT_SEGMENTS[marker])):
            kept.append(data[start - 4 : stop])
        end = stop
    return StrippedImage(b"".join([*kept, data[end:]]), exif_orientation(exif))


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each marker with the start and end of its content; compressed data is skipped."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF or data[at + 1] in {0x00, 0xFF} | _STANDALONE:
            # Compressed data, up to the next marker.
            at = data.find(b"\xff", at + 1)
            if at < 0:
                return
            continue
        marker = data[at + 1]
        if marker == _EOI:
            return
        (length,) = struct.unpack_from(">H", data, at + 2)
        start, end = at + 4, at + 2 + length
        if length < 2 or end > len(data):
            return
        yield marker, start, end
        at = end


def _bare_png(data: bytes) -> StrippedImage:
    kept, exif, at = [PNG], b"", len(PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name, end = data[at + 4 : at + 8], at + 12 + length
        if not name.isalpha():
            break  # damaged, as the decoder says; a loop over zeros would take seconds
        if name == b"eXIf":
            exif = data[at + 8 : at + 8 + length]
        # Chunks with a lower-case first letter are optional; tRNS is kept for transparency.
        if name[:1].isupper() or name == b"tRNS":
            kept.append(data[at:end])
        at = end
    return StrippedImage(b"".join(kept), exif_orientation(exif))
