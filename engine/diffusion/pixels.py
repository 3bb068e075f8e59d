"""Turns a decoded picture into 8-bit pixels on its device, and recognises pictures of one colour."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@torch.no_grad()
def to_uint8(pixels: Tensor) -> NDArray[np.uint8] | None:
    """Return a picture as bytes in main memory; None where a value is not finite.

    What leaves the device is one flag and a byte for each value: a quarter of the float32 values.

    Args:
        pixels: (height, width, 3) from 0 to 1, on any device.
    """
    # Both are NaN where any value is. One pass over the picture is half the work of looking at each value.
    if not torch.stack(pixels.aminmax()).isfinite().all():
        return None
    # The conversion keeps the strides of the VAE's output, and a copy of contiguous bytes is one transfer.
    found = pixels.clamp(0, 1).mul_(255).round_().to(torch.uint8).contiguous()
    array: NDArray[np.uint8] = found.cpu().numpy()
    return array


def is_one_colour(pixels: NDArray[np.uint8]) -> bool:
    """Whether all pixels of (height, width, 3) are equal."""
    return bool((pixels[0] == pixels[0, 0]).all() and (pixels == pixels[0]).all())
