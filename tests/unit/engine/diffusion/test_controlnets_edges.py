"""Edges of pictures: where they are found, how thin they are, and how weak ones hang on strong ones."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

from engine.diffusion.controlnets import canny, is_edge_map

Pixels = NDArray[np.uint8]


def flat(value: int = 0, size: tuple[int, int] = (20, 30)) -> Pixels:
    return np.full((*size, 3), value, np.uint8)


def disc() -> Pixels:
    picture = Pillow.new("RGB", (64, 64), "black")
    ImageDraw.Draw(picture).ellipse((12, 12, 52, 52), fill="white")
    return np.asarray(picture)


def naive(grey: Pixels, low: float, high: float) -> Pixels:
    """Canny's steps pixel by pixel, with the tangents that OpenCV compares."""
    height, width = grey.shape
    p = np.pad(grey.astype(int), 1, mode="edge")
    across, down, strength = (np.zeros((height + 2, width + 2), int) for _ in range(3))
    for y in range(1, height + 1):
        for x in range(1, width + 1):
            a = p[y - 1 : y + 2, x - 1 : x + 2]
            across[y, x] = a[0, 2] + 2 * a[1, 2] + a[2, 2] - a[0, 0] - 2 * a[1, 0] - a[2, 0]
            down[y, x] = a[2, 0] + 2 * a[2, 1] + a[2, 2] - a[0, 0] - 2 * a[0, 1] - a[0, 2]
            strength[y, x] = abs(across[y, x]) + abs(down[y, x])
    ridges = set()
    for y in range(1, height + 1):
        for x in range(1, width + 1):
            dx, dy, m = across[y, x], down[y, x], strength[y, x]
            if m <= low:
                continue
            if abs(dy) < 0.41421356 * abs(dx):
                kept = m > strength[y, x - 1] and m >= strength[y, x + 1]
            elif abs(dy) > 2.41421356 * abs(dx):
                kept = m > strength[y - 1, x] and m >= strength[y + 1, x]
            else:
                s = -1 if (dx < 0) != (dy < 0) else 1
                kept = m > strength[y - 1, x - s] and (m > strength[y + 1, x + s])
            if kept:
                ridges.add((y, x))
    found = [at for at in ridges if strength[at] > high]
    taken = set(found)
    while found:
        y, x = found.pop()
        near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & ridges - taken
        taken |= near
        found += near
    out = np.zeros((height, width), np.uint8)
    for y, x in taken:
        out[y - 1, x - 1] = 255
    return out


def test_a_picture_of_one_colour_has_no_edge() -> None:
    assert not canny(flat(130)).any()


def test_a_step_is_one_pixel_wide_and_where_it_is() -> None:
    pixels = flat()
    pixels[:, 15:] = 255
    found = canny(pixels)
    assert found.dtype == np.uint8
    assert found.shape == (20, 30)
    assert set(np.unique(found)) == {0, 255}
    assert (found.sum(axis=1) == 255).all()
    assert np.argmax(found[5]) in (14, 15)
    assert np.array_equal(canny(pixels.transpose(1, 0, 2)), found.T)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_the_steps_give_pixel_by_pixel(seed: int) -> None:
    noise = Pillow.fromarray(np.random.default_rng(seed).integers(0, 255, (12, 16), np.uint8))
    grey = np.asarray(noise.resize((48, 36), Pillow.Resampling.BICUBIC))
    found = canny(grey)
    assert 0.01 < (found > 0).mean() < 0.4
    assert np.array_equal(found, naive(grey, 100, 200))


def test_a_weak_edge_stays_where_it_goes_on_from_a_strong_one() -> None:
    pixels = flat(size=(40, 40))
    pixels[:20, 20:] = 60  # gradient 240
    pixels[20:, 20:] = 35  # gradient 140
    assert (canny(pixels).sum(axis=1) > 0).all()
    alone = flat(size=(40, 40))
    alone[:, 20:] = 35
    assert not canny(alone).any()
    assert canny(alone, 50, 120).any()


def test_a_disc_has_a_closed_and_thin_outline() -> None:
    found = canny(disc()) > 0
    ys, xs = np.nonzero(found)
    radius = np.hypot(ys - 32, xs - 32)
    assert radius.min() > 18.5
    assert radius.max() < 21.5
    angles = np.sort(np.arctan2(ys - 32, xs - 32))
    assert np.diff(angles).max() < 0.15
    assert found.sum() < 1.2 * 2 * np.pi * 20


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3)])
def test_any_size_has_edges_or_none(size: tuple[int, int]) -> None:
    assert canny(flat(size=size)).shape == size


def test_a_picture_of_edges_is_known_as_one() -> None:
    edges = np.repeat(canny(disc())[..., None], 3, axis=2)
    assert is_edge_map(edges)
    scaled = Pillow.fromarray(edges).resize((160, 160), Pillow.Resampling.LANCZOS)
    assert is_edge_map(np.asarray(scaled))
    red = edges.copy()
    red[..., 1:] = 0
    for other in (disc(), 255 - edges, flat(), flat(128), red):
        assert not is_edge_map(other)
