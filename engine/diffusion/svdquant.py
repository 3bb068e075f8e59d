"""Denoisers in SVDQuant, four bits by Nunchaku: recognised by their tensors, and loaded by the package nunchaku.

The names of tensors and classes are those of nunchaku 1.2 (``nunchaku/models/linear.py``). Its kernels need a card of
NVIDIA, so that this was tested with a package that stands in for it, and not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.contract import UnknownModel
from engine.diffusion.memory.types import NUNCHAKU
from engine.weights import TensorInfo, header

_CLASSES: Mapping[str, tuple[str, str]] = {
    "ZImageTransformer2DModel": ("transformers.transformer_zimage", "NunchakuZImageTransformer2DModel"),
    "QwenImageTransformer2DModel": ("transformers.transformer_qwenimage", "NunchakuQwenImageTransformer2DModel"),
    "UNet2DConditionModel": ("unets.unet_sdxl", "NunchakuSDXLUNet2DConditionModel"),
}
"""Module below ``nunchaku.models`` and class, by the class of diffusers that it replaces."""

_LAYERS = frozenset({"SVDQW4A4Linear", "AWQW4A16Linear"})
"""Names of the package's quantised layers."""

_WEIGHT, _SCALES = ".qweight", ".wscales"

OTHERWISE = "take the model in int8 (EASEL_PRECISION) or as GGUF"


def form_of(tensors: Mapping[str, TensorInfo]) -> str:
    """Return ``int4`` or ``fp4`` for the header of a file in SVDQuant; empty for other files."""
    if not any(name.endswith(_WEIGHT) for name in tensors):
        return ""
    scales = {tensor.dtype for name, tensor in tensors.items() if name.endswith(_SCALES)}
    return "" if not scales else "fp4" if "F8_E4M3" in scales else "int4"


def form_of_file(path: Path | None) -> str:
    """Return ``int4`` or ``fp4`` for a denoiser's file in SVDQuant; empty for another, or none. Raises UnknownModel."""
    return form_of(header(path)) if path is not None and path.suffix.lower() == ".safetensors" else ""


def check(path: Path, kind: str) -> None:
    """Raise UnknownModel where the package has no class for a denoiser.

    Args:
        path: Its file, in SVDQuant.
        kind: Its class in diffusers.
    """
    if kind not in _CLASSES:
        raise UnknownModel(f"{path} is in SVDQuant, which can't be loaded for a {kind}: {OTHERWISE}.")


def load(path: Path, kind: str, dtype: Any) -> Any:
    """Return a denoiser, on the CPU.

    Args:
        path: Its file, in SVDQuant.
        kind: Its class in diffusers.
        dtype: In which it computes what is not in four bits: bf16, or fp16.

    Raises:
        UnknownModel: The package is missing, or is too old to have the class.
    """
    module, name = _CLASSES[kind]
    try:
        found = getattr(import_module(f"{NUNCHAKU}.models.{module}"), name)
    except (ImportError, AttributeError) as e:
        raise UnknownModel(f"the package nunchaku here has no {name}; install a newer one, or {OTHERWISE}") from e
    return found.from_pretrained(str(path), torch_dtype=dtype)


def is_loaded_in(part: Any) -> bool:
    """Whether a loaded denoiser has layers in SVDQuant, to which LoRAs can't be added."""
    return any(type(layer).__name__ in _LAYERS for layer in part.modules())
