"""Checks the file of EASEL_UPSCALER without loading its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from engine.contract import EngineError, UnknownModel
from engine.weights import TensorInfo, header

LIBRARY = "spandrel"
"""The library that loads upscalers; an optional dependency."""


def check(path: Path) -> Mapping[str, TensorInfo]:
    """Return the tensors of the upscaler's file.

    Raises:
        UnknownModel: The file is incomplete or could run code; one sentence says why and what to do.
    """
    if path.suffix.lower() != ".safetensors":
        raise UnknownModel(
            f"EASEL_UPSCALER: {path} is no .safetensors file; other weights can run code and are not loaded."
        )
    try:
        return header(path)
    except UnknownModel as e:
        raise UnknownModel(f"EASEL_UPSCALER: {e}") from e


def size(path: Path) -> int:
    """Return the bytes of its weights in fp32. Raises UnknownModel as ``check`` does."""
    return 4 * sum(tensor.count for tensor in check(path).values())


def check_library() -> None:
    """Raise EngineError where the library is not installed. Nothing is imported."""
    if find_spec(LIBRARY) is None:
        raise EngineError(f"EASEL_UPSCALER needs {LIBRARY}, which is not installed: pip install 'easel[upscale]'.")
