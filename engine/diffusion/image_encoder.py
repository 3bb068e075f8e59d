"""Pixels to files, on a thread of its own: the device goes on drawing meanwhile."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

COMPRESSION = 4
"""zlib's level: on photographs within 2 % of the size at the default 6, in half the time."""

QUALITY = 80
"""Of previews' JPEG: they are an eighth as large as the picture, and shown for a moment."""

PNG, JPEG = "image/png", "image/jpeg"


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return (height, width, 3) as a PNG without metadata; the same pixels give the same bytes."""
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "PNG", compress_level=COMPRESSION)
    return buffer.getvalue()


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Return (height, width, 3) as a JPEG."""
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


class ImageEncoder:
    """Works in the order of asking."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encode")

    def put(
        self,
        pixels: NDArray[np.uint8],
        then: Callable[[bytes | Exception], None],
        form: Callable[[NDArray[np.uint8]], bytes] = png,
    ) -> None:
        """Encode and hand the file, or what went wrong, to ``then``; always on the encoder's thread."""
        # A future's done-callback would run on the caller's thread whenever the encoder was quicker.
        self._pool.submit(self._encode, pixels, then, form)

    @staticmethod
    def _encode(
        pixels: NDArray[np.uint8],
        then: Callable[[bytes | Exception], None],
        form: Callable[[NDArray[np.uint8]], bytes],
    ) -> None:
        try:
            data = form(pixels)
        except Exception as error:  # noqa: BLE001 - whatever Pillow raises ends this picture alone
            then(error)
        else:
            then(data)

    def close(self) -> None:
        """Return once everything is encoded."""
        self._pool.shutdown()
