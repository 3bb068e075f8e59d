"""Chooses the placement of a model on a device for pictures of one size, and gives the reasons. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from engine.contract import EngineError, OutOfMemory, Profile
from engine.diffusion.memory.estimate import TILE, Estimate
from engine.diffusion.memory.placements import QUANTISED, Placement, Size, formats, need, placements, tilings, usual
from engine.diffusion.memory.types import BITSANDBYTES, CPU, CUDA, GGUF, GIB, MPS, TORCHAO, Device, Plan, gib

MOST = 32
"""Largest batch that is planned."""

SMALL = 2_000_000_000
"""Bytes in fp32 below which a CPU draws in fp32, since such models are fast enough."""

_TILES = f"The VAE works in tiles of {TILE} pixels, since the whole picture would not fit; seams are blended."

_LIBRARY = {"int8": TORCHAO, "gguf": GGUF, "nf4": BITSANDBYTES}


@dataclass(frozen=True, slots=True)
class _Question:
    """The inputs of a plan.

    Attributes:
        profile: The model.
        estimate: Its memory use.
        size: Size of the pictures.
        device: The device.
        asked: ``EASEL_PRECISION``.
        libraries: The installed quantisation libraries.
    """

    profile: Profile
    estimate: Estimate
    size: Size
    device: Device
    asked: str
    libraries: frozenset[str]


def plan(  # noqa: PLR0917 - each argument decides the plan
    profile: Profile,
    width: int,
    height: int,
    device: Device,
    asked: str,
    libraries: frozenset[str],
    *,
    gguf: int = 0,
) -> Plan:
    """Return the plan for a model, a size and a device.

    Args:
        profile: The model.
        width: Pixels.
        height: Pixels.
        device: The device, with its free memory.
        asked: ``EASEL_PRECISION``.
        libraries: Which of torchao, gguf and bitsandbytes are installed.
        gguf: Bytes of the GGUF file that holds the denoiser; 0 where there is none.

    Raises:
        OutOfMemory: It fits neither the device nor main memory and swap.
        EngineError: The requested precision needs a library that is missing, or another device.
    """
    _check("gguf" if gguf else asked, device, libraries)
    question = _Question(
        profile, Estimate(profile, dense=device.kind == MPS), Size(width, height, gguf), device, asked, libraries
    )
    if device.kind == CPU:
        return _on_cpu(question, ())
    budget = device.free - _spare(device)
    first = ""
    for placement, tiled in placements(question.estimate, device, asked, libraries, question.size):
        there, here = need(question.estimate, placement, question.size, 1, tiled=tiled)
        if there <= budget and here <= device.host_free - _own(device):
            why = (first, *_reasons(question, placement, tiled=tiled))
            made = _made(question.estimate, placement, question.size, budget, tiled=tiled)
            return replace(made, on=device.kind, reasons=tuple(r for r in why if r))
        first = first or _too_large(question, placement, there, budget)
    return _on_cpu(question, (first, "It is drawn on the CPU."))


def refit(old: Plan, profile: Profile, width: int, height: int, *, gguf: int = 0) -> Plan:
    """Return the plan of a loaded model for pictures of another size; only tiling and batch size may change.

    Raises:
        OutOfMemory: Pictures of this size do not fit.
    """
    estimate = Estimate(profile, dense=old.on == MPS)
    placement = Placement(old.precision, old.storage, old.compute, old.vae, old.text_encoder, old.offload)
    size = Size(width, height, gguf)
    there = 0
    for tiled in tilings(size):
        there, _ = need(estimate, placement, size, 1, tiled=tiled)
        if there <= old.budget:
            made = _made(estimate, placement, size, old.budget, tiled=tiled)
            return replace(made, on=old.on, reasons=old.reasons)
    raise OutOfMemory(
        f"A picture of {width}x{height} takes {gib(there)} with {profile.title}, and {gib(old.budget)} are there: "
        "ask for a smaller one."
    )


def safer(precision: str, device: Device) -> str | None:
    """Return the next precision with a larger range; None where there is none."""
    if precision == "fp32":
        return None
    return "fp32" if precision == "bf16" or not device.bf16 else "bf16"


def _made(estimate: Estimate, placement: Placement, size: Size, budget: int, *, tiled: bool) -> Plan:
    batch = 1
    while batch < MOST and need(estimate, placement, size, batch + 1, tiled=tiled)[0] <= budget:
        batch += 1
    there, here = need(estimate, placement, size, 1, tiled=tiled)
    return Plan(
        on=CPU,
        precision=placement.precision,
        storage=placement.storage,
        compute=placement.compute,
        vae=placement.vae,
        text_encoder=placement.text,
        offload=placement.offload,
        tile_vae=tiled,
        batch=batch,
        device_bytes=there,
        host_bytes=here,
        budget=budget,
    )


def _on_cpu(question: _Question, before: tuple[str, ...]) -> Plan:
    device, estimate, size = question.device, question.estimate, question.size
    cpu = device if device.kind == CPU else replace(device, kind=CPU, bf16=False, fp8=False, free=device.host_free)
    budget = cpu.host_free - _own(cpu)
    least = 0
    for placement, why in _cpu_placements(question, cpu):
        for tiled in tilings(size):
            there, _ = need(estimate, placement, size, 1, tiled=tiled)
            if there <= budget:
                said = (*before, *_guess(question), why, *((_TILES,) if tiled else ()))
                return replace(_made(estimate, placement, size, budget, tiled=tiled), reasons=said)
            least = min(there, least or there)
    where = "" if device.kind == CPU else f" (the card has {gib(device.free)} free)"
    raise OutOfMemory(
        f"{question.profile.title} takes at least {gib(least)} for a picture of {size.width}x{size.height}, and main "
        f"memory and swap have {gib(max(0, budget))} to spare{where}: close other programs, or choose a smaller model."
    )


def _cpu_placements(question: _Question, cpu: Device) -> Iterator[tuple[Placement, str]]:
    def placement(precision: str, text: str = "device") -> Placement:
        storage, compute, vae = formats(question.estimate, cpu, precision)
        return Placement(precision, storage, compute, vae, text, "none")

    quantises = TORCHAO in question.libraries
    if question.size.gguf:
        yield placement("gguf"), "The denoiser's weights stay as they are in the GGUF file."
        if quantises:
            yield placement("gguf", "int8"), "Memory is short: the text encoder is kept in int8."
        return
    asked = question.asked
    # A CPU does not support every precision that may be requested for a GPU.
    if asked != "auto" and (cpu is question.device or asked in ("fp32", "bf16", "int8")):
        yield placement(asked, "int8" if asked == "int8" else "device"), f"EASEL_PRECISION asks for {asked}."
        return
    if question.estimate.all_parameters * 4 < SMALL:
        yield placement("fp32"), "A CPU draws small models in fp32, where the same seed gives the same picture."
    elif cpu.bf16:
        yield placement("bf16"), "This processor computes in bf16 by itself."
    else:
        yield placement("fp32"), "This processor would have to emulate bf16, so it computes in fp32."
        yield placement("bf16"), "Memory is too short for fp32: the weights wait in bf16 and are computed with in fp32."
    if quantises:
        yield placement("int8", "int8"), "Memory is short: the weights are kept in int8."


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


def _too_large(question: _Question, placement: Placement, there: int, budget: int) -> str:
    """Return why the first placement was not chosen."""
    size = question.size
    return (
        f"{question.profile.title} in {placement.precision} takes {gib(there)} for {size.width}x{size.height}, "
        f"and {gib(max(0, budget))} of the card can be used."
    )


def _guess(question: _Question) -> Iterator[str]:
    """Yield a sentence where the parameters are those of the family's published model."""
    if question.estimate.guessed:
        yield (
            f"Nobody counted the parameters of {question.profile.title}; "
            "those of the model that its family is named after are taken."
        )


def _reasons(question: _Question, placement: Placement, *, tiled: bool) -> Iterator[str]:
    """Yield the reasons for a placement on a GPU."""
    device, title = question.device, question.profile.title
    yield from _guess(question)
    if not device.bf16 and device.kind == CUDA:
        if placement.compute == "fp32" and not question.estimate.footprint.fp16:
            yield f"The card has no bf16, and {title} overflows in fp16, so it computes in fp32."
        elif placement.compute == "fp16":
            yield "The card has no bf16, so it computes in fp16."
        if placement.vae != placement.compute:
            yield "The VAE overflows in fp16, so it is kept in fp32."
    yield from _weights(question, placement)
    yield from _moved(placement)
    if tiled:
        yield _TILES


def _weights(question: _Question, placement: Placement) -> Iterator[str]:
    if question.asked == placement.precision:
        yield f"EASEL_PRECISION asks for {placement.precision}."
    elif placement.precision == "gguf":
        yield "The denoiser's weights stay as they are in the GGUF file."
    elif placement.precision != usual(question.device):
        by = {"int8": " by torchao", "nf4": " by bitsandbytes"}.get(placement.precision, "")
        yield f"Its weights are kept in {placement.precision}{by}, which changes pictures a little."
        if placement.precision == "fp8" and TORCHAO not in question.libraries:
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
    elif placement.text == "int8":
        yield "The text encoder is kept in int8."
