"""Chooses the placement of a model on a device for pictures of one size, and gives the reasons. No torch."""

from __future__ import annotations

from dataclasses import replace

from engine.contract import EngineError, OutOfMemory, Profile
from engine.diffusion.memory.estimate import Estimate
from engine.diffusion.memory.placements import (
    QUANTISED,
    PlanRequest,
    Size,
    cpu_placements,
    gpu_placements,
    load_peak,
    need,
    tilings,
)
from engine.diffusion.memory.reasons import TILES, guess, reasons, too_large
from engine.diffusion.memory.types import (
    BITSANDBYTES,
    CPU,
    CUDA,
    GGUF,
    GIB,
    NUNCHAKU,
    SVDQUANT,
    TORCHAO,
    Device,
    ModelMemory,
    Placement,
    Plan,
    StoredWeights,
    gib,
)

MOST = 32
"""Largest batch that is planned."""

_LIBRARY = {"int8": TORCHAO, "gguf": GGUF, "nf4": BITSANDBYTES, SVDQUANT: NUNCHAKU}

_INSTALL = {
    BITSANDBYTES: "pip install bitsandbytes",
    NUNCHAKU: "install the wheel for your PyTorch from github.com/nunchaku-tech/nunchaku/releases, or take the model in "
    "int8 or as GGUF",
}
"""What to do where a library is missing that easel[quant] does not have."""


def plan(  # noqa: PLR0917 - each argument decides the plan
    profile: Profile,
    width: int,
    height: int,
    device: Device,
    requested: str,
    libraries: frozenset[str],
    *,
    packed: int = 0,
    svdquant: str = "",
    stored: StoredWeights | None = None,
) -> Plan:
    """Return the plan for a model, a size and a device.

    Args:
        profile: The model.
        width: Pixels.
        height: Pixels.
        device: The device, with its free memory.
        requested: ``EASEL_PRECISION``.
        libraries: Which of torchao, gguf, bitsandbytes and nunchaku are installed.
        packed: Bytes of the GGUF or SVDQuant file that holds the denoiser; 0 where there is none.
        svdquant: ``int4`` or ``fp4`` where that file is in SVDQuant.
        stored: How the model's files hold its weights; None: not known, and loading is not counted.

    Raises:
        OutOfMemory: It fits neither the device nor main memory and swap.
        EngineError: The requested precision needs a library that is missing, or another device.
    """
    packed_in = SVDQUANT if svdquant else "gguf"
    _check(packed_in if packed else requested, device, libraries)
    request = PlanRequest(
        profile,
        Estimate(profile, device.kind),
        Size(width, height, packed, packed_in, stored),
        device,
        requested,
        libraries,
    )
    if svdquant:
        _check_four_bits(request, svdquant)
    if device.kind == CPU:
        return _on_cpu(request, ())
    budget = device.free - _spare(device)
    first = ""
    for placement, tiled in gpu_placements(request.estimate, device, requested, libraries, request.size):
        takes = need(request.estimate, placement, request.size, 1, tiled=tiled)
        loads = load_peak(request.estimate, placement, request.size, takes)
        spare, pinnable = device.host_free - _own(device), device.pinnable - _own(device)
        if takes.device <= budget and loads <= spare and (not takes.pinned or loads <= pinnable):
            why = tuple(filter(None, (first, *reasons(request, placement, tiled=tiled))))
            made = _batched(request.estimate, placement, request.size, budget, tiled=tiled)
            return replace(made, on=device.kind, reasons=why)
        first = first or too_large(request, placement, (takes.device, budget), (loads, spare))
    if svdquant:
        raise OutOfMemory(
            f"{first} In SVDQuant it can't be drawn on the CPU: close other programs, or take a smaller model."
        )
    return _on_cpu(request, (first, "It is drawn on the CPU."))


def refit(memory: ModelMemory, profile: Profile, width: int, height: int, *, taken: int = 0) -> Plan:
    """Return the plan of a loaded model for pictures of a size; only tiling and batch size differ from its own plan.

    Args:
        memory: The model's memory.
        profile: The model.
        width: Pixels.
        height: Pixels.
        taken: Bytes of the device that other models hold.

    Raises:
        OutOfMemory: Pictures of this size do not fit.
    """
    old = memory.plan
    estimate = Estimate(profile, old.on)
    size = Size(width, height, memory.packed)
    budget = old.budget - memory.controls - taken
    device_bytes = 0
    for tiled in tilings(size):
        device_bytes = need(estimate, old, size, 1, tiled=tiled).device
        if device_bytes <= budget:
            made = _batched(estimate, old, size, budget, tiled=tiled)
            return replace(made, on=old.on, reasons=old.reasons)
    raise OutOfMemory(
        f"A picture of {width}x{height} takes {gib(device_bytes)} with {profile.title}, and {gib(max(0, budget))} are there: "
        "ask for a smaller one."
    )


def room_to_decode(
    memory: ModelMemory, profile: Profile, width: int, height: int, *, batch: int, taken: int = 0
) -> bool:
    """Whether a card has room to decode one picture while others of its size take a step.

    Args:
        memory: The model's memory.
        profile: The model.
        width: Pixels.
        height: Pixels.
        batch: How many others.
        taken: Bytes of the card that other models hold.
    """
    made = memory.plan
    if made.on != CUDA or made.offload not in ("none", "text"):
        return False  # the VAE is not always there
    estimate = Estimate(profile, made.on)
    size = Size(width, height, memory.packed)
    decode = estimate.decode(width, height, made.vae, tiled=made.tile_vae)
    decode += estimate.workspace(width, height, tiled=made.tile_vae)
    others = need(estimate, made, size, batch, tiled=made.tile_vae).device
    return others + decode <= made.budget - memory.controls - taken


def safer(precision: str, device: Device) -> str | None:
    """Return the next precision with a larger range; None where there is none."""
    if precision == "fp32":
        return None
    return "fp32" if precision == "bf16" or not device.bf16 else "bf16"


def _batched(estimate: Estimate, placement: Placement, size: Size, budget: int, *, tiled: bool) -> Plan:
    """Return the plan for a placement with the largest batch that fits the budget."""
    batch = 1
    while batch < MOST and need(estimate, placement, size, batch + 1, tiled=tiled).device <= budget:
        batch += 1
    takes = need(estimate, placement, size, 1, tiled=tiled)
    return Plan(
        on=CPU,
        precision=placement.precision,
        storage=placement.storage,
        compute=placement.compute,
        text_compute=placement.text_compute,
        vae=placement.vae,
        text_encoder=placement.text_encoder,
        offload=placement.offload,
        w8a8=placement.w8a8,
        tile_vae=tiled,
        batch=batch,
        device_bytes=takes.device,
        host_bytes=takes.host,
        pinned_bytes=takes.pinned,
        weight_bytes=takes.weights,
        budget=budget,
    )


def _on_cpu(request: PlanRequest, before: tuple[str, ...]) -> Plan:
    device, size = request.device, request.size
    estimate = Estimate(request.profile)
    cpu = (
        device
        if device.kind == CPU
        else replace(device, kind=CPU, bf16=False, fp8=False, products=frozenset(), free=device.host_free)
    )
    budget = cpu.host_free - _own(cpu)
    least = 0
    for placement, why in cpu_placements(request, cpu):
        for tiled in tilings(size):
            takes = need(estimate, placement, size, 1, tiled=tiled)
            # Converted weights have their place here: what a layer takes for a moment comes on top of them.
            loads = load_peak(estimate, placement, size, replace(takes, host=takes.weights))
            device_bytes = max(takes.device, loads)
            if device_bytes <= budget:
                said = (*before, *guess(request), why, *((TILES,) if tiled else ()))
                return replace(_batched(estimate, placement, size, budget, tiled=tiled), reasons=said)
            least = min(device_bytes, least or device_bytes)
    where = "" if device.kind == CPU else f" (the card has {gib(device.free)} free)"
    raise OutOfMemory(
        f"{request.profile.title} takes at least {gib(least)} for a picture of {size.width}x{size.height}, and main "
        f"memory and swap have {gib(max(0, budget))} to spare{where}: close other programs, or choose a smaller model."
    )


def _check(precision: str, device: Device, libraries: frozenset[str]) -> None:
    files = {"gguf": "The model's GGUF file", SVDQUANT: "The model's SVDQuant file"}
    name = files.get(precision, f"EASEL_PRECISION={precision}")
    if precision in QUANTISED:
        library = _LIBRARY[precision]
        extra = _INSTALL.get(library, "pip install 'easel[quant]'")
        if library not in libraries:
            raise EngineError(f"{name} needs {library}, which is not installed: {extra}.")
    if precision == "nf4" and device.kind != CUDA:
        raise EngineError(f"{name} needs an NVIDIA card: set it to auto or int8.")
    if precision == "fp8" and not device.fp8:
        raise EngineError(f"{name}: {device.name} can't keep numbers in fp8, set it to auto or int8.")


def _check_four_bits(request: PlanRequest, form: str) -> None:
    """Raise EngineError where a device can't compute with a file in SVDQuant."""
    device, known = request.device, request.estimate.footprint
    name, otherwise = "The model's SVDQuant file", "take the model in int8 or as GGUF"
    if device.kind != CUDA or not device.four_bits:
        raise EngineError(f"{name} needs an NVIDIA card from RTX 20 to 50, and {device.name} is none: {otherwise}.")
    if device.four_bits != form:
        raise EngineError(f"{name} is in {form}, and {device.name} computes in {device.four_bits}: take that one.")
    if not (device.bf16 or known.fp16):
        raise EngineError(f"{name} needs a card with bf16, since this model overflows in fp16: {otherwise}.")


def _spare(device: Device) -> int:
    """Return the bytes that are left free on a GPU for the workspaces of its libraries and for fragmentation."""
    return GIB // 4 + device.free // 25


def _own(device: Device) -> int:
    """Return the bytes of main memory that are left free for this process and others."""
    return min(GIB, device.host_free // 10)
