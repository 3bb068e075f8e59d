"""Converts decoded pixels to bytes, and exceptions of a pipeline to engine errors."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from engine.contract import BadRecipe, EngineError, OutOfMemory


def rounded(pixels: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """Return pixels from 0 to 1 as 0 to 255; None where a value is not finite."""
    if not np.isfinite(pixels).all():
        return None
    found: NDArray[np.uint8] = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    return found


def meaning(error: Exception) -> EngineError:
    """Return the EngineError for an exception that a pipeline raised."""
    if isinstance(error, EngineError):
        return error
    text = (str(error).strip().splitlines() or [""])[0][:300]
    # The CPU allocator raises a plain RuntimeError.
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        return OutOfMemory("The picture does not fit the device's memory: ask for a smaller one.")
    return BadRecipe(f"The pipeline could not draw this recipe ({type(error).__name__}: {text}).")
