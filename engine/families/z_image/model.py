"""Draws with ZImagePipeline: a Qwen3 text encoder, AutoencoderKL and a flow-matching scheduler."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import diffusers
import numpy as np
import torch
from accelerate import init_empty_weights
from diffusers import FlowMatchHeunDiscreteScheduler, ZImageControlNetModel
from diffusers.models.transformers.transformer_z_image import SEQ_MULTI_OF
from diffusers.pipelines.z_image.pipeline_z_image import calculate_shift
from torch import Tensor, nn

from engine.contract import Recipe, UnknownModel
from engine.families.batched import BatchedFamily
from engine.families.control import ControlInput, ControlNet
from engine.families.denoise_state import Embedding
from engine.families.language_model import LanguageModel, of_text_encoder
from engine.families.z_image.spec import MAX_TOKENS, SPEC
from engine.samplers import Sampler

_CONTROL_STEPS = (2, 5)
"""Every how many layers a published ControlNet adds to: 15 of 30 in versions 2.0 and 2.1, 6 of 30 in version 1."""

_PATCH = 4
"""Latents of one channel that are one input of an embedder."""

_REFINER = "control_noise_refiner."

MOST = torch.finfo(torch.float16).max
"""Largest number of fp16, to which sums of the transformer are clamped."""


class ZImage(BatchedFamily):
    """A loaded ZImagePipeline."""

    spec = SPEC

    def __init__(self, pipe: Any, device: torch.device) -> None:
        super().__init__(pipe, device)
        if self.dtype == torch.float16:
            clamp_sums(self.denoiser)

    @torch.no_grad()
    def encode(self, prompt: str, clip_skip: int = 0) -> Embedding:  # noqa: ARG002
        """Return (tokens, channels), at most 512 tokens.

        The pipeline pads to 512 and discards the embeddings of the padding. Its text encoder is causal: tokens before
        the padding do not attend to it, so no padding is needed.
        """
        tokenizer = self.pipe.tokenizer
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True, enable_thinking=True
        )
        ids = tokenizer(text, return_tensors="pt").input_ids
        cut = ids.shape[1] > MAX_TOKENS
        if cut:
            ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=MAX_TOKENS).input_ids
        states = self.pipe.text_encoder(input_ids=ids.to(self.device), output_hidden_states=True).hidden_states
        return Embedding((states[-2][0],), cut)

    def language_model(self) -> LanguageModel:
        """See Family. Qwen3-4B's head is its embeddings."""
        return of_text_encoder(self.spec.title, self.pipe.text_encoder, self.pipe.tokenizer, self.device)

    def forward(
        self, inputs: Sequence[Tensor], times: Tensor, embeddings: Sequence[Embedding], _: Sequence[Recipe]
    ) -> Tensor:
        """See Family. The transformer takes a list of latents, each with its own timestep."""
        return self._transformer(*self._given(inputs, times, embeddings))

    def forward_controlled(
        self,
        inputs: Sequence[Tensor],
        times: Tensor,
        embeddings: Sequence[Embedding],
        _: Sequence[Recipe],
        control: ControlInput,
    ) -> Tensor:
        """See BatchedFamily. The ControlNet sees what the transformer does, and adds to some of its blocks."""
        given = self._given(inputs, times, embeddings)
        conditions = [condition.squeeze(0) for condition in control.conditions]
        weights = control.weights.to(self.dtype).view(-1, 1, 1)
        samples = control.module(*given, conditions, conditioning_scale=weights)
        return self._transformer(*given, controlnet_block_samples=samples)

    def control_condition(self, net: ControlNet, pixels: Tensor) -> Tensor:
        """See BatchedFamily. The picture's latents, with zeros where the ControlNet takes more channels (from 2.0)."""
        latents = self.encode_pixels(pixels * 2 - 1).unsqueeze(2)
        more = int(net.module.config.control_in_dim) - latents.shape[1]
        found = torch.cat([latents, latents.new_zeros(1, more, *latents.shape[2:])], dim=1)
        return found.to(net.module.dtype)

    def empty_control(self, tensors: Mapping[str, Tensor]) -> tuple[Any, Mapping[str, Tensor]]:
        """See BatchedFamily. The config follows from the tensors, as those of the published versions 1 to 2.1 do."""
        ours = self.denoiser.config
        layers = len({name.split(".")[1] for name in tensors if name.startswith("control_layers.")})
        step = ours.n_layers // max(1, layers)
        if step not in _CONTROL_STEPS or layers * step != ours.n_layers:
            raise UnknownModel(f"has {layers} control layers, which is none of the published forms")
        embedder = tensors[self.spec.control_marker]
        refiner = _control_refiner(tensors) if embedder.shape[1] > ours.in_channels * _PATCH else None
        shared = ("all_patch_size", "all_f_patch_size", "dim", "n_refiner_layers", "n_heads", "n_kv_heads")
        with init_empty_weights():
            module = ZImageControlNetModel(
                control_layers_places=list(range(0, ours.n_layers, step)),
                control_refiner_layers_places=list(range(ours.n_refiner_layers)) if refiner else None,
                control_in_dim=embedder.shape[1] // _PATCH,
                add_control_noise_refiner=refiner,
                norm_eps=ours.norm_eps,
                qk_norm=ours.qk_norm,
                **{key: ours[key] for key in shared},
            )
        if refiner == "control_layers":  # the file's own refiner is not used
            tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(_REFINER)}
        return module, tensors

    def set_control(self, kinds: Sequence[str], net: ControlNet) -> None:
        """See BatchedFamily. The ControlNet uses the transformer's embedders and refiners, and has none of its own."""
        super().set_control(kinds, net)
        net.module.from_transformer(net.module, self.denoiser)
        if self.dtype == torch.float16:
            for name, part in net.module.named_children():
                if name.startswith("control_"):  # the others are the transformer's
                    clamp_sums(part)

    def padded_length(self, embedding: Embedding) -> int:
        """See BatchedFamily. The transformer pads to multiples of 32 with a token of its own, which needs no mask."""
        multiple: int = SEQ_MULTI_OF
        return math.ceil(len(embedding.tensors[0]) / multiple)

    def _given(
        self, inputs: Sequence[Tensor], times: Tensor, embeddings: Sequence[Embedding]
    ) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        """Return the transformer's inputs."""
        latents = [x.to(self.dtype).squeeze(0).unsqueeze(1) for x in inputs]
        prompts = [e.tensors[0] for e in embeddings]
        if self.dtype == torch.float16:
            prompts = [clamped(prompt) for prompt in prompts]
        return latents, (1000 - times) / 1000, prompts

    def _transformer(self, latents: list[Tensor], times: Tensor, prompts: list[Tensor], **more: Any) -> Tensor:
        found = self.denoiser(latents, times, prompts, return_dict=False, **more)[0]
        return -torch.stack([x.float() for x in found]).squeeze(2)

    def guide(self, towards: Tensor, away: Tensor, guidance: float) -> Tensor:
        """Return the guided prediction. ZImagePipeline's scale counts from 0, where others count from 1."""
        return towards + guidance * (towards - away)

    def scheduler_of(self, sampler: Sampler, recipe: Recipe) -> Any:
        """See BatchedFamily. The solvers of other models take the shift of this picture's size as their own."""
        own = self.pipe.scheduler.config
        train = own.num_train_timesteps
        if sampler.scheduler == "FlowMatchEulerDiscreteScheduler":
            return super().scheduler_of(sampler, recipe)
        shift = math.exp(self._mu(recipe)) if own.get("use_dynamic_shifting") else own.shift
        if sampler.scheduler == "FlowMatchHeunDiscreteScheduler":
            return FlowMatchHeunDiscreteScheduler(train, shift)
        return getattr(diffusers, sampler.scheduler)(train, flow_shift=shift, **sampler.config)

    def schedule(self, scheduler: Any, recipe: Recipe) -> None:
        """See Family. The sigmas are the pipeline's, shifted by the picture's size where the scheduler is dynamic."""
        sigmas = torch.linspace(1.0, 1.0 / recipe.steps, recipe.steps).tolist()
        if isinstance(scheduler, FlowMatchHeunDiscreteScheduler):
            _schedule_heun(scheduler, sigmas)
        elif "sigmas" not in inspect.signature(scheduler.set_timesteps).parameters:
            scheduler.set_timesteps(recipe.steps, device="cpu")
        else:
            scheduler.set_timesteps(sigmas=np.array(sigmas), device="cpu", mu=self._mu(recipe))

    def _mu(self, recipe: Recipe) -> float:
        scale = self.pipe.vae_scale_factor * 2
        config = self.pipe.scheduler.config
        found: float = calculate_shift(
            (recipe.height // scale) * (recipe.width // scale),
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", 1.15),
        )
        return found

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """See Family."""
        vae = self.pipe.vae
        scaled = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
        pixels: Tensor = vae.decode(scaled, return_dict=False)[0]
        return (pixels[0].float() / 2 + 0.5).permute(1, 2, 0)

    @torch.no_grad()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """See Family."""
        vae = self.pipe.vae
        latents: Tensor = vae.encode(pixels.to(vae.dtype)).latent_dist.mode()
        found: Tensor = (latents.float() - vae.config.shift_factor) * vae.config.scaling_factor
        return found

    @classmethod
    def original_layer_names(cls, denoiser: Any, names: Collection[str]) -> Mapping[str, tuple[str, ...]]:  # noqa: ARG003
        """See Family. The names are Lumina's, where queries, keys and values are one layer."""
        found: dict[str, tuple[str, ...]] = {}
        for name in names:
            block, fused, _ = name.partition(".attention.to_q")
            if fused:
                found[f"{block}.attention.qkv"] = tuple(f"{block}.attention.to_{which}" for which in "qkv")
            first = name.replace("attention.to_out.0", "attention.out")
            first = re.sub(r"^all_(x_embedder|final_layer)\.[\d-]+", r"\1", first)
            if first != name:
                found[first] = (name,)
        return found

    @classmethod
    def denoiser_tensors(cls, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """See Family. Some files have the padding tokens as vectors; diffusers expects one row."""
        return {name: t[None] if name.endswith("pad_token") and t.dim() == 1 else t for name, t in tensors.items()}


def _schedule_heun(scheduler: Any, sigmas: Sequence[float]) -> None:
    """Set the timesteps of FlowMatchHeunDiscreteScheduler, which takes no sigmas, to those that Euler would have."""
    scheduler.set_timesteps(len(sigmas), device="cpu")
    plain, shift = torch.tensor(sigmas), scheduler.config.shift
    shifted = shift * plain / (1 + (shift - 1) * plain)
    times = shifted * scheduler.config.num_train_timesteps
    # Each step but the last is computed twice: at its beginning and at its end.
    scheduler.timesteps = torch.cat([times[:1], times[1:].repeat_interleave(2)])
    scheduler.sigmas = torch.cat([shifted[:1], shifted[1:].repeat_interleave(2), torch.zeros(1)])


def _control_refiner(tensors: Mapping[str, Tensor]) -> str:
    """Return which layers of a ControlNet refine its picture; version 2.0 has a refiner that was never trained."""
    trained = tensors.get(f"{_REFINER}0.before_proj.weight")
    return "control_layers" if trained is None or not trained.any() else "control_noise_refiner"


def clamp_sums(part: nn.Module) -> None:
    """Keep a transformer finite in fp16: clamp what all of its blocks add up, once for each part.

    Its activations grow beyond 65504. Attention and feed-forward layers are normalised behind the sums that overflow, so
    that the direction counts and little is lost; ComfyUI draws Lumina and Z-Image in fp16 in the same way.
    """
    block: Any
    for block in part.modules():
        if hasattr(block, "attention") and hasattr(block, "feed_forward"):
            for module in (block, block.attention, block.feed_forward):
                module.register_forward_hook(_clamp_output)
            block.feed_forward.w2.register_forward_pre_hook(_clamp_input)


def clamped(tensor: Tensor) -> Tensor:
    """Return the tensor in fp16, without infinities. NaN stays NaN: it is noticed when the picture is finished."""
    return tensor.clamp(-MOST, MOST).to(torch.float16)


def _clamp_output(_: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return output.clamp(-MOST, MOST)


def _clamp_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0].clamp(-MOST, MOST), *inputs[1:])
