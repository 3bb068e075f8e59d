"""The C2PA manifests of a file as boxes (JUMBF, ISO 19566-5): how much of them a reader has to take apart.

A reader builds objects of each value in a manifest: 9 MB of empty lists take 1.4 GB. So their size is known before they are
read. Thumbnails, which are most of large manifests, are stored as they are and cost nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from bot.core.image_parts import NotAnImage, parts

MAX_VALUES = 512 * 1024
"""Most bytes of manifests without their thumbnails that are read; the history of a picture takes some 10 kB."""

_APP11 = b"\xeb"
_JUMBF = b"JP"
"""What a JPEG's segment of JUMBF begins with; then come the numbers of the box and of the segment, 2 and 4 bytes."""

_NUMBERS, _HEADER = 8, 8
"""Bytes of these three, and of a box's header, which each segment repeats."""
_SUPERBOX, _BINARY = b"jumb", b"bidb"
_PACKED = b"brob"

_STORE = b"jumdc2pa"
"""What stands at the beginning of all manifests: the description box, and its type."""


def is_too_large(data: bytes) -> bool:
    """Whether the manifests of a file have more than MAX_VALUES bytes without thumbnails, or are packed.

    Files of other formats than PNG, JPEG and WebP are as large as all of their bytes.
    """
    try:
        kind, found = parts(data)
    except NotAnImage:
        return len(data) > MAX_VALUES
    name = {"PNG": b"caBX", "JPEG": _APP11, "WEBP": b"C2PA"}[kind]
    contents, rest = [], 0
    for part, start, end in found:
        rest = end
        if part == name:
            contents.append(data[start:end])
    if len(data) - rest > MAX_VALUES and data.find(_STORE, rest) >= 0:
        # Other readers go on behind a damaged part, and behind the pixels of a JPEG.
        return True
    stores = [_joined(contents)] if kind == "JPEG" else contents
    total = 0
    for store in stores:
        total += _values(store)
        if total > MAX_VALUES:
            return True
    return False


def _joined(contents: Sequence[bytes]) -> bytes:
    """Return the box of a JPEG's segments; bytes that are no box where they are not one box in order."""
    boxes = [content for content in contents if content.startswith(_JUMBF)]
    in_order = all(
        box[2:4] == boxes[0][2:4] and int.from_bytes(box[4:_NUMBERS], "big") == number
        for number, box in enumerate(boxes, start=1)
    )
    if not in_order:
        # Readers differ in which of them they join: all count.
        return b"\0" * sum(map(len, boxes))
    return b"".join(box[_NUMBERS if number == 0 else _NUMBERS + _HEADER :] for number, box in enumerate(boxes))


def _values(store: bytes) -> int:
    """Return the bytes of all boxes but binary ones, those that are no box too; more than MAX_VALUES if a box is packed.

    It stops where they are more than MAX_VALUES.
    """
    total = 0
    open_boxes = [(0, len(store))]
    while open_boxes:
        at, end = open_boxes.pop()
        # Each box adds its header, so a file of nothing but headers ends here, too.
        while at < end and total <= MAX_VALUES:
            if at + _HEADER > end:
                total += end - at
                break
            (length,), name = struct.unpack_from(">I", store, at), store[at + 4 : at + _HEADER]
            start = at + _HEADER
            if length == 1 and start + 8 <= end:
                (length,) = struct.unpack_from(">Q", store, start)
                start += 8
            stop = min(end, at + length) if length else end
            if name == _PACKED:
                return MAX_VALUES + 1
            total += start - at
            if stop < start:  # no length that a box can have
                total += end - start
                break
            if name == _SUPERBOX:
                open_boxes.append((start, stop))
            elif name != _BINARY:
                total += stop - start
            at = stop
    return total
