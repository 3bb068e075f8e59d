"""Chooses the part of a picture that is drawn at full size when a mask is small, as A1111's "only masked" does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SMALL = 1 / 4
"""Share of the picture's area below which the mask's bounding box is zoomed into."""

WORTH = 1.25
"""Least factor of enlargement; a smaller one would hardly add detail."""

_BESIDE, _LEAST_BESIDE = 1 / 4, 1 / 16
"""What is kept on each side of the box, so that the model sees what surrounds it: a share of the box's longer side, and
at least a share of the picture's shorter one. The latter is A1111's 32 pixels of 512."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


def zoom_box(white: NDArray[np.bool_]) -> Box | None:
    """Return the part of a picture to draw instead of the whole one; None where the mask is not small.

    It has the picture's ratio to within a pixel, lies within the picture, and holds all that is white.

    Args:
        white: (height, width), True where the picture is drawn again; at least one pixel is.
    """
    height, width = white.shape
    ys, xs = np.nonzero(white)
    left, right = int(xs.min()), int(xs.max()) + 1
    top, bottom = int(ys.min()), int(ys.max()) + 1
    across, down = right - left, bottom - top
    if across * down >= SMALL * width * height:
        return None
    beside = max(_BESIDE * max(across, down), _LEAST_BESIDE * min(width, height))
    share = max((across + 2 * beside) / width, (down + 2 * beside) / height)
    if share * WORTH > 1:
        return None
    x, y = _placed(left, right, round(share * width), width), _placed(top, bottom, round(share * height), height)
    return x[0], y[0], x[1], y[1]


def _placed(begin: int, end: int, length: int, most: int) -> tuple[int, int]:
    """Return a stretch of this length around another one, moved to lie between 0 and ``most``."""
    at = min(max((begin + end - length) // 2, 0), most - length)
    return at, at + length
