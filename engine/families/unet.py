"""The base class of SDXL and Stable Diffusion 1.5: a UNet, prompts for CLIP, and a VAE of four channels."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import ControlNetModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from torch import Tensor

from engine.contract import Recipe, UnknownModel
from engine.families.batched import BatchedFamily
from engine.families.clip_prompts import same_length
from engine.families.control import ControlInput, ControlNet
from engine.families.denoise_state import Embedding

_ENDS: Mapping[str, str] = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
}
_RESNET: Mapping[str, str] = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)")


class UNetFamily(BatchedFamily):
    """A loaded pipeline with a UNet."""

    def forward(
        self, inputs: Sequence[Tensor], times: Tensor, embeddings: Sequence[Embedding], _: Sequence[Recipe]
    ) -> Tensor:
        """See Family. The UNet takes a timestep for each row."""
        return self._unet(torch.cat(list(inputs)).to(self.dtype), times, self._conditioning(embeddings))

    def forward_controlled(
        self,
        inputs: Sequence[Tensor],
        times: Tensor,
        embeddings: Sequence[Embedding],
        _: Sequence[Recipe],
        control: ControlInput,
    ) -> Tensor:
        """See BatchedFamily. The ControlNet sees what the UNet does, and adds to its skip connections."""
        samples = torch.cat(list(inputs)).to(self.dtype)
        given = self._conditioning(embeddings)
        down, middle = control.module(
            samples,
            times,
            controlnet_cond=torch.cat(list(control.conditions)),
            conditioning_scale=control.weights.to(self.dtype).view(-1, 1, 1, 1),
            return_dict=False,
            **given,
        )
        more = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        return self._unet(samples, times, {**given, **more})

    def control_condition(self, net: ControlNet, pixels: Tensor) -> Tensor:
        """See BatchedFamily. A ControlNet of a UNet takes the pixels."""
        return pixels.to(net.module.dtype)

    def empty_control(self, tensors: Mapping[str, Tensor]) -> tuple[Any, Mapping[str, Tensor]]:
        """See BatchedFamily. A ControlNet is a copy of the UNet's first half, so that the UNet's config is its own."""
        with init_empty_weights():
            module = ControlNetModel.from_unet(self.denoiser, load_weights_from_unet=False)
        return module, convert_controlnet_checkpoint(dict(tensors), dict(module.config))

    def set_control(self, kinds: Sequence[str], net: ControlNet) -> None:
        """See BatchedFamily."""
        ours, theirs = (list(module.config.block_out_channels) for module in (self.denoiser, net.module))
        if ours != theirs:
            raise UnknownModel(f"is made for another UNet than that of {self.spec.title}")
        super().set_control(kinds, net)

    def _unet(self, samples: Tensor, times: Tensor, given: Mapping[str, Any]) -> Tensor:
        found: Tensor = self.denoiser(samples, times, return_dict=False, **given)[0]
        return found.float()

    def _conditioning(self, embeddings: Sequence[Embedding]) -> Mapping[str, Any]:
        prompts = same_length([e.tensors[0] for e in embeddings]).to(self.dtype)
        return {"encoder_hidden_states": prompts, **self.added_cond(embeddings)}

    @abstractmethod
    def added_cond(self, embeddings: Sequence[Embedding]) -> Mapping[str, Any]:
        """Return the UNet's conditioning beside the prompts. What ``begin`` added to the embeddings is there."""

    @classmethod
    def original_layer_names(cls, denoiser: Any, names: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        """See Family. The names are those of LDM and SGM, the repositories of Stable Diffusion and SDXL."""
        layers = int(denoiser.config.layers_per_block) + 1
        attentive = {name.partition(".attentions.")[0] for name in names if ".attentions." in name}
        return {first: (name,) for name in names if (first := _original_name(name, layers, attentive))}

    @classmethod
    def denoiser_tensors(cls, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """See Family. diffusers recognises the original layout only with the prefix of a single-file checkpoint."""
        if any(name.startswith("input_blocks.") for name in tensors):
            return {f"model.diffusion_model.{name}": tensor for name, tensor in tensors.items()}
        return tensors

    @staticmethod
    def skipped_steps(steps: int, strength: float) -> int:
        """See BatchedFamily. These pipelines round down what is drawn."""
        return max(steps - min(int(steps * strength), steps), 0)

    def schedule(self, scheduler: Any, recipe: Recipe) -> None:
        """See Family."""
        more = {}
        if recipe.steps > scheduler.config.get("original_inference_steps", recipe.steps):
            # LCM takes its steps from a grid of 50, which more steps make finer.
            more["original_inference_steps"] = recipe.steps
        scheduler.set_timesteps(recipe.steps, device="cpu", **more)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """See Family. A VAE that overflows in fp16 has been loaded in fp32."""
        vae = self.pipe.vae
        pixels: Tensor = vae.decode(self._unscaled(latents).to(vae.dtype), return_dict=False)[0]
        return (pixels[0].float() / 2 + 0.5).permute(1, 2, 0)

    @torch.no_grad()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """See Family."""
        vae = self.pipe.vae
        latents: Tensor = vae.encode(pixels.to(vae.dtype)).latent_dist.mode().float()
        if (spread := self._spread(latents)) is not None:
            mean, deviation = spread
            latents = (latents - mean) / deviation
        return latents * float(vae.config.scaling_factor)

    def _unscaled(self, latents: Tensor) -> Tensor:
        latents = latents / float(self.pipe.vae.config.scaling_factor)
        if (spread := self._spread(latents)) is not None:
            mean, deviation = spread
            latents = latents * deviation + mean
        return latents

    def _spread(self, latents: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the mean and standard deviation of the VAE's latents by channel; None where its config has none."""
        config = self.pipe.vae.config
        mean, deviation = config.get("latents_mean"), config.get("latents_std")
        if mean is None or deviation is None:
            return None
        return latents.new_tensor(mean).view(1, -1, 1, 1), latents.new_tensor(deviation).view(1, -1, 1, 1)


def _original_name(name: str, layers: int, attentive: Collection[str]) -> str:
    """Return LDM's name of a layer; empty where LDM has none.

    Args:
        name: Name in diffusers.
        layers: Layers of each block.
        attentive: Blocks with attention, which shifts the index of what follows.
    """
    if name in _ENDS:
        return _ENDS[name]
    if (found := _MIDDLE.fullmatch(name)) is not None:
        which, index, rest = found.groups()
        return f"middle_block.1.{rest}" if which == "attentions" else f"middle_block.{2 * int(index)}.{_resnet(rest)}"
    if (found := _BLOCK.fullmatch(name)) is None:
        return ""
    way, block, which, index, rest = found.groups()
    if which == "downsamplers":
        return f"input_blocks.{(int(block) + 1) * layers}.0.{rest.replace('conv', 'op')}"
    if which == "upsamplers":
        place = 2 if f"up_blocks.{block}" in attentive else 1
        return f"output_blocks.{(int(block) + 1) * layers - 1}.{place}.{rest}"
    at = int(block) * layers + int(index)
    first = f"input_blocks.{at + 1}" if way == "down" else f"output_blocks.{at}"
    return f"{first}.0.{_resnet(rest)}" if which == "resnets" else f"{first}.1.{rest}"


def _resnet(rest: str) -> str:
    return _RESNET.get(rest, rest)
