"""Which way a model is fitted to a device for pictures of one size; it only decides. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from engine.contract import EngineError, OutOfMemory, Profile
from engine.diffusion.memory.estimate import Estimate
from engine.diffusion.memory.reasons import TILES, Question, guess, reasons, too_large
from engine.diffusion.memory.ways import QUANTISED, Size, Way, formats, need, tilings, ways
from engine.diffusion.memory.words import BITSANDBYTES, CPU, CUDA, GGUF, GIB, MPS, TORCHAO, Device, Plan, gib

MOST = 32
"""More pictures than this are never planned for together."""

SMALL = 2_000_000_000
"""Bytes in fp32 under which a CPU draws in fp32: exactness is free there."""

_LIBRARY = {"int8": TORCHAO, "gguf": GGUF, "nf4": BITSANDBYTES}


def plan(  # noqa: PLR0917 - two of them are one size, and the rest is all that decides
    profile: Profile,
    width: int,
    height: int,
    device: Device,
    asked: str,
    libraries: frozenset[str],
    *,
    gguf: int = 0,
) -> Plan:
    """Return how the profile's model draws pictures of a size on a device.

    Args:
        profile: Which model.
        width: Pixels.
        height: Pixels.
        device: What is there.
        asked: ``EASEL_PRECISION``.
        libraries: Which of torchao, gguf and bitsandbytes are installed.
        gguf: Bytes of the GGUF file that holds the denoiser; 0 where there is none.

    Raises:
        OutOfMemory: It fits neither the device nor main memory and swap.
        EngineError: The precision that was asked for needs a library that is missing, or another device.
    """
    _check("gguf" if gguf else asked, device, libraries)
    question = Question(
        profile, Estimate(profile, dense=device.kind == MPS), Size(width, height, gguf), device, asked, libraries
    )
    if device.kind == CPU:
        return _on_cpu(question, ())
    budget = device.free - _spare(device)
    first = ""
    for way, tiled in ways(question.estimate, device, asked, libraries, question.size):
        there, here = need(question.estimate, way, question.size, 1, tiled=tiled)
        if there <= budget and here <= device.host_free - _own(device):
            why = (first, *reasons(question, way, tiled=tiled))
            made = _made(question.estimate, way, question.size, budget, tiled=tiled)
            return replace(made, on=device.kind, reasons=tuple(r for r in why if r))
        first = first or too_large(question, way, there, budget)
    return _on_cpu(question, (first, "It is drawn on the CPU."))


def refit(old: Plan, profile: Profile, width: int, height: int, *, gguf: int = 0) -> Plan:
    """Return the plan of a model that is loaded already for pictures of another size: tiles and batch may change.

    Raises:
        OutOfMemory: Pictures of this size do not fit.
    """
    estimate = Estimate(profile, dense=old.on == MPS)
    way = Way(old.precision, old.storage, old.compute, old.vae, old.text_encoder, old.offload)
    size = Size(width, height, gguf)
    there = 0
    for tiled in tilings(size):
        there, _ = need(estimate, way, size, 1, tiled=tiled)
        if there <= old.budget:
            made = _made(estimate, way, size, old.budget, tiled=tiled)
            return replace(made, on=old.on, reasons=old.reasons)
    raise OutOfMemory(
        f"A picture of {width}x{height} takes {gib(there)} with {profile.title}, and {gib(old.budget)} are there: "
        "ask for a smaller one."
    )


def safer(precision: str, device: Device) -> str | None:
    """Return the precision whose numbers overflow later than this one's; None when there is none."""
    if precision == "fp32":
        return None
    return "fp32" if precision == "bf16" or not device.bf16 else "bf16"


def _made(estimate: Estimate, way: Way, size: Size, budget: int, *, tiled: bool) -> Plan:
    batch = 1
    while batch < MOST and need(estimate, way, size, batch + 1, tiled=tiled)[0] <= budget:
        batch += 1
    there, here = need(estimate, way, size, 1, tiled=tiled)
    return Plan(
        on=CPU,
        precision=way.precision,
        storage=way.storage,
        compute=way.compute,
        vae=way.vae,
        text_encoder=way.text,
        offload=way.offload,
        tile_vae=tiled,
        batch=batch,
        device_bytes=there,
        host_bytes=here,
        budget=budget,
    )


def _on_cpu(question: Question, before: tuple[str, ...]) -> Plan:
    device, estimate, size = question.device, question.estimate, question.size
    cpu = device if device.kind == CPU else replace(device, kind=CPU, bf16=False, fp8=False, free=device.host_free)
    budget = cpu.host_free - _own(cpu)
    least = 0
    for way, why in _cpu_ways(question, cpu):
        for tiled in tilings(size):
            there, _ = need(estimate, way, size, 1, tiled=tiled)
            if there <= budget:
                said = (*before, *guess(question), why, *((TILES,) if tiled else ()))
                return replace(_made(estimate, way, size, budget, tiled=tiled), reasons=said)
            least = min(there, least or there)
    where = "" if device.kind == CPU else f" (the card has {gib(device.free)} free)"
    raise OutOfMemory(
        f"{question.profile.title} takes at least {gib(least)} for a picture of {size.width}x{size.height}, and main "
        f"memory and swap have {gib(max(0, budget))} to spare{where}: close other programs, or choose a smaller model."
    )


def _cpu_ways(question: Question, cpu: Device) -> Iterator[tuple[Way, str]]:
    def way(precision: str, text: str = "device") -> Way:
        storage, compute, vae = formats(question.estimate, cpu, precision)
        return Way(precision, storage, compute, vae, text, "none")

    quantises = TORCHAO in question.libraries
    if question.size.gguf:
        yield way("gguf"), "The denoiser's weights stay as they are in the GGUF file."
        if quantises:
            yield way("gguf", "int8"), "Memory is short: the text encoder is kept in int8."
        return
    asked = question.asked
    # What a card was asked for need not be what a CPU can do.
    if asked != "auto" and (cpu is question.device or asked in ("fp32", "bf16", "int8")):
        yield way(asked, "int8" if asked == "int8" else "device"), f"EASEL_PRECISION asks for {asked}."
        return
    if question.estimate.all_parameters * 4 < SMALL:
        yield way("fp32"), "A CPU draws small models in fp32, where the same seed gives the same picture."
    elif cpu.bf16:
        yield way("bf16"), "This processor computes in bf16 by itself."
    else:
        yield way("fp32"), "This processor would have to emulate bf16, so it computes in fp32."
        yield way("bf16"), "Memory is too short for fp32: the weights wait in bf16 and are computed with in fp32."
    if quantises:
        yield way("int8", "int8"), "Memory is short: the weights are kept in int8."


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
    """Return what is left alone on a card: workspaces of its libraries and gaps between tensors."""
    return GIB // 4 + device.free // 25


def _own(device: Device) -> int:
    """Return what the process itself and its neighbours may still take of main memory."""
    return min(GIB, device.host_free // 10)
