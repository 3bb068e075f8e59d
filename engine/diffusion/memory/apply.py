"""Applies a memory plan to a diffusers pipeline whose parts are called one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from accelerate import cpu_offload
from accelerate.hooks import ModelHook, add_hook_to_module
from diffusers import BitsAndBytesConfig, PipelineQuantizationConfig
from diffusers.hooks import HookRegistry, apply_layerwise_casting

from engine.diffusion.memory.estimate import TILE
from engine.diffusion.memory.pending import LayerChanges, PendingWeights
from engine.diffusion.memory.stream import stream
from engine.diffusion.memory.types import BITSANDBYTES, NUNCHAKU, SVDQUANT, TORCHAO, Plan
from engine.diffusion.memory.w8a8 import W8A8Linear, convert_layer, convertible, scales_rows
from engine.families.spec import DENOISERS, TEXT_ENCODER

DTYPES: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8": torch.float8_e4m3fn,
}
"""PyTorch's dtype for each format."""


def quantised_parts(plan: Plan, names: Iterable[str]) -> Iterator[tuple[str, str]]:
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


def quantization_config(plan: Plan, names: tuple[str, ...]) -> PipelineQuantizationConfig | None:
    """Return the ``quantization_config`` of ``from_pretrained``; None where the libraries quantise nothing."""
    found = {
        name: BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=DTYPES[plan.compute]
        )
        for name, how in quantised_parts(plan, names)
        if how == "nf4"
    }
    return PipelineQuantizationConfig(quant_mapping=found) if found else None


def quantise_linear(module: torch.nn.Module) -> None:
    """Quantise linear layers to int8, with a scale per row, unless they are quantised already.

    Args:
        module: A part, or a layer.
    """
    # An optional dependency, which takes a second to import.
    from torchao.quantization import Int8WeightOnlyConfig, quantize_  # noqa: PLC0415

    if not is_quantised(module):
        quantize_(module, Int8WeightOnlyConfig(version=2))


def is_quantised(module: torch.nn.Module) -> bool:
    """Whether a library has quantised this part's weights."""
    return (
        getattr(module, "hf_quantizer", None) is not None
        or any(type(p) is not torch.nn.Parameter for p in module.parameters())
        or any(isinstance(layer, W8A8Linear) for layer in module.modules())
    )


def quantisation(plan: Plan) -> str:
    """Return how weights are quantised and by what, for the record of a picture; empty where they are not.

    Two pictures of the same model in the same precision differ where this differs.
    """
    by = _version(_LIBRARY.get(plan.precision, ""))
    found = []
    if plan.w8a8:
        found.append(f"{plan.precision} w8a8 torch {torch.__version__} {by}".strip())
    elif plan.precision in ("int8", "nf4", "fp8", SVDQUANT):
        found.append(f"{plan.precision} weights {by}".strip())
    if plan.text_encoder == "int8":
        found.append(f"text int8 weights {_version(TORCHAO)}")
    return ", ".join(found)


_LIBRARY: Mapping[str, str] = {"int8": TORCHAO, "nf4": BITSANDBYTES, SVDQUANT: NUNCHAKU}


def _version(library: str) -> str:
    """Return a library's name and version; its name alone, or nothing, where it has none."""
    try:
        return f"{library} {version(library)}" if library else ""
    except PackageNotFoundError:
        return library


_HOST = torch.device("cpu")


def options(plan: Plan, names: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the arguments of ``DiffusionPipeline.from_pretrained`` that implement the plan.

    Args:
        plan: The plan.
        names: Names of the pipeline's parts, as in its ``model_index.json``.
    """
    found: dict[str, Any] = {"dtype": loaded_in(plan)}
    config = quantization_config(plan, names)
    if config is not None:
        found["quantization_config"] = config
    return found


def loaded_in(plan: Plan) -> torch.dtype:
    """Return the dtype in which weights are loaded that keep it, before ``settle`` quantises or casts them."""
    return DTYPES[plan.loaded]


def settle(
    pipe: Any,
    plan: Plan,
    device: torch.device,
    *,
    reorder: bool = True,
    stored: Mapping[str, torch.dtype] | None = None,
    changes: LayerChanges | None = None,
) -> None:
    """Place a loaded pipeline as the plan says. Call it once.

    Weights are converted, quantised and moved one by one, or block by block where they are streamed: of those that are
    mapped from their files, main memory holds no more than that at a time, and what the plan keeps there.

    Args:
        pipe: A pipeline on the CPU, loaded with ``options``.
        plan: The plan.
        device: The device that draws; the CPU where ``plan.on`` says so.
        reorder: Store the VAE's weights in the order that is fastest on the device. Sums of another order differ by
            their last bits, so a pipeline that is drawn by its own call keeps its order.
        stored: The dtype of each part that was loaded in that of its files; the others were loaded in ``loaded_in``.
        changes: LoRAs that are added to the weights.
    """
    modules = dict(_modules(pipe))
    plain = {name: module for name, module in modules.items() if not is_quantised(module)}
    pending = _pending(plain, plan, device, stored or {}, changes or {})
    _prepare_vae(pipe, plan, device, reorder=reorder)
    _cast(plain, plan)
    if plan.offload in ("model", "sequential"):
        for module in modules.values():
            pending.fill(module, _HOST)
    if plan.offload == "model":
        take_turns([m for n, m in modules.items()], device)
        return
    if plan.offload == "sequential":
        for module in modules.values():
            # Buffers are offloaded too where the module has parameters outside of its layers.
            cpu_offload(module, execution_device=device, offload_buffers=bool(list(module.parameters(recurse=False))))
        return
    # What leaves main memory goes first: what a library has converted would take it beside those that stay there.
    for name, module in modules.items():
        if not _streams(name, plan):
            pending.fill(module, device)
            module.to(device)
    for name, module in modules.items():
        if _streams(name, plan):
            stream(module, device, pending)


def _pending(
    modules: Mapping[str, torch.nn.Module],
    plan: Plan,
    device: torch.device,
    stored: Mapping[str, torch.dtype],
    changes: LayerChanges,
) -> PendingWeights:
    """Take the weights of parts that no library has quantised."""
    pending = PendingWeights(changes)
    quantised = _int8(modules, plan)
    for name, module in modules.items():
        pending.take(module, stored.get(name), loaded_in(plan), quantise_linear if name in quantised else None)
        if plan.w8a8 and name in DENOISERS:
            by_row = plan.precision == "fp8" and scales_rows(device)
            for _, layer in list(convertible(module)):
                pending.quantise(layer, partial(_multiply_in, plan.precision, by_row))
                if plan.casts:  # the hooks that cast keep the method by which a layer computes
                    convert_layer(layer, plan.precision, by_row=by_row)
    return pending


def _multiply_in(form: str, by_row: bool, layer: torch.nn.Linear) -> None:
    """Let a layer whose weight has its place multiply in eight bits."""
    if form == "int8":
        quantise_linear(layer)
    convert_layer(layer, form, by_row=by_row)


def _cast(modules: Mapping[str, torch.nn.Module], plan: Plan) -> None:
    """Let layers compute in another format than that of their weights, where the plan says so."""
    quantised = _int8(modules, plan)
    for name, module in modules.items():
        storage, compute = _formats(name, plan)
        if storage != compute and name not in quantised:
            cast(module, DTYPES[storage], DTYPES[compute])


def _int8(names: Iterable[str], plan: Plan) -> frozenset[str]:
    return frozenset(name for name, how in quantised_parts(plan, names) if how == "int8")


def _prepare_vae(pipe: Any, plan: Plan, device: torch.device, *, reorder: bool) -> None:
    if (vae := getattr(pipe, "vae", None)) is not None:
        # The override in diffusers warns of parts that a VAE does not have.
        torch.nn.Module.to(vae, dtype=DTYPES[plan.vae])
        if reorder:
            set_memory_format(vae, device)
    tile(pipe, plan.tile_vae)


def set_memory_format(vae: torch.nn.Module, device: torch.device) -> None:
    """Store the weights of a VAE's convolutions in the order that is fastest on a device, before they are placed.

    Convolutions follow the order of their weights. Channels last takes 0.7 of the time on a CPU. Tensor cores compute
    in this order too, so that cuDNN does not reorder fp16 and bf16; it was not measured on a card. Other devices, and
    VAEs of videos, keep the default.
    """
    weights = [p for p in vae.parameters() if p.dim() > 2]
    if any(p.dim() != 4 for p in weights):
        return
    tensor_cores = device.type == "cuda" and all(p.dtype in (torch.float16, torch.bfloat16) for p in weights)
    if device.type == "cpu" or tensor_cores:
        for weight in weights:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def tile(pipe: Any, on: bool) -> None:
    """Make the VAE work on tiles of at most 512x512 pixels, or on whole pictures. Without tiles of its own it does the latter."""
    vae: Any = getattr(pipe, "vae", None)
    if not hasattr(vae, "enable_tiling"):
        return
    if not on:
        vae.disable_tiling()
        return
    if not hasattr(vae, "tile_sample_min_size"):  # another class than AutoencoderKL, with sizes of its own
        if hasattr(vae, "use_tiling"):
            vae.enable_tiling()
        return
    side = min(TILE, int(vae.tile_sample_min_size))
    scale = int(2 ** (len(vae.config.block_out_channels) - 1))
    vae.tile_sample_min_size, vae.tile_latent_min_size = side, side // scale
    vae.enable_tiling()


def cast(module: torch.nn.Module, storage: torch.dtype, compute: torch.dtype) -> None:
    """Keep a part's layers in one dtype and compute in another.

    Layers that diffusers excludes (norms, small embeddings) are kept in the compute dtype.
    """
    skip = (*(getattr(module, "_skip_layerwise_casting_patterns", None) or ()), "pos_embed", "patch_embed", "norm")
    apply_layerwise_casting(
        module,
        storage_dtype=storage,
        compute_dtype=compute,
        skip_modules_pattern=skip,
        skip_modules_classes=(W8A8Linear,),
    )
    for layer in module.modules():
        registry = getattr(layer, "_diffusers_hook", None)
        if isinstance(registry, HookRegistry) and registry.get_hook("layerwise_casting") is not None:
            continue
        for parameter in layer.parameters(recurse=False):
            if parameter.is_floating_point():
                parameter.data = parameter.data.to(compute)


def take_turns(modules: list[torch.nn.Module], device: torch.device) -> None:
    """Keep only one of these modules on the device at a time: the one that was called last.

    The model offload of diffusers depends on the order in which its pipelines call the parts. Here a prompt may be
    encoded between two steps of another picture, so any order must work.
    """
    for module in modules:
        module.to(_HOST)
        add_hook_to_module(module, _Turn([m for m in modules if m is not module], device))


class _Turn(ModelHook):  # type: ignore[misc] # accelerate has no types
    def __init__(self, others: list[torch.nn.Module], device: torch.device) -> None:
        self._others = others
        self.execution_device = device  # a pipeline's own call makes its noise there

    def pre_forward(self, module: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        for other in self._others:
            other.to(_HOST)
        module.to(self.execution_device)
        return args, kwargs


def _modules(pipe: Any) -> Iterator[tuple[str, torch.nn.Module]]:
    for name, part in pipe.components.items():
        if isinstance(part, torch.nn.Module):
            yield name, part


def _formats(name: str, plan: Plan) -> tuple[str, str]:
    """Return the formats in which a part's weights are stored and computed with."""
    if name == "vae":
        return plan.vae, plan.vae
    # Only the denoiser is kept in fp8; text encoders lose too much.
    storage = plan.storage if name in DENOISERS else plan.loaded
    return storage, plan.text_compute if name.startswith(TEXT_ENCODER) else plan.compute


def _streams(name: str, plan: Plan) -> bool:
    if name.startswith(TEXT_ENCODER):
        return plan.offload in ("text", "group")
    return plan.offload == "group" and name in DENOISERS
