"""Pixels outside of a mask are computed on the device exactly as NumPy computes them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from engine.families.denoise_state import InitImage, WholePicture, kept_outside_mask

SIDE = 64
PIXELS = np.random.default_rng(1).normal(0.5, 0.4, (SIDE, SIDE, 3)).astype(np.float32)
# Every byte, each in every channel.
VALUES = np.arange(SIDE * SIDE) % 256
SOURCE = np.stack([np.roll(VALUES, n) for n in (0, 85, 170)], axis=1).reshape(SIDE, SIDE, 3).astype(np.uint8)
MASK = (np.random.default_rng(2).integers(0, 256, (SIDE, SIDE)) / 255).astype(np.float32)


def test_the_composite_is_that_of_numpy() -> None:
    expected = PIXELS * MASK[..., None] + SOURCE.astype(np.float32) / 255 * (1 - MASK[..., None])
    found = kept_outside_mask(torch.from_numpy(PIXELS), InitImage(SOURCE, MASK)).numpy()
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)


def test_an_enlarged_part_is_put_back_as_by_pillow_and_numpy() -> None:
    left, top, right, bottom = box = (8, 4, 40, 36)
    part = (slice(top, bottom), slice(left, right))
    size = (right - left, bottom - top)
    planes = [Pillow.fromarray(PIXELS[..., n]).resize(size, Pillow.Resampling.BICUBIC) for n in range(3)]
    small, share = np.stack([np.asarray(plane) for plane in planes], axis=-1), MASK[part][..., None]
    expected = SOURCE.astype(np.float32) / np.float32(255)
    expected[part] = small * share + expected[part] * (1 - share)
    start = InitImage(SOURCE, MASK, around=WholePicture(box, SOURCE, MASK))
    assert np.array_equal(kept_outside_mask(torch.from_numpy(PIXELS), start).numpy(), expected)


def test_where_the_mask_is_black_the_source_stays() -> None:
    found = kept_outside_mask(torch.from_numpy(PIXELS), InitImage(SOURCE, np.zeros((SIDE, SIDE), np.float32)))
    assert np.array_equal((found * 255).round().to(torch.uint8).numpy(), SOURCE)


@pytest.mark.parametrize("init_image", [None, InitImage(SOURCE)])
def test_without_a_mask_the_picture_stays_as_it_is(init_image: InitImage | None) -> None:
    pixels = torch.from_numpy(PIXELS)
    assert kept_outside_mask(pixels, init_image) is pixels


def test_a_value_that_is_not_finite_stays_visible_outside_of_the_mask() -> None:
    pixels = torch.from_numpy(PIXELS.copy())
    pixels[3, 4, 1] = float("nan")
    found = kept_outside_mask(pixels, InitImage(SOURCE, np.zeros((SIDE, SIDE), np.float32)))
    assert torch.isfinite(found).logical_not().nonzero().tolist() == [[3, 4, 1]]
