"""Measures how long the PNG of a picture takes and how large it is, compared with Pillow's default."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.diffusion.png import png

SIDE = 1024
"""Sides of the measured pictures, in pixels."""

TEXTURED = "textured"
"""Name of the picture that `easel bench` measures: its file is as large as that of a usual photograph."""

_REPEATS = 5

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PngResult:
    """Two encodings of one picture.

    Attributes:
        ms: Processor time of Easel's encoder in milliseconds.
        pillow_ms: The same of Pillow's default.
        size: Easel's file in bytes.
        pillow_size: Pillow's file in bytes.
    """

    ms: float
    pillow_ms: float
    size: int
    pillow_size: int


def sample_pictures() -> Mapping[str, Pixels]:
    """Return pictures by name, each (1024, 1024, 3): a smooth one, a textured one, and both with grain."""
    rng = np.random.default_rng(0)
    smooth = _enlarged(rng, 6)
    # Details of all sizes, each half as strong as the one of twice its size: the spectrum of photographs.
    details = [(_enlarged(rng, 2**n) - 128) / 2 ** (n - 3) for n in range(3, 10)]
    textured = 128 + 0.6 * np.sum(details, axis=0)
    grain = rng.normal(0, 3, (SIDE, SIDE, 3))
    made = {"smooth": smooth, TEXTURED: textured, "smooth, grain": smooth + grain, "textured, grain": textured + grain}
    return {name: pixels.clip(0, 255).round().astype(np.uint8) for name, pixels in made.items()}


def _enlarged(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    coarse = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
    return np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(np.float64)


def pillow_png(pixels: Pixels) -> bytes:
    """Return the PNG that Pillow writes by default."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def measure_png(pixels: Pixels) -> PngResult:
    """Encode a picture by both encoders, the best of five times each."""
    milliseconds, size = _best(png, pixels)
    pillow_ms, pillow_size = _best(pillow_png, pixels)
    return PngResult(milliseconds, pillow_ms, size, pillow_size)


def _best(encode: Callable[[Pixels], bytes], pixels: Pixels) -> tuple[float, int]:
    best, size = float("inf"), 0
    for _ in range(_REPEATS):
        # The thread's own time: encoders use one core, and other processes must not count.
        began = time.thread_time()
        size = len(encode(pixels))
        best = min(best, (time.thread_time() - began) * 1000)
    return best, size
