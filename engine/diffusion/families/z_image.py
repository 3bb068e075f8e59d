"""Z-Image and what is built like it: ZImagePipeline with Qwen3, AutoencoderKL and a flow-match scheduler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline
from numpy.typing import NDArray
from torch import Tensor

from engine.diffusion.families.base import AfterStep, Plan


@dataclass(frozen=True, slots=True)
class _Going:
    """Rows that are still in the batch, their latents in the same order, and how many steps they have done."""

    rows: list[int]
    latents: Tensor
    done: int


class _Leaving(Exception):
    """Rows leave the batch: ends a call of the pipeline after a step, with what goes on."""

    def __init__(self, going: _Going) -> None:
        super().__init__("rows leave the batch")
        self.going = going


class ZImage:
    """A loaded ZImagePipeline. Obeys ``engine.diffusion.families.base.Family``.

    Args:
        folder: A diffusers pipeline.
        device: Where it draws.
        dtype: Number format of the weights.

    Raises:
        Exception: Whatever diffusers and transformers raise for files that they can't load.
    """

    def __init__(self, folder: str, device: torch.device, dtype: torch.dtype) -> None:
        # Never pickles, never code out of the folder, never the network: the files are here by now.
        self._pipe: Any = ZImagePipeline.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False
        )
        self._pipe.set_progress_bar_config(disable=True)
        self._pipe.to(device)
        self._device = device

    def guided(self, guidance: float) -> bool:
        """Whether the pipeline guides: above 0, since its scale is counted from there."""
        return guidance > 0

    @torch.no_grad()
    def encode(self, prompt: str) -> Tensor:
        """Return (tokens, channels), at most 512 tokens; what is longer is cut off by the tokenizer."""
        embeddings, _ = self._pipe.encode_prompt(prompt, device=self._device, do_classifier_free_guidance=False)
        found: Tensor = embeddings[0]
        return found

    @torch.no_grad()
    def denoise(self, plan: Plan, after_step: AfterStep) -> dict[int, Tensor]:
        """Denoise the rows; when some leave, the pipeline is called again with the rest at the step they have reached.

        The scheduler keeps nothing between steps (Euler), so a call that begins at a later sigma goes on exactly.
        """
        going = _Going(list(range(len(plan.seeds))), torch.cat([self._noise(plan, seed) for seed in plan.seeds]), 0)
        while going.rows and going.done < plan.steps:
            going = self._go_on(plan, going, after_step)
        return {row: going.latents[i : i + 1] for i, row in enumerate(going.rows)}

    def _go_on(self, plan: Plan, going: _Going, after_step: AfterStep) -> _Going:
        """Call the pipeline once: to the end, or until rows leave."""

        def callback(_: object, step: int, __: object, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            kept = set(after_step(going.done + step + 1))
            staying = [i for i, row in enumerate(going.rows) if row in kept]
            if len(staying) < len(going.rows):
                rows = [going.rows[i] for i in staying]
                raise _Leaving(_Going(rows, tensors["latents"][staying], going.done + step + 1))
            return tensors

        # The pipeline's own schedule, given whole so that it can be entered at any step.
        sigmas = torch.linspace(1.0, 1.0 / plan.steps, plan.steps).tolist()
        try:
            (latents,) = self._pipe(
                prompt_embeds=[plan.prompts[r] for r in going.rows],
                negative_prompt_embeds=[plan.negatives[r] for r in going.rows] if plan.negatives else None,
                latents=going.latents,
                width=plan.width,
                height=plan.height,
                sigmas=sigmas[going.done :],
                num_inference_steps=plan.steps - going.done,
                guidance_scale=plan.guidance,
                callback_on_step_end=callback,
                output_type="latent",
                return_dict=False,
            )
        except _Leaving as e:
            return e.going
        return _Going(going.rows, latents, plan.steps)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> NDArray[np.float32]:
        """Return (height, width, 3)."""
        vae = self._pipe.vae
        scaled = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
        pixels: Tensor = vae.decode(scaled, return_dict=False)[0]
        found: NDArray[np.float32] = (pixels[0].float() / 2 + 0.5).permute(1, 2, 0).cpu().numpy()
        return found

    def _noise(self, plan: Plan, seed: int) -> Tensor:
        # Drawn on the CPU, whatever the device: the same seed is the same picture on every machine, near enough.
        found: Tensor = self._pipe.prepare_latents(
            1,
            self._pipe.transformer.in_channels,
            plan.height,
            plan.width,
            torch.float32,
            self._device,
            torch.Generator("cpu").manual_seed(seed),
        )
        return found


def load(folder: str, device: torch.device, dtype: torch.dtype) -> ZImage:
    """Load the pipeline of ``folder``; raises whatever diffusers raises for files that it can't load."""
    return ZImage(folder, device, dtype)
