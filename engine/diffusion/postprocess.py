"""How a drawing ends: its numbers as pixels, and what an exception of a pipeline means for it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from engine.contract import BadRecipe, EngineError, OutOfMemory


def rounded(pixels: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """Return 0 to 1 as 0 to 255; None where a number is not finite."""
    if not np.isfinite(pixels).all():
        return None
    found: NDArray[np.uint8] = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    return found


def meaning(error: Exception) -> EngineError:
    """Return what an exception of a pipeline means for the recipe."""
    if isinstance(error, EngineError):
        return error
    text = (str(error).strip().splitlines() or [""])[0][:300]
    # The CPU's allocator has no exception class of its own.
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        return OutOfMemory("The picture does not fit the device's memory: ask for a smaller one.")
    return BadRecipe(f"The pipeline could not draw this recipe ({type(error).__name__}: {text}).")
