"""The bytes of a decoded picture are those that NumPy computes from its float32 values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.diffusion.image_encoder import is_one_colour, to_uint8

Values = NDArray[np.float32]


def by_numpy(pixels: Values) -> NDArray[np.uint8]:
    """Return the bytes as they were computed in main memory; a picture of an older version has them."""
    found: NDArray[np.uint8] = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    return found


def halves() -> Values:
    """Return each value between two bytes, the nearest floats beside it, and values out of range."""
    between = (np.arange(-3, 260, dtype=np.float32) + np.float32(0.5)) / np.float32(255)
    beside = [np.nextafter(between, np.float32(side)) for side in (-9, 9)]
    found: Values = np.concatenate([between, *beside, np.array([-1e30, 1e30, -0.0], np.float32)])
    return found


def test_bytes_are_rounded_as_by_numpy_at_every_half() -> None:
    values = halves()
    pixels = np.stack([values, values[::-1], np.roll(values, 7)], axis=1)[None]
    found = to_uint8(torch.from_numpy(pixels))
    assert found is not None
    assert np.array_equal(found, by_numpy(pixels))


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**16))
def test_bytes_are_those_of_numpy(height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).normal(0.5, 0.4, (height, width, 3)).astype(np.float32)
    found = to_uint8(torch.from_numpy(pixels))
    assert found is not None
    assert np.array_equal(found, by_numpy(pixels))


def test_planes_of_channels_become_contiguous_bytes() -> None:
    planes = torch.rand(3, 17, 23, generator=torch.Generator().manual_seed(1))
    found = to_uint8(planes.permute(1, 2, 0))
    assert found is not None
    assert found.flags.c_contiguous
    assert np.array_equal(found, by_numpy(planes.permute(1, 2, 0).numpy()))


def test_the_decoded_values_stay_as_they_are() -> None:
    values = torch.tensor([[[-1.0, 0.25, 2.0]]])
    to_uint8(values)
    assert values.tolist() == [[[-1.0, 0.25, 2.0]]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_value_that_is_not_finite_is_found(value: float) -> None:
    pixels = torch.full((9, 7, 3), 0.5)
    pixels[8, 6, 2] = value
    assert to_uint8(pixels) is None


@pytest.mark.parametrize("place", [None, (0, 0, 0), (0, 3, 1), (4, 0, 2), (4, 3, 0)])
def test_one_colour(place: tuple[int, int, int] | None) -> None:
    pixels = np.broadcast_to(np.array([9, 8, 7], np.uint8), (5, 4, 3)).copy()
    if place is not None:
        pixels[place] += 1
    assert is_one_colour(pixels) == (place is None)
