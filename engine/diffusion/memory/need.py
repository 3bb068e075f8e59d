"""Adds up the bytes that a placement takes, on the device and in main memory. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from engine.diffusion.memory.estimate import Estimate
from engine.diffusion.memory.placements import QUANTISED, Size
from engine.diffusion.memory.types import Placement, StoredWeights


@dataclass(frozen=True, slots=True)
class Need:
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


def need(estimate: Estimate, placement: Placement, size: Size, batch: int, *, tiled: bool) -> Need:
    """Return the bytes that a placement takes with a batch of pictures."""
    # Only the denoiser is kept in fp8.
    how = "int8" if placement.text_encoder == "int8" else placement.loaded
    text = estimate.text(how, placement.text_compute)
    text_blocks = min(text, estimate.text_blocks(placement.loaded, placement.text_compute))
    if placement.precision == "gguf":
        denoiser = size.gguf
    elif placement.precision in QUANTISED:
        denoiser = estimate.denoiser(placement.precision, placement.compute)
    else:
        denoiser = estimate.denoiser(placement.storage, placement.compute)
    vae = estimate.vae(placement.vae)
    step = estimate.step(size.width, size.height, batch, placement.compute)
    decode = estimate.decode(size.width, size.height, placement.vae, tiled=tiled)
    decode += estimate.workspace(size.width, size.height, tiled=tiled)
    prompt = estimate.prompt(placement.text_compute)
    kept = estimate.embeddings
    everything = denoiser + text + vae
    match placement.offload:
        case "none":
            return Need(everything + kept + max(step, decode, prompt), everything)
        case "text":
            alive = max(step, decode, prompt + text_blocks)
            return Need(denoiser + vae + kept + alive, denoiser + vae, text, text, text_blocks)
        case "model":
            # The part that was used last stays on the device.
            peak = max(denoiser + step, text + prompt, vae + decode)
            return Need(peak + kept, max(denoiser, text, vae), everything)
        case "group":
            blocks = min(denoiser, estimate.blocks(placement.precision, placement.storage, placement.compute))
            alive = max(step + blocks, decode, prompt + text_blocks)
            return Need(vae + kept + alive, vae, denoiser + text, denoiser + text, max(blocks, text_blocks))
        case _:
            alive = max(step, vae + decode, prompt + text_blocks)
            return Need(estimate.leaves(placement.compute) + kept + alive, 0, everything)


def loading(estimate: Estimate, placement: Placement, size: Size) -> int:
    """Return the bytes of main memory that loading takes."""
    return estimate.loading(size.stored or StoredWeights(), placement, size.gguf)
