"""The placements of a model that are tried, in their order, and the bytes that each takes on the device and in main memory. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.contract import Profile
from engine.diffusion.memory.estimate import BYTES, TILE, Estimate
from engine.diffusion.memory.types import (
    BITSANDBYTES,
    CPU,
    CUDA,
    MPS,
    PACKED,
    TORCHAO,
    Device,
    Placement,
    StoredWeights,
)

QUANTISED = ("int8", "nf4", *PACKED)
"""Precisions that need a quantisation library."""

SMALL = 2_000_000_000
"""Bytes in fp32 below which a CPU draws in fp32, since such models are fast enough."""


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in pixels, the bytes of a quantised file that holds the denoiser (0: none), the precision of that
    file, and the other files.
    """

    width: int
    height: int
    packed: int = 0
    packed_in: str = "gguf"
    stored: StoredWeights | None = None


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """The inputs of a plan.

    Attributes:
        profile: The model.
        estimate: Its memory use.
        size: Size of the pictures.
        device: The device.
        requested: ``EASEL_PRECISION``.
        libraries: The installed quantisation libraries.
    """

    profile: Profile
    estimate: Estimate
    size: Size
    device: Device
    requested: str
    libraries: frozenset[str]


def gpu_placements(
    estimate: Estimate, device: Device, requested: str, libraries: frozenset[str], size: Size
) -> Iterator[tuple[Placement, bool]]:
    """Yield the placements for a GPU, best first, and whether the VAE works on tiles.

    Everything on the device comes first, then the text encoder in main memory, tiles, quantised weights, and last the
    offloading of all layers.
    """
    for placement, tiled in _combinations(estimate, device, requested, libraries, size):
        # A text encoder in int8 computes in the format that it was loaded in.
        if placement.text_encoder != "int8" or placement.loaded == placement.text_compute:
            yield placement, tiled


def _combinations(
    estimate: Estimate, device: Device, requested: str, libraries: frozenset[str], size: Size
) -> Iterator[tuple[Placement, bool]]:
    precisions = _precisions(estimate, device, requested, libraries, size)
    quantises = TORCHAO in libraries and device.kind in (CUDA, MPS)
    texts = [("device", "none")]
    texts += [("host", "text")] if device.kind == CUDA else []
    texts += [("int8", "none")] if quantises else []
    texts += [("int8", "text")] if quantises and device.kind == CUDA else []
    for precision in precisions:
        for tiled in tilings(size):
            for text, offload in texts:
                yield _placement(estimate, device, precision, text, offload), tiled
    if device.kind != CUDA:
        return  # an Apple GPU's memory is main memory: offloading gains nothing
    for offload in ("group", "model", "sequential"):
        for precision in precisions:
            if (offload == "group" and not device.stream) or not _moves(precision, offload):
                continue
            for text in ["device" if offload == "model" else "host", *(["int8"] if quantises else [])]:
                for tiled in tilings(size):
                    if text == "host" or _moves("int8" if text == "int8" else precision, offload):
                        yield _placement(estimate, device, precision, text, offload), tiled


def cpu_placements(request: PlanRequest, cpu: Device) -> Iterator[tuple[Placement, str]]:
    """Yield the placements for a CPU, best first, and the reason for each."""

    def placement(precision: str, text: str = "device") -> Placement:
        return _placement(request.estimate, cpu, precision, text, "none")

    quantises = TORCHAO in request.libraries
    if request.size.packed:
        yield placement("gguf"), "The denoiser's weights stay as they are in the GGUF file."
        if quantises:
            yield placement("gguf", "int8"), "Memory is short: the text encoder is kept in int8."
        return
    requested = request.requested
    # A CPU does not support every precision that may be requested for a GPU.
    if requested != "auto" and (cpu is request.device or requested in ("fp32", "bf16", "int8")):
        yield (
            placement(requested, "int8" if requested == "int8" else "device"),
            f"EASEL_PRECISION asks for {requested}.",
        )
        return
    if request.estimate.all_parameters * 4 < SMALL:
        yield placement("fp32"), "A CPU draws small models in fp32, where the same seed gives the same picture."
    elif cpu.bf16:
        yield placement("bf16"), "This processor computes in bf16 by itself."
    else:
        yield placement("fp32"), "This processor would have to emulate bf16, so it computes in fp32."
        how = "wait in bf16 and are computed with in fp32" if request.estimate.footprint.casts else "are in bf16"
        yield placement("bf16"), f"Memory is too short for fp32: the weights {how}."
    if quantises:
        yield placement("int8", "int8"), "Memory is short: the weights are kept in int8."


def tilings(size: Size) -> tuple[bool, ...]:
    """Return the tilings to try: the VAE on whole pictures first, then on tiles where the picture is larger than one."""
    return (False, True) if max(size.width, size.height) > TILE else (False,)


@dataclass(frozen=True, slots=True)
class _Formats:
    storage: str
    compute: str
    text_compute: str
    vae: str


def _formats(estimate: Estimate, device: Device, precision: str, *, clamped: bool) -> _Formats:
    """Return the formats for a precision on a device.

    Where bfloat16 is emulated, weights are stored in it and computed in fp32; so are fp16 weights of families that
    overflow in fp16. With ``clamped``, a denoiser that can compute in fp16 with clamped sums does so, and the text
    encoders, which can't, compute in fp32.
    """
    known = estimate.footprint
    if not known.casts and precision in BYTES and precision != "fp8":
        return _Formats(precision, precision, precision, precision)
    fp16 = known.fp16 or (clamped and known.clamped_fp16 and device.kind != CPU)
    if precision in ("fp16", "fp32", "bf16"):
        storage = precision
        compute = precision
        if (precision == "fp16" and not fp16) or (precision == "bf16" and not device.bf16):
            compute = "fp32"
    else:
        compute = _half(estimate, device) if fp16 else "bf16" if device.bf16 else "fp32"
        storage = "fp8" if precision == "fp8" else compute
    text_compute = vae = compute
    if compute == "fp16":
        text_compute = "fp16" if known.fp16 else "fp32"
        vae = "fp16" if known.vae_fp16 else "bf16" if device.bf16 else "fp32"
    return _Formats(storage, compute, text_compute, vae)


def usual(estimate: Estimate, device: Device) -> str:
    """Return the precision that is tried first on a GPU.

    fp16 has three bits more than bf16 for the same bytes and speed, so that what does not overflow in it is drawn in it.
    """
    return "bf16" if device.bf16 and not (estimate.footprint.fp16 and device.kind == CUDA) else "fp16"


def _half(estimate: Estimate, device: Device) -> str:
    """Return the format of two bytes in which a family that can do with fp16 computes on this device."""
    if device.kind == CPU:
        return "bf16" if device.bf16 else "fp32"
    return usual(estimate, device)


def _precisions(estimate: Estimate, device: Device, requested: str, libraries: frozenset[str], size: Size) -> list[str]:
    if size.packed:
        return [size.packed_in]
    if requested != "auto":
        return [requested]
    found = [usual(estimate, device)]
    if TORCHAO in libraries:
        found.append("int8")
    elif device.fp8:
        found.append("fp8")
    if BITSANDBYTES in libraries and device.kind == CUDA:
        found.append("nf4")
    return found


def _placement(estimate: Estimate, device: Device, precision: str, text: str, offload: str) -> Placement:
    made = _formats(estimate, device, precision, clamped=text != "int8")
    w8a8 = precision in device.products and offload != "sequential"  # whose hooks move parameters alone
    return Placement(precision, made.storage, made.compute, made.text_compute, made.vae, text, offload, w8a8)


def _moves(precision: str, offload: str) -> bool:
    """Whether weights of this precision can be offloaded in this way."""
    if offload == "model":
        return True
    if offload == "group":
        return precision not in ("nf4", *PACKED)
    return precision not in QUANTISED


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes that a placement takes.

    Attributes:
        device: Peak on the device.
        weights: Weights that stay on the device between two pictures.
        host: Weights that are kept in main memory.
        pinned: Those of them that are page-locked.
        moving: Bytes of main memory that are needed on top of that while weights are moved into page-locked memory, block
            by block.
    """

    device: int
    weights: int
    host: int = 0
    pinned: int = 0
    moving: int = 0


def need(estimate: Estimate, placement: Placement, size: Size, batch: int, *, tiled: bool) -> MemoryNeed:
    """Return the bytes that a placement takes with a batch of pictures."""
    # Only the denoiser is kept in fp8.
    how = "int8" if placement.text_encoder == "int8" else placement.loaded
    text = estimate.text(how, placement.text_compute)
    text_blocks = min(text, estimate.text_blocks(placement.loaded, placement.text_compute))
    if placement.precision in PACKED:
        denoiser = size.packed
    elif placement.precision in QUANTISED:
        denoiser = estimate.denoiser(placement.precision, placement.compute)
    else:
        denoiser = estimate.denoiser(placement.storage, placement.compute)
    vae = estimate.vae(placement.vae)
    step = estimate.step(size.width, size.height, batch, placement.compute, w8a8=placement.w8a8)
    decode = estimate.decode(size.width, size.height, placement.vae, tiled=tiled)
    decode += estimate.workspace(size.width, size.height, tiled=tiled)
    prompt = estimate.prompt(placement.text_compute)
    kept, placing = estimate.embeddings, estimate.placing(placement)
    everything = denoiser + text + vae
    match placement.offload:
        case "none":
            return MemoryNeed(everything + kept + max(step, decode, prompt, placing), everything)
        case "text":
            alive = max(step, decode, prompt + text_blocks, placing)
            return MemoryNeed(denoiser + vae + kept + alive, denoiser + vae, text, text, text_blocks)
        case "model":
            # The part that was used last stays on the device.
            peak = max(denoiser + step, text + prompt, vae + decode)
            return MemoryNeed(peak + kept, max(denoiser, text, vae), everything)
        case "group":
            blocks = min(denoiser, estimate.blocks(placement.precision, placement.storage, placement.compute))
            alive = max(step + blocks, decode, prompt + text_blocks)
            return MemoryNeed(vae + kept + alive, vae, denoiser + text, denoiser + text, max(blocks, text_blocks))
        case _:
            alive = max(step, vae + decode, prompt + text_blocks)
            return MemoryNeed(estimate.leaves(placement.compute) + kept + alive, 0, everything)


def load_peak(estimate: Estimate, placement: Placement, size: Size, takes: MemoryNeed) -> int:
    """Return the bytes of main memory that a model takes at most while it is loaded and placed.

    Args:
        estimate: The model's memory use.
        placement: How it is placed.
        size: Has its files.
        takes: What the placement takes.
    """
    whole, layer = estimate.converted(size.stored or StoredWeights(), placement)
    # Blocks leave a part that was converted as a whole as they are moved to memory of their own.
    return max(takes.host, whole + size.packed) + max(takes.moving, layer)
