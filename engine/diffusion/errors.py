"""Translates exceptions of PyTorch and diffusers to engine errors."""

from __future__ import annotations

import torch

from engine.contract import BadRecipe, EngineError, OutOfMemory


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception says that memory is short; the CPU allocator raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message, at most 300 characters."""
    return (str(error).strip().splitlines() or [""])[0][:300]


def engine_error(error: Exception) -> EngineError:
    """Return the EngineError for an exception that a pipeline raised."""
    if isinstance(error, EngineError):
        return error
    if is_out_of_memory(error):
        return OutOfMemory("The picture does not fit the device's memory: ask for a smaller one.")
    return BadRecipe(f"The pipeline could not draw this recipe ({type(error).__name__}: {first_line(error)}).")
