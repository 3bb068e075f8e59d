"""PNGs: read back exactly, of every size, and with the text chunks that provenance adds."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Pillow

from bot.core.file_marks import embed_texts
from engine.diffusion.png import png
from tests.fakes.png_texts import read_texts

Pixels = NDArray[np.uint8]


def decoded(data: bytes) -> Pixels:
    """Return what Pillow reads; it checks the checksums."""
    opened = Pillow.open(io.BytesIO(data))
    assert (opened.format, opened.mode, opened.info) == ("PNG", "RGB", {})
    return np.asarray(opened)


def noise(height: int, width: int, values: int = 256, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, values, (height, width, 3), np.uint8)


@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([2, 3, 256]), st.integers(0, 2**16))
def test_pixels_are_read_back_exactly(height: int, width: int, values: int, seed: int) -> None:
    # Few values give many neighbours at equal distances, where the filter's order decides.
    pixels = noise(height, width, values, seed) * np.uint8(255 // (values - 1))
    assert np.array_equal(decoded(png(pixels)), pixels)


@pytest.mark.parametrize("slope", [(1, 0), (0, 1), (1, 1), (3, -2), (-7, 5)])
def test_slopes_that_wrap_around_are_read_back_exactly(slope: tuple[int, int]) -> None:
    down, across = np.mgrid[0:97, 0:130]
    pixels = np.stack([slope[0] * down + slope[1] * across + shift for shift in (0, 90, 200)], axis=2) % 256
    assert np.array_equal(decoded(png(pixels.astype(np.uint8))), pixels)


def test_an_array_that_is_not_contiguous_is_read_back_exactly() -> None:
    pixels = noise(40, 50).transpose(1, 0, 2)[::2]
    assert np.array_equal(decoded(png(pixels)), pixels)


def test_the_same_pixels_give_the_same_bytes() -> None:
    pixels = noise(33, 20)
    assert png(pixels) == png(pixels.copy())


def test_the_chunks_are_those_of_the_specification() -> None:
    data = png(noise(33, 20))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = list[tuple[bytes, bytes]](), 8
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        content = data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length) == (zlib.crc32(name + content),)
        found.append((name, content))
        at += 12 + length
    assert [name for name, _ in found] == [b"IHDR", b"IDAT", b"IEND"]
    assert found[0][1] == struct.pack(">IIBBBBB", 20, 33, 8, 2, 0, 0, 0)
    assert len(zlib.decompress(found[1][1])) == 33 * (1 + 20 * 3)


def test_a_picture_is_much_smaller_than_its_pixels_and_not_larger_than_pillows() -> None:
    coarse = Pillow.fromarray(noise(5, 5))
    pixels = np.asarray(coarse.resize((256, 256), Pillow.Resampling.BICUBIC))
    theirs = io.BytesIO()
    Pillow.fromarray(pixels).save(theirs, "PNG")
    assert len(png(pixels)) < 1.1 * len(theirs.getvalue())
    assert len(png(np.full((256, 256, 3), 90, np.uint8))) < 1000


def test_texts_are_added_without_changing_the_pixels() -> None:
    pixels = noise(30, 40)
    data = embed_texts(png(pixels), {"parameters": "a red apple", "other": "夜空"})
    assert read_texts(data) == {"parameters": "a red apple", "other": "夜空"}
    assert np.array_equal(np.asarray(Pillow.open(io.BytesIO(data))), pixels)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2), np.uint8), np.zeros((0, 2, 3), np.uint8), np.zeros((2, 2, 3))],
)
def test_arrays_of_another_shape_are_refused(pixels: Pixels) -> None:
    with pytest.raises(ValueError, match="a PNG needs bytes"):
        png(pixels)
