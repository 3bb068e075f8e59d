"""Draws with a small pipeline by its plain call, as somebody would who uses diffusers alone."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.fakes.pipelines import load
from tests.fakes.small_pipelines import SmallPipeline


def load_plainly(folder: Path, small: SmallPipeline) -> Any:
    """Load a small pipeline in fp32, as diffusers does by itself."""
    pipe = load(folder)
    if small.vae_dtype:
        pipe.vae.to(getattr(torch, small.vae_dtype))
    return pipe


def drawn_plainly(
    pipe: Any,
    small: SmallPipeline,
    prompt: str,
    *,
    size: tuple[int, int] = (64, 64),
    steps: int = 2,
    seed: int = 5,
    guidance: float = 3.0,
    negative: str = "",
    references: Sequence[Image.Image] = (),
    **more: Any,
) -> NDArray[np.float32]:
    """Return a picture of (height, width, 3), 0 to 1.

    Args:
        pipe: The pipeline.
        small: What its call takes.
        prompt: What to draw.
        size: Width and height in pixels, where the call takes them.
        steps: Denoising steps.
        seed: Seed of the noise.
        guidance: Guidance scale, where it has an effect.
        negative: What not to draw.
        references: Reference pictures.
        more: Further arguments of the call.
    """
    width, height = size
    wanted: dict[str, Any] = {"height": height, "width": width, "max_area": width * height}
    if small.guidance:
        wanted[small.guidance] = guidance
    if negative or (small.guidance == "true_cfg_scale" and guidance > 1):
        wanted["negative_prompt"] = negative
    if references:
        wanted["image"] = list(references) if len(references) > 1 else references[0]
    known = inspect.signature(pipe.__call__).parameters
    found: NDArray[np.float32] = pipe(
        prompt=prompt,
        num_inference_steps=steps,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
        **{key: value for key, value in wanted.items() if key in known},
        **small.call,
        **more,
    ).images[0]
    return found
