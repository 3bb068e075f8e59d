"""Which part of a picture is drawn at full size when its mask is small."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.diffusion.init_image import Box, zoom_box


def white(width: int, height: int, *boxes: Box) -> NDArray[np.bool_]:
    found = np.zeros((height, width), bool)
    for left, top, right, bottom in boxes:
        found[top:bottom, left:right] = True
    return found


@pytest.mark.parametrize(
    ("size", "box", "part"),
    [
        # In the middle: a quarter of its longer side beside it.
        ((1024, 1024), (300, 300, 600, 600), (225, 225, 675, 675)),
        # As little as a sixteenth of the picture beside a small one.
        ((1024, 1024), (500, 500, 520, 520), (436, 436, 584, 584)),
        # In corners and at edges it is moved inside.
        ((1024, 1024), (0, 0, 100, 100), (0, 0, 228, 228)),
        ((1024, 1024), (924, 924, 1024, 1024), (796, 796, 1024, 1024)),
        ((1024, 1024), (1000, 500, 1024, 524), (872, 436, 1024, 588)),
        # In the picture's ratio.
        ((1024, 512), (500, 250, 520, 270), (426, 218, 594, 302)),
        ((512, 1024), (0, 0, 1, 1), (0, 0, 65, 130)),
    ],
)
def test_the_part_around_a_small_mask(size: tuple[int, int], box: Box, part: Box) -> None:
    assert zoom_box(white(*size, box)) == part


def test_every_part_of_a_mask_is_inside() -> None:
    assert zoom_box(white(1024, 1024, (100, 100, 110, 110), (500, 300, 510, 310))) == (0, 0, 615, 615)


@pytest.mark.parametrize(
    "boxes",
    [
        [(0, 0, 512, 512)],  # a quarter
        [(0, 0, 1024, 1024)],
        [(0, 0, 10, 10), (1014, 1014, 1024, 1024)],
        [(0, 500, 1024, 520)],  # thin and as wide as the picture
        [(100, 500, 700, 520)],  # with what is beside it nearly as wide
    ],
)
def test_a_mask_that_is_not_small_is_drawn_with_all_of_the_picture(boxes: list[Box]) -> None:
    assert zoom_box(white(1024, 1024, *boxes)) is None


def test_any_mask_has_a_part_of_the_pictures_ratio_inside_the_picture() -> None:
    rng = np.random.default_rng(0)
    zoomed = 0
    for _ in range(500):
        width, height = (int(side) for side in rng.integers(8, 60, 2) * 16)
        (left, right), (top, bottom) = (np.sort(rng.integers(0, side, 2)) for side in (width, height))
        box = (int(left), int(top), int(right) + 1, int(bottom) + 1)
        found = zoom_box(white(width, height, box))
        if found is None:
            continue
        zoomed += 1
        x0, y0, x1, y1 = found
        assert 0 <= x0 <= box[0] < box[2] <= x1 <= width
        assert 0 <= y0 <= box[1] < box[3] <= y1 <= height
        assert abs((x1 - x0) / width - (y1 - y0) / height) < 1 / min(width, height)
        assert (x1 - x0) * 1.2 < width
    assert zoomed > 100
