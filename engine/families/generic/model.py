"""Draws with any pipeline: each picture is the pipeline's own call, on a thread and a copy of the pipeline of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar
from weakref import WeakSet

import diffusers
import numpy as np
import torch
from diffusers import DiffusionPipeline, SchedulerMixin
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from engine.contract import BadRecipe, Capability, Recipe
from engine.families.denoise_state import InitImage, kept_outside_mask
from engine.families.family import EmbedPrompt, Family
from engine.families.generic import arguments
from engine.families.generic.arguments import IMAGE, MASK, call_arguments, guidance_argument
from engine.families.generic.calls import PausedCall, keep_encoded
from engine.families.generic.models import PIPELINES
from engine.families.generic.signature import Signature, sibling, signature_of
from engine.families.generic.spec import SPEC
from engine.families.previews import LatentPreviews
from engine.families.spec import DENOISERS
from engine.weights import CHECKPOINT

Picture = NDArray[np.float32]


@dataclass(slots=True, eq=False, weakref_slot=True)
class CallState:
    """One picture between its first step and its last. Implements ``engine.families.denoise_state.PictureState``.

    Attributes:
        recipe: The recipe.
        init_image: The initial image.
        passes: Predictions of a step.
        prompt_cut: The prompt is longer than the pipeline reads.
        wants_preview: Previews are wanted.
        steps: Steps in all; the pipeline tells them with its first step, and until then they are the recipe's.
        done: Steps that are done.
        latents: The latents of the last step; None before it.
        call: The pipeline's call.
    """

    recipe: Recipe
    init_image: InitImage | None
    passes: int
    prompt_cut: bool
    steps: int
    wants_preview: bool = False
    done: int = 0
    latents: Tensor | None = None
    call: PausedCall[Picture] | None = None

    cached: ClassVar[int] = 0

    @property
    def finished(self) -> bool:
        """See PictureState."""
        return self.call is not None and (self.call.returned or self.done >= self.steps)

    @property
    def lost(self) -> bool:
        """See PictureState."""
        return self.call is None or self.call.failed

    def finite(self) -> bool:
        """See PictureState."""
        return self.latents is None or bool(torch.isfinite(self.latents).all())

    def close(self) -> None:
        """See PictureState. Ends the call where it is paused, and its thread."""
        if self.call is not None:
            self.call.close()
        self.call = self.latents = None


class Generic(Family[CallState]):
    """A loaded pipeline of any class.

    Attributes:
        can: What it can do besides drawing from a prompt.
    """

    spec = SPEC
    max_batch = 1
    decodes_aside = False  # each call has a thread of its own, with the first stream, and ends when it fails

    def __init__(self, pipe: Any, device: torch.device) -> None:
        super().__init__(pipe, device)
        signature = signature_of(type(pipe).__name__)
        assert signature is not None  # its folder was checked
        self._signature = signature
        self._known = PIPELINES.get(signature.name) or arguments.unknown(signature)
        self.can = arguments.capabilities(signature, self._known, frozenset(pipe.components))
        if self._known.vae_dtype:
            torch.nn.Module.to(pipe.vae, dtype=getattr(torch, self._known.vae_dtype))
        embedded = bool(self.denoiser.config.get("guidance_embeds"))
        self._guidance = guidance_argument(signature, self._known, embedded=embedded)
        self._siblings: dict[str, Any] = {}
        # Only to end them: a picture that was dropped takes its initial image with it.
        self._states: WeakSet[CallState] = WeakSet()
        self._previews = LatentPreviews(pipe, device)

    @property
    def references(self) -> int:
        """Most reference pictures that it takes."""
        return self._known.references

    @property
    def denoiser(self) -> Any:
        """See Family."""
        return next(
            getattr(self.pipe, name) for name in sorted(DENOISERS) if getattr(self.pipe, name, None) is not None
        )

    @classmethod
    def denoiser_tensors(cls, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a denoiser file's tensors in the form that diffusers' ``from_single_file`` recognises.

        It knows the original names of transformers without the prefix of a whole checkpoint, those of UNets with it.
        """
        own = {
            name.removeprefix(CHECKPOINT): t for name, t in tensors.items() if name.startswith(CHECKPOINT)
        } or tensors
        return {CHECKPOINT + name: t for name, t in own.items()} if "input_blocks.0.0.weight" in own else own

    @property
    def lora_parts(self) -> Mapping[str, Any]:
        """See Family. Of the text encoders, LoRAs are published for CLIP alone."""
        components = {name: part for name, part in self.pipe.components.items() if isinstance(part, torch.nn.Module)}
        denoisers = {name: components[name] for name in sorted(DENOISERS & components.keys())}
        clips = {name: part for name, part in components.items() if type(part).__name__.startswith("CLIPText")}
        return denoisers | clips

    @property
    def lora_converter(self) -> Callable[[dict[str, Any]], Mapping[str, Any]] | None:
        """See Family. diffusers knows the names of other libraries for most of its pipelines."""
        return getattr(type(self.pipe), "lora_state_dict", None)

    def start(
        self,
        recipe: Recipe,
        embed: EmbedPrompt,
        init_image: InitImage | None = None,
        references: Sequence[NDArray[np.uint8]] = (),
    ) -> CallState:
        """See Family. Nothing is computed yet: the first step encodes the prompt as well, or finds it in the cache."""
        self._check(recipe, init_image, references)
        pipe, signature, pictures = self._pipeline_for(init_image, references)
        guidance = self._guidance if signature.takes(self._guidance) else ""
        given = call_arguments(signature, self._known, guidance, recipe) | pictures
        given["generator"] = torch.Generator("cpu").manual_seed(recipe.seed)
        guided = recipe.guidance > 1 and guidance != "" and "negative_prompt" in signature.arguments
        state = CallState(
            recipe, init_image, 2 if guided else 1, self._cut(recipe.prompt), self._expected_steps(signature, recipe)
        )
        own = _own_copy(pipe)
        keep_encoded(own, embed, recipe.prompt, f"guidance {recipe.guidance}")
        state.call = PausedCall(lambda pause: self._call(own, signature, given, state, pause), f"picture {recipe.id}")
        self._states.add(state)
        return state

    def step(self, states: Sequence[CallState], *, apart: bool = False) -> None:  # noqa: ARG002
        """See Family. The pipelines' calls go on one after another, each to the end of its step."""
        for state in states:
            assert state.call is not None
            state.call.resume()

    def preview(self, state: CallState) -> NDArray[np.uint8] | None:
        """See Family."""
        if state.latents is None:
            return None
        return self._previews.picture(state.latents, state.recipe.width, state.recipe.height)

    def finish(self, state: CallState) -> Tensor:
        """See Family. The call goes on to its end: the VAE decodes. Pixels outside the mask are the source's."""
        assert state.call is not None
        pixels = torch.from_numpy(state.call.finish())
        return kept_outside_mask(pixels, state.init_image)

    def close(self) -> None:
        """See Family. Ends all calls and their threads."""
        for state in list(self._states):
            state.close()
        self._states.clear()
        self._siblings.clear()
        self._previews = LatentPreviews(None, self.device)
        super().close()

    def _check(self, recipe: Recipe, init_image: InitImage | None, references: Sequence[NDArray[np.uint8]]) -> None:
        """Raise BadRecipe where the pipeline can't do what the recipe asks for."""
        name, most = self._signature.name, self._known.references
        if references and not most:
            raise BadRecipe(f"A {name} takes no reference pictures; ask a model that edits.")
        if len(references) > most:
            raise BadRecipe(f"A {name} takes at most {most} reference pictures, and there are {len(references)}.")
        if self._known.needs_reference and init_image is None and not references:
            raise BadRecipe(f"A {name} edits pictures: give it at least one reference picture.")
        for asked, what in (
            (recipe.sampler, f"the sampler {recipe.sampler}"),
            (recipe.clip_skip, "clip skip"),
            (recipe.control, "control pictures"),
        ):
            if asked:
                raise BadRecipe(f"A {name} can't be drawn with {what}; leave that out.")
        if recipe.variation > 0:
            raise BadRecipe(f"A {name} can't draw slight variations, since it makes its own noise.")

    def _pipeline_for(
        self, init_image: InitImage | None, references: Sequence[NDArray[np.uint8]]
    ) -> tuple[Any, Signature, dict[str, object]]:
        """Return the pipeline that draws a picture, its signature, and the pictures that it gets."""
        # With a mask, an edit is drawn as a whole, and is put into the picture where the mask says so.
        if init_image is None or (references and init_image.mask is not None):
            pictures = [Pillow.fromarray(pixels) for pixels in references]
            if not pictures:
                return self.pipe, self._signature, {}
            return self.pipe, self._signature, {"image": pictures[0] if self._known.references == 1 else pictures}
        kind, needed, what = (
            (IMAGE, Capability.IMAGE, "start from a picture")
            if init_image.mask is None
            else (MASK, Capability.MASK, "draw a part of a picture anew")
        )
        signature = sibling(self._signature.name, kind, frozenset(self.pipe.components))
        if needed not in self.can or signature is None:
            raise BadRecipe(f"A {self._signature.name} can't {what}.")
        if references:
            raise BadRecipe(f"A {self._signature.name} takes either a picture to start from or references, not both.")
        given: dict[str, object] = {"image": Pillow.fromarray(init_image.pixels)}
        if init_image.mask is not None:
            given["mask_image"] = Pillow.fromarray((init_image.mask * 255).round().astype(np.uint8))
        return self._sibling(kind, signature), signature, given

    def _sibling(self, kind: str, signature: Signature) -> Any:
        """Return the pipeline of another class with the same parts."""
        if kind not in self._siblings:
            made = getattr(diffusers, signature.name)
            parts, settings = made._get_signature_keys(made)  # noqa: SLF001  # from_pipe would cast the parts
            given = {name: self.pipe.components[name] for name in parts if name in self.pipe.components}
            given |= {name: self.pipe.config[name] for name in settings if name in self.pipe.config}
            self._siblings[kind] = made(**given)
            self._siblings[kind].set_progress_bar_config(disable=True)
        return self._siblings[kind]

    def _call(
        self,
        pipe: Any,
        signature: Signature,
        given: Mapping[str, object],
        state: CallState,
        pause: Callable[[], None],
    ) -> Picture:
        """Call a pipeline, on the thread of its picture; pauses after each step."""

        def at_step_end(latents: object) -> None:
            state.done += 1
            state.latents = latents if isinstance(latents, Tensor) else None
            state.steps = max(state.done, _steps_of(pipe) or state.steps)
            pause()

        more: dict[str, object] = {}
        if signature.calls_back:

            def on_step_end(_pipe: Any, _step: int, _time: Any, tensors: dict[str, object]) -> dict[str, object]:
                at_step_end(tensors.get("latents"))
                return tensors

            more["callback_on_step_end"] = on_step_end
        else:
            _pause_in_scheduler(pipe.scheduler, at_step_end)
        # A new thread begins with the first device of its kind.
        current = torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()
        with current, torch.no_grad():
            pictures: Any = pipe(**given, **more).images
        found: Picture = np.asarray(pictures[0], np.float32)
        return found

    def _cut(self, prompt: str) -> bool:
        """Whether a prompt is longer than the pipeline reads, not counting what its template adds."""
        most = self._known.prompt_tokens or self._signature.arguments.get("max_sequence_length")
        names = ("tokenizer_3", "tokenizer_2", "tokenizer")
        tokenizer = next((t for name in names if callable(t := getattr(self.pipe, name, None))), None)
        if tokenizer is None:
            return False
        if not isinstance(most, int):
            most = tokenizer.model_max_length
        return len(tokenizer(prompt, verbose=False).input_ids) > most

    @staticmethod
    def _expected_steps(signature: Signature, recipe: Recipe) -> int:
        """Return the steps that the pipeline will probably take, until it tells them."""
        if recipe.image and signature.takes("strength"):
            return max(1, min(recipe.steps, int(recipe.steps * recipe.strength)))
        return recipe.steps


def _own_copy(pipe: Any) -> Any:
    """Return a pipeline that shares its parts with another one and has schedulers and settings of its own."""
    schedulers = {
        id(part): copy.deepcopy(part) for part in pipe.components.values() if isinstance(part, SchedulerMixin)
    }

    def copied(one: Any) -> Any:
        made = copy.copy(one)
        for name, value in vars(one).items():
            if id(value) in schedulers:
                vars(made)[name] = schedulers[id(value)]
            elif isinstance(value, DiffusionPipeline):
                vars(made)[name] = copied(value)
        # It would move parts that other pictures are using.
        made.maybe_free_model_hooks = lambda: None
        return made

    return copied(pipe)


def _steps_of(pipe: Any) -> int:
    """Return the steps of a call that has begun; 0 where the pipeline does not tell them."""
    steps = getattr(pipe, "_num_timesteps", None)
    if isinstance(steps, int):
        return steps
    times = getattr(getattr(pipe, "scheduler", None), "timesteps", None)
    return len(times) if times is not None else 0


def _pause_in_scheduler(scheduler: Any, at_step_end: Callable[[object], None]) -> None:
    """Let the scheduler of one picture call a function after each of its steps."""
    step = scheduler.step

    @wraps(step)  # pipelines look at its arguments
    def paused(*args: Any, **kwargs: Any) -> Any:
        found = step(*args, **kwargs)
        at_step_end(found[0])
        return found

    scheduler.step = paused
