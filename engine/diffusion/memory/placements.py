"""The ways in which a model can be put on a card, best first, and what each takes. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.diffusion.memory.estimate import TILE, Estimate
from engine.diffusion.memory.types import BITSANDBYTES, CUDA, MPS, TORCHAO, Device

QUANTISED = ("int8", "nf4", "gguf")
"""Precisions that a library brings."""


@dataclass(frozen=True, slots=True)
class Placement:
    """One placement: number formats and what waits in main memory.

    Attributes:
        precision: See Plan.
        storage: See Plan.
        compute: See Plan.
        vae: See Plan.
        text: See Plan.text_encoder.
        offload: See Plan.
    """

    precision: str
    storage: str
    compute: str
    vae: str
    text: str
    offload: str


@dataclass(frozen=True, slots=True)
class Size:
    """What is drawn: pixels, and the bytes of a file that takes the denoiser's weights' place (0: none)."""

    width: int
    height: int
    gguf: int = 0


def formats(estimate: Estimate, device: Device, precision: str) -> tuple[str, str, str]:
    """Return storage, compute and the VAE's format for a precision on a device.

    Where bfloat16 is emulated it only stores. Families that overflow in fp16 are kept in it and computed in fp32.
    """
    known = estimate.figures
    if precision in ("fp16", "fp32", "bf16"):
        storage = precision
        compute = precision
        if (precision == "fp16" and not known.fp16) or (precision == "bf16" and not device.bf16):
            compute = "fp32"
    else:
        compute = half(estimate, device)
        storage = "fp8" if precision == "fp8" else compute
    vae = compute if compute != "fp16" or known.vae_fp16 else "fp32"
    return storage, compute, vae


def half(estimate: Estimate, device: Device) -> str:
    """Return the smallest number format that this family can compute in on this device."""
    if device.bf16:
        return "bf16"
    return "fp16" if estimate.figures.fp16 and device.kind != "cpu" else "fp32"


def usual(device: Device) -> str:
    """Return the precision that a card's plan begins with."""
    return "bf16" if device.bf16 else "fp16"


def tilings(size: Size) -> tuple[bool, ...]:
    """Return whether the VAE may work on whole pictures or in tiles: whole is better, and small ones have no tiles."""
    return (False, True) if max(size.width, size.height) > TILE else (False,)


def placements(
    estimate: Estimate, device: Device, asked: str, libraries: frozenset[str], size: Size
) -> Iterator[tuple[Placement, bool]]:
    """Give the ways for a card, best first, and whether the VAE works in tiles.

    Whole first, then the text encoder moved off, tiles, smaller weights, and at last layer by layer.
    """
    precisions = _precisions(device, asked, libraries, size.gguf)
    texts = ["device"]
    if device.kind == CUDA:
        texts.append("host")
    if TORCHAO in libraries and device.kind in (CUDA, MPS):
        texts.append("int8")
    for precision in precisions:
        for tiled in tilings(size):
            for text in texts:
                yield _placement(estimate, device, precision, text, "text" if text == "host" else "none"), tiled
    if device.kind != CUDA:
        return  # an Apple GPU's memory is main memory: moving things there and back gains nothing
    for offload in ("group", "model", "sequential"):
        for precision in precisions:
            if (offload == "group" and not device.stream) or not _moves(precision, offload):
                continue
            for tiled in tilings(size):
                yield (
                    _placement(estimate, device, precision, "device" if offload == "model" else "host", offload),
                    tiled,
                )


def need(estimate: Estimate, placement: Placement, size: Size, batch: int, *, tiled: bool) -> tuple[int, int]:
    """Return the most bytes that the device holds, and those that wait in main memory."""
    text_format = (
        "int8"
        if placement.text == "int8"
        else placement.storage
        if placement.storage in ("bf16", "fp16", "fp32")
        else ""
    )
    text = estimate.text(text_format or placement.compute, placement.compute)
    if placement.precision == "gguf":
        denoiser = size.gguf
    elif placement.precision in QUANTISED:
        denoiser = estimate.denoiser(placement.precision, placement.compute)
    else:
        denoiser = estimate.denoiser(placement.storage, placement.compute)
    vae = estimate.vae(placement.vae)
    step = estimate.step(size.width, size.height, batch, placement.compute)
    decode = estimate.decode(size.width, size.height, placement.vae, tiled=tiled)
    prompt = estimate.prompt(placement.compute, streamed=placement.text == "host")
    alive = max(step, decode, prompt)
    if placement.offload == "none":
        return denoiser + text + vae + alive, 0
    if placement.offload == "text":
        return denoiser + vae + alive, text
    if placement.offload == "model":
        return max(denoiser + step, text + prompt, vae + decode), denoiser + text + vae
    leaves = estimate.leaves(placement.compute)
    if placement.offload == "group":
        return vae + leaves + alive, denoiser + text
    return leaves + alive, denoiser + text + vae


def _precisions(device: Device, asked: str, libraries: frozenset[str], gguf: int) -> list[str]:
    if gguf:
        return ["gguf"]
    if asked != "auto":
        return [asked]
    found = [usual(device)]
    if TORCHAO in libraries:
        found.append("int8")
    elif device.fp8:
        found.append("fp8")
    if BITSANDBYTES in libraries and device.kind == CUDA:
        found.append("nf4")
    return found


def _placement(estimate: Estimate, device: Device, precision: str, text: str, offload: str) -> Placement:
    storage, compute, vae = formats(estimate, device, precision)
    return Placement(precision, storage, compute, vae, text, offload)


def _moves(precision: str, offload: str) -> bool:
    """Whether weights of this precision can be moved about that placement."""
    if offload == "model":
        return True
    if offload == "group":
        return precision not in ("nf4", "gguf")
    return precision not in QUANTISED
