"""The placements of a model on a GPU, best first, and the memory that each takes. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.diffusion.memory.estimate import TILE, Estimate
from engine.diffusion.memory.types import BITSANDBYTES, CUDA, MPS, TORCHAO, Device

QUANTISED = ("int8", "nf4", "gguf")
"""Precisions that need a quantisation library."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Formats of the weights, and which of them are kept in main memory. The fields are those of ``Plan``.

    Attributes:
        precision: Format of the denoiser's weights.
        storage: Format in which unquantised weights are stored.
        compute: Format of the computation.
        vae: Format of the VAE.
        text: ``Plan.text_encoder``.
        offload: What is kept in main memory.
    """

    precision: str
    storage: str
    compute: str
    vae: str
    text: str
    offload: str


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in pixels, and the bytes of a GGUF file that holds the denoiser (0: none)."""

    width: int
    height: int
    gguf: int = 0


def formats(estimate: Estimate, device: Device, precision: str) -> tuple[str, str, str]:
    """Return the storage format, the compute format and the VAE's format for a precision on a device.

    Where bfloat16 is emulated, weights are stored in it and computed in fp32; so are fp16 weights of families that
    overflow in fp16.
    """
    known = estimate.footprint
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
    """Return the smallest format in which this family can compute on this device."""
    if device.bf16:
        return "bf16"
    return "fp16" if estimate.footprint.fp16 and device.kind != "cpu" else "fp32"


def usual(device: Device) -> str:
    """Return the precision that is tried first on a GPU."""
    return "bf16" if device.bf16 else "fp16"


def tilings(size: Size) -> tuple[bool, ...]:
    """Return the tilings to try: the VAE on whole pictures first, then on tiles where the picture is larger than one."""
    return (False, True) if max(size.width, size.height) > TILE else (False,)


def placements(
    estimate: Estimate, device: Device, asked: str, libraries: frozenset[str], size: Size
) -> Iterator[tuple[Placement, bool]]:
    """Yield the placements for a GPU, best first, and whether the VAE works on tiles.

    Everything on the device comes first, then the text encoder in main memory, tiles, quantised weights, and last the
    offloading of all layers.
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
        return  # an Apple GPU's memory is main memory: offloading gains nothing
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
    """Return the peak bytes on the device, and the bytes kept in main memory."""
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
    """Whether weights of this precision can be offloaded in this way."""
    if offload == "model":
        return True
    if offload == "group":
        return precision not in ("nf4", "gguf")
    return precision not in QUANTISED
