"""Pictures of a server: what is taken, and what is refused before it takes memory."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow

from engine.comfy.picture import PREVIEW_SIDE, BadPicture, checked, preview


def encoded(picture: Pillow.Image, kind: str, **more: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **more)
    return out.getvalue()


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that says that it is very large."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


RED = Pillow.new("RGB", (32, 16), (200, 30, 40))


@pytest.mark.parametrize(("kind", "more"), [("PNG", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 100})])
def test_pictures_become_a_png_without_metadata(kind: str, more: dict[str, object]) -> None:
    given = RED.copy()
    given.info["comment"] = "secret"
    found = Pillow.open(io.BytesIO(checked(encoded(given, kind, **more), 32, 16)))
    assert (found.format, found.size, found.mode, found.info) == ("PNG", (32, 16), "RGB", {})
    assert np.abs(np.asarray(found).astype(int) - np.asarray(RED)).max() <= (3 if kind == "JPEG" else 0)


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "I;16"])
def test_every_form_of_pixels_becomes_rgb(mode: str) -> None:
    given = (
        Pillow.fromarray(np.full((16, 32), 128 << 8, np.uint16))
        if mode == "I;16"
        else Pillow.new("L", (32, 16), 128).convert(mode)
    )
    found = np.asarray(Pillow.open(io.BytesIO(checked(encoded(given, "PNG"), 32, 16))))
    assert found.shape == (16, 32, 3)
    assert np.all(found == 128)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no picture"),
        (b"<html>", "no picture"),
        (encoded(RED, "PNG")[:60], "no picture"),
        (encoded(RED, "GIF"), "no picture"),
        (encoded(RED.resize((16, 16)), "PNG"), "16x16 pixels instead of 32x16"),
        (bomb(50_000, 1_000), "50000x1000"),
        (bomb(60_000, 60_000), "no picture"),
        (bomb(32, 16), "no picture"),
    ],
)
def test_what_was_not_asked_for_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(BadPicture, match=reason):
        checked(data, 32, 16)


def test_previews_are_small_jpegs() -> None:
    found = preview(encoded(Pillow.new("RGB", (1024, 512)), "PNG"))
    assert found is not None
    opened = Pillow.open(io.BytesIO(found))
    assert (opened.format, opened.size) == ("JPEG", (PREVIEW_SIDE, PREVIEW_SIDE // 2))
    assert preview(b"nothing") is None
    assert preview(bomb(5_000, 5_000)) is None
