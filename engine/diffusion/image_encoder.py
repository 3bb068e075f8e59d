"""Encodes pixels to files on a thread of its own, while the device goes on drawing."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

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
