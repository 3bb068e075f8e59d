"""The base class of batched families: one denoising step for several pictures at a time.

The denoising loop is Easel's own, so that a picture can join, leave or pause at any step: each has its own scheduler,
generator and timestep. Models, schedulers and text encoders are those of diffusers and transformers.
"""

from __future__ import annotations

import copy
import inspect
import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.contract import BadRecipe, Recipe, UnknownModel
from engine.families import previews
from engine.families.control import ControlInput, ControlNet
from engine.families.denoise_state import DenoiseState, Embedding, InitImage, kept_outside_mask
from engine.families.family import EmbedPrompt, Family
from engine.families.nonblocking import copies_for
from engine.families.step_cache import StepCache
from engine.samplers import Sampler

_PARALLEL = 1 - 1e-6
"""Cosine above which two noises are parallel, so that no plane contains both."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One prediction of a step: of a picture's latents, towards its prompt or ``away`` from its negative one."""

    state: DenoiseState
    latents: Tensor
    embedding: Embedding
    away: bool = False


class BatchedFamily(Family[DenoiseState]):
    """A loaded pipeline on its device. Its parts are called one by one, never the pipeline itself.

    Attributes:
        step_cache: Decides which steps are extrapolated instead of computed. The default one computes all steps.
        clip_skip: See ``Profile.clip_skip``; the loader sets the model's.
        controls: The loaded ControlNets by kind.
        copies: Entered while a scheduler computes, so that its copies to the device do not block.
    """

    def __init__(self, pipe: Any, device: torch.device) -> None:
        super().__init__(pipe, device)
        self.step_cache = StepCache()
        self.clip_skip = 0
        self.controls: dict[str, ControlNet] = {}
        self.copies = copies_for(device)
        self._rgb: Tensor | None = None

    def guided(self, guidance: float) -> bool:
        """Whether this guidance scale needs a second prediction, for the negative prompt."""
        return guidance > self.spec.unguided_below

    @property
    def denoiser(self) -> Any:
        """See Family."""
        return getattr(self.pipe, self.spec.denoiser)

    @cached_property
    def dtype(self) -> torch.dtype:
        """Dtype of the denoiser's inputs. It is read once, since diffusers walks all modules of the denoiser for it."""
        found: torch.dtype = self.denoiser.dtype
        return found if found.is_floating_point else torch.float32

    @abstractmethod
    def encode(self, prompt: str, clip_skip: int = 0) -> Embedding:
        """Return the embedding of one prompt. It has no padding, so that it does not depend on the batch.

        Args:
            prompt: The prompt.
            clip_skip: See ``Recipe.clip_skip``; 0: the family's usual one. Families without such a setting ignore it.
        """

    @abstractmethod
    def forward(
        self, inputs: Sequence[Tensor], times: Tensor, embeddings: Sequence[Embedding], recipes: Sequence[Recipe]
    ) -> Tensor:
        """Return the denoiser's prediction, (n, channels, height / 8, width / 8) in float32.

        Args:
            inputs: n latents, each (1, channels, height / 8, width / 8) in float32.
            times: (n,) scheduler timesteps, float32, on the device.
            embeddings: n prompts.
            recipes: n recipes, for models that are conditioned on the size.
        """

    def forward_controlled(
        self,
        inputs: Sequence[Tensor],
        times: Tensor,
        embeddings: Sequence[Embedding],
        recipes: Sequence[Recipe],
        control: ControlInput,
    ) -> Tensor:
        """Return what ``forward`` does, for pictures that follow control pictures of the same kind.

        Only families whose spec names a class of ControlNets are called so.
        """
        raise NotImplementedError

    def control_condition(self, net: ControlNet, pixels: Tensor) -> Tensor:
        """Return a control picture as the ControlNet takes it.

        Args:
            net: The ControlNet.
            pixels: (1, 3, height, width) from 0 to 1.
        """
        raise NotImplementedError

    def empty_control(self, tensors: Mapping[str, Tensor]) -> tuple[Any, Mapping[str, Tensor]]:
        """Return a ControlNet without weights for those of a single file, and the weights by diffusers' names.

        Args:
            tensors: The file's tensors.

        Raises:
            UnknownModel: They are made for another model; the sentence has no subject.
        """
        raise NotImplementedError

    def set_control(self, kinds: Sequence[str], net: ControlNet) -> None:
        """Use a ControlNet, which is on the device, for these kinds. Raises UnknownModel where it does not fit."""
        key = self.spec.keys.width_key
        ours, theirs = self.denoiser.config.get(key), net.module.config.get(key)
        if ours != theirs:
            raise UnknownModel(
                f"is made for another model of {self.spec.title} ({theirs} channels where it has {ours})"
            )
        self.controls |= dict.fromkeys(kinds, net)

    def scheduler(self, recipe: Recipe) -> Any:
        """Return a scheduler for one picture: the model's own, or the one that the recipe names.

        Raises:
            BadRecipe: The family has no such sampler.
        """
        if not recipe.sampler:
            # A copy: schedulers keep state between steps.
            return copy.deepcopy(self.pipe.scheduler)
        sampler = self.spec.samplers.get(recipe.sampler)
        if sampler is None:
            raise BadRecipe(f"{self.spec.title} can't be drawn with the sampler {recipe.sampler}.")
        return self.scheduler_of(sampler, recipe)

    def scheduler_of(self, sampler: Sampler, recipe: Recipe) -> Any:  # noqa: ARG002
        """Return a sampler's scheduler, configured as the model's own wherever the sampler does not say otherwise."""
        kind = getattr(diffusers, sampler.scheduler)
        known = inspect.signature(kind).parameters
        # diffusers warns of settings that a class does not have; names with an underscore are its own.
        model = self.pipe.scheduler
        own = {name: v for name, v in model.config.items() if name in known or name.startswith("_")}
        if model.config.get("rescale_betas_zero_snr") and "rescale_betas_zero_snr" not in known:
            own["trained_betas"] = _betas(model.alphas_cumprod)
        return kind.from_config(own, **sampler.config)

    @abstractmethod
    def schedule(self, scheduler: Any, recipe: Recipe) -> None:
        """Set the scheduler's timesteps on the CPU, for the recipe's number of steps and size."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Return the picture, (height, width, 3) from 0 to 1 in float32 on the device; not finite where the VAE overflowed."""

    @abstractmethod
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Return the latents of a picture: the mode of the VAE's distribution, in float32.

        Args:
            pixels: (1, 3, height, width) from -1 to 1.
        """

    @classmethod
    def denoiser_tensors(cls, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a denoiser file's tensors in the form that diffusers' ``from_single_file`` recognises."""
        return tensors

    def guide(self, towards: Tensor, away: Tensor, guidance: float) -> Tensor:
        """Return the guided prediction (classifier-free guidance, arXiv 2207.12598)."""
        return away + guidance * (towards - away)

    def start(
        self,
        recipe: Recipe,
        embed: EmbedPrompt,
        init_image: InitImage | None = None,
        references: Sequence[NDArray[np.uint8]] = (),
    ) -> DenoiseState:
        """See Family. Each prompt is encoded on its own, so that its embedding does not depend on the batch."""
        if references:
            raise BadRecipe(f"{self.spec.title} takes no reference pictures; ask a model that edits.")
        clip_skip = recipe.clip_skip or self.clip_skip
        encode, setting = partial(self.encode, clip_skip=clip_skip), f"clip skip {clip_skip}"
        prompt = embed(encode, recipe.prompt, setting)
        negative = None
        if self.guided(recipe.guidance):
            # NegativePromptSupport.WITH_GUIDANCE: a negative prompt counts with guidance above 1.
            negative = embed(encode, recipe.negative if recipe.guidance > 1 else "", setting)
        return self.begin(recipe, prompt, negative, init_image)

    @torch.no_grad()
    def begin(
        self, recipe: Recipe, prompt: Embedding, negative: Embedding | None, init_image: InitImage | None = None
    ) -> DenoiseState:
        """Return the state of a recipe before its first step."""
        scheduler = self.scheduler(recipe)
        self.schedule(scheduler, recipe)
        noise, generator = noise_of(recipe, self._shape(recipe))
        noise = noise.to(self.device)
        state = DenoiseState(
            recipe,
            prompt,
            negative,
            scheduler,
            scheduler.timesteps.cpu(),
            generator,
            noise,
            noise,
            init_image=init_image,
        )
        if init_image is None:
            state.latents = noise * float(getattr(scheduler, "init_noise_sigma", 1.0))
            self._enter(state, 0)
        else:
            self._start_from_image(state, init_image)
        return state

    @torch.no_grad()
    def add_control(self, state: DenoiseState, pixels: NDArray[np.uint8]) -> str:
        """See Family."""
        net = self.controls.get(state.recipe.control)
        if net is None:
            return super().add_control(state, pixels)
        plain = torch.from_numpy(pixels).to(self.device).permute(2, 0, 1)[None].float() / 255
        state.condition = self.control_condition(net, plain)
        state.control_weight = torch.tensor([state.recipe.control_weight], device=self.device)
        return net.name

    def padded_length(self, embedding: Embedding) -> int:  # noqa: ARG002
        """Return the tokens that a prompt takes in the denoiser; equal for all where other lengths need no mask."""
        return 0

    def lengths(self, states: Sequence[DenoiseState]) -> tuple[int, ...]:
        """See Family."""
        prompts = [e for s in states for e in (s.prompt, s.negative) if e is not None]
        found = Counter(self.padded_length(e) for e in prompts)
        return tuple(sorted(found.values())) if len(found) > 1 else ()

    @torch.no_grad()
    def step(self, states: Sequence[DenoiseState], *, apart: bool = False) -> None:
        """Take one step of each picture, and the steps after it that the step cache extrapolates.

        When the step raises, none of the pictures has changed.
        """
        inputs = [_scaled(s) for s in states]
        rows = [_Row(s, x, s.prompt) for s, x in zip(states, inputs, strict=True)]
        rows += [
            _Row(s, x, s.negative, away=True) for s, x in zip(states, inputs, strict=True) if s.negative is not None
        ]
        found: dict[tuple[int, bool], Tensor] = {}
        for call in self._calls(rows) if apart else [rows]:
            predictions = self._predict(call)
            found |= {(id(row.state), row.away): predictions[i : i + 1] for i, row in enumerate(call)}
        predicted = []
        for state in states:
            towards, away = found[id(state), False], found.get((id(state), True))
            predicted.append(towards if away is None else self.guide(towards, away, state.recipe.guidance))
        with self.copies:
            for state, prediction in zip(states, predicted, strict=True):
                self.step_cache.record(state, prediction)
                self._advance(state, prediction)
                while (extrapolated := self.step_cache.extrapolate(state)) is not None:
                    self._advance(state, extrapolated)
                    state.cached = self.step_cache.every

    def _calls(self, rows: Sequence[_Row]) -> Iterable[list[_Row]]:
        """Return the rows in groups of one padded length."""
        calls: dict[int, list[_Row]] = {}
        for row in rows:
            calls.setdefault(self.padded_length(row.embedding), []).append(row)
        return calls.values()

    def _predict(self, rows: Sequence[_Row]) -> Tensor:
        """Return the predictions of rows, those for negative prompts last."""
        states = [row.state for row in rows]
        recipes = [state.recipe for state in states]
        times = torch.stack([state.times[state.done] for state in states])
        given = ([row.latents for row in rows], times, [row.embedding for row in rows])
        conditions = [c for state in states if (c := state.condition) is not None]
        if not conditions:
            return self.forward(*given, recipes)
        module = self.controls[recipes[0].control].module
        weights = torch.cat([w for state in states if (w := state.control_weight) is not None])
        if module.config.get("global_pool_conditions"):
            weights[sum(not row.away for row in rows) :] = 0  # as diffusers' guess mode, which such a ControlNet needs
        return self.forward_controlled(*given, recipes, ControlInput(module, conditions, weights))

    @torch.no_grad()
    def preview(self, state: DenoiseState) -> NDArray[np.uint8]:
        """See Family. It is (height / 8, width / 8, 3)."""
        if self._rgb is None:
            self._rgb = previews.fit_rgb(self.encode_pixels, self.device)
        return previews.preview(state.latents if state.denoised is None else state.denoised, self._rgb)

    @torch.no_grad()
    def finish(self, state: DenoiseState) -> Tensor:
        """See Family. Pixels outside the mask are the source's."""
        return kept_outside_mask(self.decode(state.latents), state.init_image)

    def close(self) -> None:
        """See Family."""
        self.controls.clear()
        super().close()

    def _shape(self, recipe: Recipe) -> tuple[int, int, int, int]:
        scale = self.pipe.vae_scale_factor
        return 1, self._channels, recipe.height // scale, recipe.width // scale

    @property
    def _channels(self) -> int:
        return int(self.denoiser.config.in_channels)

    @staticmethod
    def skipped_steps(steps: int, strength: float) -> int:
        """Return how many first steps an initial image replaces, rounded as in the family's img2img pipeline.

        This is the form of flow-matching pipelines, which round down what is skipped.
        """
        return int(max(steps - min(steps * strength, steps), 0))

    def _start_from_image(self, state: DenoiseState, init_image: InitImage) -> None:
        """Skip the first steps and noise the initial image, as far as the recipe's strength says (as img2img does)."""
        recipe, scheduler = state.recipe, state.scheduler
        order = scheduler.order
        pixels = torch.from_numpy(init_image.pixels).to(self.device).permute(2, 0, 1)[None].float() / 127.5 - 1
        init_latents = self.encode_pixels(pixels)
        skipped = min(self.skipped_steps(recipe.steps, recipe.strength), recipe.steps - 1)
        state.skip(skipped * order)
        self._enter(state, skipped * order)
        state.latents = _noised(state, init_latents, 0)
        if init_image.mask is not None:
            state.init_latents = init_latents
            mask = torch.from_numpy(init_image.mask)[None, None]
            state.mask = torch.nn.functional.interpolate(mask, init_latents.shape[2:], mode="area").to(self.device)

    @staticmethod
    def _enter(state: DenoiseState, index: int) -> None:
        # Otherwise the scheduler would search for the step by comparing timesteps.
        if hasattr(state.scheduler, "set_begin_index"):
            state.scheduler.set_begin_index(index)

    @staticmethod
    def _advance(state: DenoiseState, prediction: Tensor) -> None:
        scheduler, time = state.scheduler, state.timesteps[state.done]
        more = {"generator": state.generator} if _takes_generator(type(scheduler).step) else {}
        if state.wants_preview:
            state.denoised = denoised_latents(state, prediction)
        latents = scheduler.step(prediction, time, state.latents, **more, return_dict=False)[0]
        state.done += 1
        if state.mask is not None and state.init_latents is not None:
            init_latents = state.init_latents if state.finished else _noised(state, state.init_latents, state.done)
            latents = init_latents * (1 - state.mask) + latents * state.mask
        state.latents = latents


@cache
def _takes_generator(step: Callable[..., Any]) -> bool:
    return "generator" in inspect.signature(step).parameters


def _scaled(state: DenoiseState) -> Tensor:
    scale = getattr(state.scheduler, "scale_model_input", None)
    if scale is None:
        return state.latents
    found: Tensor = scale(state.latents, state.timesteps[state.done])
    return found


def _noised(state: DenoiseState, latents: Tensor, step: int) -> Tensor:
    """Return clean latents with the picture's noise added for step ``step`` (0-based).

    The scheduler is asked for the shares of both, on the host, where it keeps its tables: it would copy them to the device.
    """
    scheduler, time = state.scheduler, state.timesteps[step : step + 1]
    one, zero = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    if hasattr(scheduler, "scale_noise"):
        signal, noise = scheduler.scale_noise(one, time, zero), scheduler.scale_noise(zero, time, one)
    else:
        signal, noise = scheduler.add_noise(one, zero, time), scheduler.add_noise(zero, one, time)
    return latents * float(signal) + state.noise * float(noise)


def denoised_latents(state: DenoiseState, prediction: Tensor) -> Tensor | None:
    """Return the finished latents that the prediction implies; None for a scheduler that says too little."""
    scheduler = state.scheduler
    kind = scheduler.config.get("prediction_type", "flow_prediction")  # flow matching has no other
    if (levels := _noise_levels(state, kind)) is None:
        return None
    signal, noise = levels
    # Euler's latents are scaled up so that the signal's share is 1; those of DPM-Solver or DDIM keep their variance.
    scale = signal if float(getattr(scheduler, "init_noise_sigma", 1.0)) > 1 else 1.0
    latents = state.latents * scale
    match kind:
        case "flow_prediction":
            return latents - noise * prediction
        case "epsilon":
            return (latents - noise * prediction) / signal
        case "v_prediction":
            return signal * latents - noise * prediction
        case _:
            return prediction if kind == "sample" else None


def _noise_levels(state: DenoiseState, kind: str) -> tuple[float, float] | None:
    """Return the shares of signal and noise in the latents before the next step, with a variance of 1."""
    scheduler = state.scheduler
    if hasattr(scheduler, "sigmas"):
        sigma = float(scheduler.sigmas[len(scheduler.timesteps) - state.steps + state.done])
        signal = 1 / math.sqrt(sigma**2 + 1)
        return (1 - sigma, sigma) if kind == "flow_prediction" else (signal, sigma * signal)
    if not hasattr(scheduler, "alphas_cumprod"):
        return None
    share = float(scheduler.alphas_cumprod[int(state.timesteps[state.done])])
    return math.sqrt(share), math.sqrt(1 - share)


def _betas(alphas_cumprod: Tensor) -> list[float]:
    """Return the betas of a noise schedule, for schedulers that can't rescale them to a zero terminal SNR themselves.

    The last share of signal is a tiny one, as Euler has it, since noise alone has no finite sigma.
    """
    shares = alphas_cumprod.double().clamp(min=2**-24)
    before = torch.cat([shares.new_ones(1), shares[:-1]])
    found: list[float] = (1 - shares / before).tolist()
    return found


def noise_of(recipe: Recipe, shape: tuple[int, ...]) -> tuple[Tensor, torch.Generator]:
    """Return the initial noise of a recipe, float32 on the CPU, and the generator in its state after that."""
    # Sampled on the CPU whatever the device, so that a seed gives nearly the same picture on every machine.
    generator = torch.Generator("cpu").manual_seed(recipe.seed)
    noise = torch.randn(shape, generator=generator)
    if recipe.variation > 0:
        other = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(recipe.variation_seed))
        noise = slerp(noise, other, recipe.variation)
    return noise, generator


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Return the spherical interpolation from a to b at ``share``, 0 to 1 (Shoemake 1985).

    Linear interpolation would give shorter vectors, which are no samples of the noise. A1111 varies seeds this way too.
    """
    cosine = torch.dot(a.flatten(), b.flatten()) / (a.norm() * b.norm())
    if abs(float(cosine)) > _PARALLEL:
        return a + share * (b - a)
    angle = torch.acos(cosine)
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)
