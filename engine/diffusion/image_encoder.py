"""Turns decoded pictures into bytes on their device, and into files on a thread of its own while the device goes on."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from engine.diffusion.png import png

QUALITY = 80
"""JPEG quality of previews, which have an eighth of the picture's sides and are shown for a moment."""

JPEG = "image/jpeg"

Encode = Callable[[NDArray[np.uint8]], bytes]


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Return (height, width, 3) as a JPEG."""
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


class ImageEncoder:
    """Encodes pictures one by one, in the order of ``submit``."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encode")

    def submit(
        self, pixels: NDArray[np.uint8], done: Callable[[bytes | Exception], None], encode: Encode = png
    ) -> None:
        """Encode pixels and call ``done`` on the encoder's thread, with the file or with what was raised."""
        # A future's done-callback would run on the caller's thread if the encoder was quicker.
        self._pool.submit(self._encode, pixels, done, encode)

    @staticmethod
    def _encode(pixels: NDArray[np.uint8], done: Callable[[bytes | Exception], None], encode: Encode) -> None:
        try:
            data = encode(pixels)
        except Exception as error:  # noqa: BLE001 - whatever Pillow raises ends this picture alone
            done(error)
        else:
            done(data)

    def close(self) -> None:
        """Return when everything is encoded."""
        self._pool.shutdown()


@torch.no_grad()
def to_uint8(pixels: Tensor) -> NDArray[np.uint8] | None:
    """Return a picture as bytes in main memory; None where a value is not finite.

    What leaves the device is one flag and a byte for each value: a quarter of the float32 values.

    Args:
        pixels: (height, width, 3) from 0 to 1, on any device.
    """
    found, finite = packed(pixels)
    if not finite:
        return None
    array: NDArray[np.uint8] = found.cpu().numpy()
    return array


def packed(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return a picture as bytes, and whether all of its values are finite, both on its device.

    Args:
        pixels: (height, width, 3) from 0 to 1, on any device.
    """
    # Both are NaN where any value is. One pass over the picture is half the work of looking at each value.
    finite = torch.stack(pixels.aminmax()).isfinite().all()
    # The conversion keeps the strides of the VAE's output, and a copy of contiguous bytes is one transfer.
    return pixels.clamp(0, 1).mul_(255).round_().to(torch.uint8).contiguous(), finite


def is_one_colour(pixels: NDArray[np.uint8]) -> bool:
    """Whether all pixels of (height, width, 3) are equal."""
    return bool((pixels[0] == pixels[0, 0]).all() and (pixels == pixels[0]).all())
