"""The upscaler that EASEL_UPSCALER names, as far as it can be looked at without its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from engine.contract import EngineError, UnknownModel
from engine.weights import Held, header

LIBRARY = "spandrel"
"""What loads it; an extra of Easel's own."""


def check(path: Path) -> Mapping[str, Held]:
    """Look whether it is a whole file of weights that can't run code; return what its header says it holds.

    Raises:
        UnknownModel: It is not; one clear sentence says why and what to do.
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
    """Return the bytes that its weights take on a device, in fp32. Raises UnknownModel: as ``check``."""
    return 4 * sum(held.count for held in check(path).values())


def check_library() -> None:
    """Look whether what loads it is installed; nothing is imported. Raises EngineError, in one clear sentence."""
    if find_spec(LIBRARY) is None:
        raise EngineError(f"EASEL_UPSCALER needs {LIBRARY}, which is not installed: pip install 'easel[upscale]'.")
