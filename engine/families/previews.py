"""Previews of unfinished pictures: a linear map from the latents of a VAE to colours, where the latents can be understood."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_CHANNELS = (4, 16)
"""Channels of the latents that are previewed: those of the VAEs of Stable Diffusion, Flux, Wan and Qwen-Image."""


def fit_rgb(encode: Callable[[Tensor], Tensor], device: torch.device) -> Tensor:
    """Return the linear map from latents to colours that fits random clouds best, by least squares: (channels + 1, 3).

    Args:
        encode: Returns the latents, (1, channels, height, width), of pixels, (1, 3, 128, 128) from -1 to 1.
        device: Where the pixels are given to ``encode``, and where the map is returned.
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, 3, 5, 5, generator=generator)
    clouds = torch.nn.functional.interpolate(coarse, (128, 128), mode="bicubic").clamp(0, 1)
    latents = torch.cat([encode(cloud[None].to(device) * 2 - 1).float().cpu() for cloud in clouds])
    flat = latents.permute(0, 2, 3, 1).flatten(0, 2)
    colours = torch.nn.functional.interpolate(clouds, latents.shape[2:], mode="area")
    colours = colours.permute(0, 2, 3, 1).flatten(0, 2)
    found: Tensor = torch.linalg.lstsq(torch.cat([flat, torch.ones(len(flat), 1)], 1), colours).solution
    return found.to(device)


def preview(latents: Tensor, rgb: Tensor) -> NDArray[np.uint8]:
    """Return the colours, (height, width, 3), of latents, (1, channels, height, width), by the map of ``fit_rgb``."""
    flat = latents[0].flatten(1).T.float()
    pixels = torch.cat([flat, flat.new_ones(len(flat), 1)], 1) @ rgb.to(latents.device)
    square = pixels.reshape(*latents.shape[2:], 3).clamp(0, 1)
    found: NDArray[np.uint8] = (square * 255).round().to(torch.uint8).cpu().numpy()
    return found


class LatentPreviews:
    """Makes previews for one pipeline; None where its latents are of another kind.

    Args:
        pipe: The pipeline; None makes no previews.
        device: Where its VAE is.
    """

    def __init__(self, pipe: Any, device: torch.device) -> None:
        self._pipe = pipe
        self._device = device
        self._rgb: Tensor | None = None

    @torch.no_grad()
    def picture(self, latents: Tensor, width: int, height: int) -> NDArray[np.uint8] | None:
        """Return a preview, (height / 8, width / 8, 3).

        Args:
            latents: As the pipeline's callback gets them: (1, channels, height, width), the same with a frame's
                dimension, or packed, (1, tokens, 4 * channels).
            width: Of the picture, in pixels.
            height: Of the picture, in pixels.
        """
        vae = getattr(self._pipe, "vae", None)
        if vae is None or not hasattr(vae, "encode"):
            return None
        if latents.dim() == 3 and latents.shape[-1] // 4 in _CHANNELS:
            latents = self._unpacked(latents, width, height)
        if latents.dim() == 5 and latents.shape[2] == 1:
            latents = latents[:, :, 0]
        if latents.dim() != 4 or latents.shape[1] not in _CHANNELS:
            return None
        if self._rgb is None:
            self._rgb = fit_rgb(partial(_encoded, vae), self._device)
        return preview(latents, self._rgb)

    def _unpacked(self, latents: Tensor, width: int, height: int) -> Tensor:
        """Return packed latents as (1, channels, height, width), or as they are where their size is another one."""
        unpack, side = getattr(self._pipe, "_unpack_latents", None), self._pipe.vae_scale_factor * 2
        if unpack is None or latents.shape[1] != (height // side) * (width // side):
            return latents
        found: Tensor = unpack(latents, height, width, self._pipe.vae_scale_factor)
        return found


def _encoded(vae: Any, pixels: Tensor) -> Tensor:
    """Return the latents of (1, 3, height, width) pixels from -1 to 1 as pipelines scale them."""
    config = vae.config
    mean, deviation = config.get("latents_mean"), config.get("latents_std")
    frames = vae.encoder.conv_in.weight.dim() == 5 if hasattr(vae, "encoder") else False
    inputs = pixels.to(vae.dtype)
    latents: Tensor = vae.encode(inputs[:, :, None] if frames else inputs).latent_dist.mode().float()
    if frames:
        latents = latents[:, :, 0]
    if mean is not None and deviation is not None:
        shape = (1, -1, 1, 1)
        latents = (latents - latents.new_tensor(mean).view(shape)) / latents.new_tensor(deviation).view(shape)
    shift = config.get("shift_factor") or 0.0
    return (latents - shift) * float(config.get("scaling_factor") or 1.0)
