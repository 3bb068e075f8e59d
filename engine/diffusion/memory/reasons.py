"""Why a plan is as it is, in short English sentences. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.contract import Profile
from engine.diffusion.memory.estimate import TILE, Estimate
from engine.diffusion.memory.ways import Size, Way, usual
from engine.diffusion.memory.words import CUDA, TORCHAO, Device, gib

TILES = f"The VAE works in tiles of {TILE} pixels, since the whole picture would not fit; seams are blended."


@dataclass(frozen=True, slots=True)
class Question:
    """What a plan is asked for.

    Attributes:
        profile: Which model.
        estimate: What it takes.
        size: What is drawn.
        device: Where.
        asked: ``EASEL_PRECISION``.
        libraries: What is installed.
    """

    profile: Profile
    estimate: Estimate
    size: Size
    device: Device
    asked: str
    libraries: frozenset[str]


def too_large(question: Question, way: Way, there: int, budget: int) -> str:
    """Say why the first way is not gone."""
    size = question.size
    return (
        f"{question.profile.title} in {way.precision} takes {gib(there)} for {size.width}x{size.height}, "
        f"and {gib(max(0, budget))} of the card can be used."
    )


def guess(question: Question) -> Iterator[str]:
    """Say where the estimate comes from when it is not the model's own."""
    if question.estimate.guessed:
        yield (
            f"Nobody counted the parameters of {question.profile.title}; "
            "those of the model that its family is named after are taken."
        )


def reasons(question: Question, way: Way, *, tiled: bool) -> Iterator[str]:
    """Say why a card's way is as it is."""
    device, title = question.device, question.profile.title
    yield from guess(question)
    if not device.bf16 and device.kind == CUDA:
        if way.compute == "fp32" and not question.estimate.figures.fp16:
            yield f"The card has no bf16, and {title} overflows in fp16, so it computes in fp32."
        elif way.compute == "fp16":
            yield "The card has no bf16, so it computes in fp16."
        if way.vae != way.compute:
            yield "The VAE overflows in fp16, so it is kept in fp32."
    yield from _weights(question, way)
    yield from _moved(way)
    if tiled:
        yield TILES


def _weights(question: Question, way: Way) -> Iterator[str]:
    if question.asked == way.precision:
        yield f"EASEL_PRECISION asks for {way.precision}."
    elif way.precision == "gguf":
        yield "The denoiser's weights stay as they are in the GGUF file."
    elif way.precision != usual(question.device):
        by = {"int8": " by torchao", "nf4": " by bitsandbytes"}.get(way.precision, "")
        yield f"Its weights are kept in {way.precision}{by}, which changes pictures a little."
        if way.precision == "fp8" and TORCHAO not in question.libraries:
            yield "With easel[quant] they would be kept in int8, which is closer to bf16."


def _moved(way: Way) -> Iterator[str]:
    if way.offload == "text":
        yield "The text encoder waits in main memory; a new prompt brings it to the card layer by layer."
    elif way.offload == "group":
        yield "All weights but the VAE's wait in main memory and are copied layer by layer while the card computes."
    elif way.offload == "model":
        yield "The text encoder, the denoiser and the VAE take turns on the card."
    elif way.offload == "sequential":
        yield "Every layer comes from main memory when it is used, which is slow."
    elif way.text == "int8":
        yield "The text encoder is kept in int8."
