"""Quantises weights with the libraries that diffusers and transformers support: torchao, bitsandbytes and gguf."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from diffusers import PipelineQuantizationConfig

from engine.diffusion.memory.types import Plan
from engine.families.spec import DENOISERS, TEXT_ENCODER

DTYPES: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8": torch.float8_e4m3fn,
}
"""PyTorch's dtype for each format."""


def parts(plan: Plan, names: Iterator[str] | tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield (name, ``int8`` or ``nf4``) for each part of a pipeline that the plan quantises.

    Args:
        plan: The plan.
        names: Names of the pipeline's parts.
    """
    for name in names:
        if name in DENOISERS and plan.precision in ("int8", "nf4"):
            yield name, plan.precision
        elif name.startswith(TEXT_ENCODER) and plan.text_encoder == "int8":
            yield name, "int8"


def config(plan: Plan, names: tuple[str, ...]) -> PipelineQuantizationConfig | None:
    """Return the ``quantization_config`` of ``from_pretrained``; None where nothing is quantised."""
    found = {name: _config(name, how, plan) for name, how in parts(plan, names)}
    return PipelineQuantizationConfig(quant_mapping=found) if found else None


def in_place(module: torch.nn.Module) -> None:
    """Quantise the linear layers of a loaded part to int8, with a scale per row, unless the part is quantised already."""
    # An optional dependency, which takes a second to import.
    from torchao.quantization import Int8WeightOnlyConfig, quantize_  # noqa: PLC0415

    if not quantised(module):
        quantize_(module, Int8WeightOnlyConfig(version=2))


def quantised(module: torch.nn.Module) -> bool:
    """Whether a library has quantised this part's weights."""
    return any(type(p) is not torch.nn.Parameter for p in module.parameters()) or (
        getattr(module, "hf_quantizer", None) is not None
    )


def _config(name: str, how: str, plan: Plan) -> Any:
    # diffusers and transformers each have their own class of the same name.
    if name.startswith(TEXT_ENCODER):
        import transformers as loads  # noqa: PLC0415
    else:
        import diffusers as loads  # noqa: PLC0415
    if how == "nf4":
        return loads.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=DTYPES[plan.compute]
        )
    from torchao.quantization import Int8WeightOnlyConfig  # noqa: PLC0415

    return loads.TorchAoConfig(Int8WeightOnlyConfig(version=2))
