"""Files of source images, valid and invalid."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

RED, BLUE, GREEN, WHITE, BLACK = (200, 30, 30), (30, 30, 200), (30, 160, 30), (255, 255, 255), (0, 0, 0)


def picture(
    width: int = 96,
    height: int = 64,
    colour: tuple[int, ...] = RED,
    *,
    mode: str = "RGB",
    form: str = "PNG",
    **options: object,
) -> bytes:
    """A picture of one colour."""
    out = io.BytesIO()
    Image.new(mode, (width, height), colour if len(colour) > 1 else colour[0]).save(out, form, **options)
    return out.getvalue()


def turned(width: int = 96, height: int = 64) -> bytes:
    """A JPEG as a phone writes it: left half red and right half blue as stored, to be turned by 90 degrees to the right."""
    sideways = Image.new("RGB", (width, height), RED)
    sideways.paste(BLUE, (width // 2, 0, width, height))
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    sideways.save(out, "JPEG", quality=95, exif=exif)
    return out.getvalue()


def half_mask(width: int = 96, height: int = 64) -> bytes:
    """A mask whose right half is drawn anew."""
    return _mask(width, height, (width // 2, 0, width, height))


def side_mask(width: int = 96, height: int = 64) -> bytes:
    """A mask whose leftmost eighth is drawn anew."""
    return _mask(width, height, (0, 0, width // 8, height))


def _mask(width: int, height: int, white: tuple[int, int, int, int]) -> bytes:
    mask = Image.new("L", (width, height), 0)
    mask.paste(255, white)
    return png_of(mask)


def bomb(width: int = 10_000, height: int = 10_000) -> bytes:
    """A small PNG whose header declares a huge size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def png_of(image: Image.Image) -> bytes:
    """Encode a picture as a PNG file."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    """Decode a file."""
    found = Image.open(io.BytesIO(data))
    found.load()
    return found
