"""Chooses the placement of a model on a device for pictures of one size, and gives the reasons. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from engine.contract import EngineError, OutOfMemory, Profile
from engine.diffusion.memory.estimate import BYTES, TILE, Estimate
from engine.diffusion.memory.types import (
    BITSANDBYTES,
    CPU,
    CUDA,
    GGUF,
    GIB,
    MPS,
    TORCHAO,
    Device,
    ModelMemory,
    Placement,
    Plan,
    StoredWeights,
    gib,
)

QUANTISED = ("int8", "nf4", "gguf")
"""Precisions that need a quantisation library."""

MOST = 32
"""Largest batch that is planned."""

SMALL = 2_000_000_000
"""Bytes in fp32 below which a CPU draws in fp32, since such models are fast enough."""

_TILES = f"The VAE works in tiles of {TILE} pixels, since the whole picture would not fit; seams are blended."

_LIBRARY = {"int8": TORCHAO, "gguf": GGUF, "nf4": BITSANDBYTES}


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in pixels, the bytes of a GGUF file that holds the denoiser (0: none), and the other files."""

    width: int
    height: int
    gguf: int = 0
    stored: StoredWeights | None = None


@dataclass(frozen=True, slots=True)
class _PlanRequest:
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


def plan(  # noqa: PLR0917 - each argument decides the plan
    profile: Profile,
    width: int,
    height: int,
    device: Device,
    requested: str,
    libraries: frozenset[str],
    *,
    gguf: int = 0,
    stored: StoredWeights | None = None,
) -> Plan:
    """Return the plan for a model, a size and a device.

    Args:
        profile: The model.
        width: Pixels.
        height: Pixels.
        device: The device, with its free memory.
        requested: ``EASEL_PRECISION``.
        libraries: Which of torchao, gguf and bitsandbytes are installed.
        gguf: Bytes of the GGUF file that holds the denoiser; 0 where there is none.
        stored: How the model's files hold its weights; None: not known, and loading is not counted.

    Raises:
        OutOfMemory: It fits neither the device nor main memory and swap.
        EngineError: The requested precision needs a library that is missing, or another device.
    """
    _check("gguf" if gguf else requested, device, libraries)
    request = _PlanRequest(
        profile,
        Estimate(profile, dense=device.kind == MPS),
        Size(width, height, gguf, stored),
        device,
        requested,
        libraries,
    )
    if device.kind == CPU:
        return _on_cpu(request, ())
    budget = device.free - _spare(device)
    first = ""
    for placement, tiled in _gpu_placements(request.estimate, device, requested, libraries, request.size):
        need = _need(request.estimate, placement, request.size, 1, tiled=tiled)
        loading, spare = _loading(request.estimate, placement, request.size), device.host_free - _own(device)
        if need.device <= budget and max(need.host, loading) <= spare:
            reasons = tuple(filter(None, (first, *_reasons(request, placement, tiled=tiled))))
            made = _batched(request.estimate, placement, request.size, budget, tiled=tiled)
            return replace(made, on=device.kind, reasons=reasons)
        first = first or _too_large(request, placement, (need.device, budget), (loading, spare))
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
    estimate = Estimate(profile, dense=old.on == MPS)
    size = Size(width, height, memory.gguf)
    budget = old.budget - memory.controls - taken
    device_bytes = 0
    for tiled in _tilings(size):
        device_bytes = _need(estimate, old, size, 1, tiled=tiled).device
        if device_bytes <= budget:
            made = _batched(estimate, old, size, budget, tiled=tiled)
            return replace(made, on=old.on, reasons=old.reasons)
    raise OutOfMemory(
        f"A picture of {width}x{height} takes {gib(device_bytes)} with {profile.title}, and {gib(max(0, budget))} are there: "
        "ask for a smaller one."
    )


def safer(precision: str, device: Device) -> str | None:
    """Return the next precision with a larger range; None where there is none."""
    if precision == "fp32":
        return None
    return "fp32" if precision == "bf16" or not device.bf16 else "bf16"


def _batched(estimate: Estimate, placement: Placement, size: Size, budget: int, *, tiled: bool) -> Plan:
    """Return the plan for a placement with the largest batch that fits the budget."""
    batch = 1
    while batch < MOST and _need(estimate, placement, size, batch + 1, tiled=tiled).device <= budget:
        batch += 1
    need = _need(estimate, placement, size, 1, tiled=tiled)
    return Plan(
        on=CPU,
        precision=placement.precision,
        storage=placement.storage,
        compute=placement.compute,
        vae=placement.vae,
        text_encoder=placement.text_encoder,
        offload=placement.offload,
        tile_vae=tiled,
        batch=batch,
        device_bytes=need.device,
        host_bytes=need.host,
        weight_bytes=need.weights,
        budget=budget,
    )


def _on_cpu(request: _PlanRequest, before: tuple[str, ...]) -> Plan:
    device, estimate, size = request.device, request.estimate, request.size
    cpu = device if device.kind == CPU else replace(device, kind=CPU, bf16=False, fp8=False, free=device.host_free)
    budget = cpu.host_free - _own(cpu)
    least = 0
    for placement, why in _cpu_placements(request, cpu):
        for tiled in _tilings(size):
            device_bytes = _need(estimate, placement, size, 1, tiled=tiled).device
            device_bytes = max(device_bytes, _loading(estimate, placement, size))
            if device_bytes <= budget:
                said = (*before, *_guess(request), why, *((_TILES,) if tiled else ()))
                return replace(_batched(estimate, placement, size, budget, tiled=tiled), reasons=said)
            least = min(device_bytes, least or device_bytes)
    where = "" if device.kind == CPU else f" (the card has {gib(device.free)} free)"
    raise OutOfMemory(
        f"{request.profile.title} takes at least {gib(least)} for a picture of {size.width}x{size.height}, and main "
        f"memory and swap have {gib(max(0, budget))} to spare{where}: close other programs, or choose a smaller model."
    )


def _cpu_placements(request: _PlanRequest, cpu: Device) -> Iterator[tuple[Placement, str]]:
    def placement(precision: str, text: str = "device") -> Placement:
        storage, compute, vae = _formats(request.estimate, cpu, precision)
        return Placement(precision, storage, compute, vae, text, "none")

    quantises = TORCHAO in request.libraries
    if request.size.gguf:
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


def _formats(estimate: Estimate, device: Device, precision: str) -> tuple[str, str, str]:
    """Return the storage format, the compute format and the VAE's format for a precision on a device.

    Where bfloat16 is emulated, weights are stored in it and computed in fp32; so are fp16 weights of families that
    overflow in fp16.
    """
    known = estimate.footprint
    if not known.casts and precision in BYTES and precision != "fp8":
        return precision, precision, precision
    if precision in ("fp16", "fp32", "bf16"):
        storage = precision
        compute = precision
        if (precision == "fp16" and not known.fp16) or (precision == "bf16" and not device.bf16):
            compute = "fp32"
    else:
        compute = _half(estimate, device)
        storage = "fp8" if precision == "fp8" else compute
    vae = compute if compute != "fp16" or known.vae_fp16 else "fp32"
    return storage, compute, vae


def _half(estimate: Estimate, device: Device) -> str:
    """Return the smallest format in which this family can compute on this device."""
    if device.bf16:
        return "bf16"
    return "fp16" if estimate.footprint.fp16 and device.kind != "cpu" else "fp32"


def _usual(device: Device) -> str:
    """Return the precision that is tried first on a GPU."""
    return "bf16" if device.bf16 else "fp16"


def _tilings(size: Size) -> tuple[bool, ...]:
    """Return the tilings to try: the VAE on whole pictures first, then on tiles where the picture is larger than one."""
    return (False, True) if max(size.width, size.height) > TILE else (False,)


def _gpu_placements(
    estimate: Estimate, device: Device, requested: str, libraries: frozenset[str], size: Size
) -> Iterator[tuple[Placement, bool]]:
    """Yield the placements for a GPU, best first, and whether the VAE works on tiles.

    Everything on the device comes first, then the text encoder in main memory, tiles, quantised weights, and last the
    offloading of all layers.
    """
    precisions = _precisions(device, requested, libraries, size.gguf)
    texts = ["device"]
    if device.kind == CUDA:
        texts.append("host")
    if TORCHAO in libraries and device.kind in (CUDA, MPS):
        texts.append("int8")
    for precision in precisions:
        for tiled in _tilings(size):
            for text in texts:
                yield _placement(estimate, device, precision, text, "text" if text == "host" else "none"), tiled
    if device.kind != CUDA:
        return  # an Apple GPU's memory is main memory: offloading gains nothing
    for offload in ("group", "model", "sequential"):
        for precision in precisions:
            if (offload == "group" and not device.stream) or not _moves(precision, offload):
                continue
            for tiled in _tilings(size):
                yield (
                    _placement(estimate, device, precision, "device" if offload == "model" else "host", offload),
                    tiled,
                )


@dataclass(frozen=True, slots=True)
class _Need:
    """Bytes that a placement takes.

    Attributes:
        device: Peak on the device.
        weights: Weights that stay on the device between two pictures.
        host: Weights in main memory.
    """

    device: int
    weights: int
    host: int = 0


def _need(estimate: Estimate, placement: Placement, size: Size, batch: int, *, tiled: bool) -> _Need:
    """Return the bytes that a placement takes with a batch of pictures."""
    # Only the denoiser is kept in fp8.
    unquantised = placement.compute if placement.storage == "fp8" else placement.storage
    text = estimate.text("int8" if placement.text_encoder == "int8" else unquantised, placement.compute)
    if placement.precision == "gguf":
        denoiser = size.gguf
    elif placement.precision in QUANTISED:
        denoiser = estimate.denoiser(placement.precision, placement.compute)
    else:
        denoiser = estimate.denoiser(placement.storage, placement.compute)
    vae = estimate.vae(placement.vae)
    step = estimate.step(size.width, size.height, batch, placement.compute)
    decode = estimate.decode(size.width, size.height, placement.vae, tiled=tiled)
    prompt = estimate.prompt(placement.compute, streamed=placement.text_encoder == "host")
    alive = max(step, decode, prompt)
    everything = denoiser + text + vae
    match placement.offload:
        case "none":
            return _Need(everything + alive, everything)
        case "text":
            return _Need(denoiser + vae + alive, denoiser + vae, text)
        case "model":
            # The part that was used last stays on the device.
            return _Need(max(denoiser + step, text + prompt, vae + decode), max(denoiser, text, vae), everything)
        case "group":
            return _Need(vae + estimate.leaves(placement.compute) + alive, vae, denoiser + text)
        case _:
            return _Need(estimate.leaves(placement.compute) + alive, 0, everything)


def _loading(estimate: Estimate, placement: Placement, size: Size) -> int:
    """Return the bytes of main memory that loading takes."""
    return estimate.loading(size.stored or StoredWeights(), placement, size.gguf)


def _precisions(device: Device, requested: str, libraries: frozenset[str], gguf: int) -> list[str]:
    if gguf:
        return ["gguf"]
    if requested != "auto":
        return [requested]
    found = [_usual(device)]
    if TORCHAO in libraries:
        found.append("int8")
    elif device.fp8:
        found.append("fp8")
    if BITSANDBYTES in libraries and device.kind == CUDA:
        found.append("nf4")
    return found


def _placement(estimate: Estimate, device: Device, precision: str, text: str, offload: str) -> Placement:
    storage, compute, vae = _formats(estimate, device, precision)
    return Placement(precision, storage, compute, vae, text, offload)


def _moves(precision: str, offload: str) -> bool:
    """Whether weights of this precision can be offloaded in this way."""
    if offload == "model":
        return True
    if offload == "group":
        return precision not in ("nf4", "gguf")
    return precision not in QUANTISED


def _check(precision: str, device: Device, libraries: frozenset[str]) -> None:
    name = "The model's GGUF file" if precision == "gguf" else f"EASEL_PRECISION={precision}"
    if precision in QUANTISED:
        library = _LIBRARY[precision]
        extra = "pip install bitsandbytes" if library == BITSANDBYTES else "pip install 'easel[quant]'"
        if library not in libraries:
            raise EngineError(f"{name} needs {library}, which is not installed: {extra}.")
    if precision == "nf4" and device.kind != CUDA:
        raise EngineError(f"{name} needs an NVIDIA card: set it to auto or int8.")
    if precision == "fp8" and not device.fp8:
        raise EngineError(f"{name}: {device.name} can't keep numbers in fp8, set it to auto or int8.")


def _spare(device: Device) -> int:
    """Return the bytes that are left free on a GPU for the workspaces of its libraries and for fragmentation."""
    return GIB // 4 + device.free // 25


def _own(device: Device) -> int:
    """Return the bytes of main memory that are left free for this process and others."""
    return min(GIB, device.host_free // 10)


def _too_large(request: _PlanRequest, placement: Placement, of_card: tuple[int, int], of_host: tuple[int, int]) -> str:
    """Return why the first placement was not chosen; needed and spare bytes of the card, and of main memory to load it."""
    size = request.size
    if of_card[0] > of_card[1]:
        return (
            f"{request.profile.title} in {placement.precision} takes {gib(of_card[0])} for {size.width}x{size.height}, "
            f"and {gib(max(0, of_card[1]))} of the card can be used."
        )
    return (
        f"{request.profile.title} in {placement.precision} takes {gib(of_host[0])} of main memory while it is loaded, since "
        f"its files are in another format, and {gib(max(0, of_host[1]))} can be used."
    )


def _guess(request: _PlanRequest) -> Iterator[str]:
    """Yield a sentence where the parameters are those of the family's published model."""
    if request.estimate.guessed:
        yield (
            f"Nobody counted the parameters of {request.profile.title}; "
            "those of the model that its family is named after are taken."
        )


def _reasons(request: _PlanRequest, placement: Placement, *, tiled: bool) -> Iterator[str]:
    """Yield the reasons for a placement on a GPU."""
    device, title = request.device, request.profile.title
    yield from _guess(request)
    if not device.bf16 and device.kind == CUDA:
        if placement.compute == "fp32" and not request.estimate.footprint.fp16:
            yield f"The card has no bf16, and {title} overflows in fp16, so it computes in fp32."
        elif placement.compute == "fp16":
            yield "The card has no bf16, so it computes in fp16."
        if placement.vae != placement.compute:
            yield "The VAE overflows in fp16, so it is kept in fp32."
    yield from _weights(request, placement)
    yield from _moved(placement)
    if tiled:
        yield _TILES


def _weights(request: _PlanRequest, placement: Placement) -> Iterator[str]:
    if request.requested == placement.precision:
        yield f"EASEL_PRECISION asks for {placement.precision}."
    elif placement.precision == "gguf":
        yield "The denoiser's weights stay as they are in the GGUF file."
    elif placement.precision != _usual(request.device):
        by = {"int8": " by torchao", "nf4": " by bitsandbytes"}.get(placement.precision, "")
        yield f"Its weights are kept in {placement.precision}{by}, which changes pictures a little."
        if placement.precision == "fp8" and TORCHAO not in request.libraries:
            yield "With easel[quant] they would be kept in int8, which is closer to bf16."


def _moved(placement: Placement) -> Iterator[str]:
    if placement.offload == "text":
        yield "The text encoder waits in main memory; a new prompt brings it to the card layer by layer."
    elif placement.offload == "group":
        yield "All weights but the VAE's wait in main memory and are copied layer by layer while the card computes."
    elif placement.offload == "model":
        yield "The text encoder, the denoiser and the VAE take turns on the card."
    elif placement.offload == "sequential":
        yield "Every layer comes from main memory when it is used, which is slow."
    elif placement.text_encoder == "int8":
        yield "The text encoder is kept in int8."
