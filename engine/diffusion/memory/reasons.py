"""Says in English sentences why a model is placed as it is. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from engine.diffusion.memory.estimate import TILE
from engine.diffusion.memory.placements import PlanRequest, usual
from engine.diffusion.memory.types import CUDA, SVDQUANT, TORCHAO, Placement, gib

TILES = f"The VAE works in tiles of {TILE} pixels, since the whole picture would not fit; seams are blended."


def reasons(request: PlanRequest, placement: Placement, *, tiled: bool) -> Iterator[str]:
    """Yield the reasons for a placement on a GPU."""
    device, title = request.device, request.profile.title
    yield from guess(request)
    if not device.bf16 and device.kind == CUDA:
        if placement.compute == "fp32" and not request.estimate.footprint.fp16:
            yield f"The card has no bf16, and {title} overflows in fp16, so it computes in fp32."
        elif placement.text_compute != placement.compute:
            yield f"The card has no bf16, so {title} computes in fp16 with clamped sums, and its text encoder in fp32."
        elif placement.compute == "fp16":
            yield "The card has no bf16, so it computes in fp16."
    elif placement.precision == "fp16" == usual(request.estimate, device):
        yield "fp16 is closer to fp32 than bf16, and this model does not overflow in it."
    if placement.compute == "fp16" != placement.vae:
        yield f"The VAE overflows in fp16, so it is kept in {placement.vae}."
    yield from _weights(request, placement)
    yield from _multiplied(placement)
    yield from _moved(placement)
    if tiled:
        yield TILES


def too_large(request: PlanRequest, placement: Placement, of_card: tuple[int, int], of_host: tuple[int, int]) -> str:
    """Return why the first placement was not chosen; needed and spare bytes of the card, and of main memory to load it."""
    size = request.size
    if of_card[0] > of_card[1]:
        return (
            f"{request.profile.title} in {placement.precision} takes {gib(of_card[0])} for {size.width}x{size.height}, "
            f"and {gib(max(0, of_card[1]))} of the card can be used."
        )
    return (
        f"{request.profile.title} in {placement.precision} takes {gib(of_host[0])} of main memory while it is loaded, "
        f"and {gib(max(0, of_host[1]))} can be used."
    )


def guess(request: PlanRequest) -> Iterator[str]:
    """Yield a sentence where the parameters are those of the family's published model."""
    if request.estimate.guessed:
        yield (
            f"Nobody counted the parameters of {request.profile.title}; "
            "those of the model that its family is named after are taken."
        )


def _weights(request: PlanRequest, placement: Placement) -> Iterator[str]:
    if request.requested == placement.precision:
        yield f"EASEL_PRECISION asks for {placement.precision}."
    elif placement.precision == "gguf":
        yield "The denoiser's weights stay as they are in the GGUF file."
    elif placement.precision == SVDQUANT:
        yield "The denoiser's weights stay as they are in the SVDQuant file, and nunchaku multiplies in four bits."
    elif placement.precision != usual(request.estimate, request.device):
        by = {"int8": " by torchao", "nf4": " by bitsandbytes"}.get(placement.precision, "")
        yield f"Its weights are kept in {placement.precision}{by}, which changes pictures a little."
        if placement.precision == "fp8" and TORCHAO not in request.libraries:
            yield "With easel[quant] they would be kept in int8, which is closer to bf16."


def _multiplied(placement: Placement) -> Iterator[str]:
    if placement.w8a8:
        yield (
            f"Large linear layers quantise their inputs to {placement.precision} too and multiply in it (W8A8), "
            "which this card does faster."
        )


def _moved(placement: Placement) -> Iterator[str]:
    if placement.offload == "text":
        how = " in int8" if placement.text_encoder == "int8" else ""
        yield f"The text encoder waits in main memory{how}; a new prompt brings it to the card block by block."
    elif placement.offload == "group":
        yield "All weights but the VAE's wait in main memory and are copied block by block while the card computes."
        if placement.text_encoder == "int8":
            yield "The text encoder is kept in int8."
    elif placement.offload == "model":
        yield "The text encoder, the denoiser and the VAE take turns on the card."
    elif placement.offload == "sequential":
        yield "Every layer comes from main memory when it is used, which is slow."
    elif placement.text_encoder == "int8":
        yield "The text encoder is kept in int8."
