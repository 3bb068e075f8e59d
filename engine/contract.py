"""The contract between the bot and whatever draws: profiles, recipes, events, the Engine protocol and its errors.

Standard library only: it is all of the engine that the bot imports.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

T = TypeVar("T", int, float)


class Lane(StrEnum):
    """How urgent a paint is; the engine serves interactive work first."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class NegativePromptSupport(StrEnum):
    """Whether a model follows an input: always, only with guidance above 1, or never."""

    ALWAYS = "always"
    WITH_GUIDANCE = "with_guidance"
    NEVER = "never"


class Capability(StrEnum):
    """What a model can do beside drawing from words alone."""

    IMAGE = "image"
    """Start from a picture (img2img), which upscaling does too."""
    MASK = "mask"
    """Draw a part of a picture anew (inpainting)."""
    VARY = "vary"
    """Draw a small change of a picture, around its seed."""


@dataclass(frozen=True, slots=True)
class Range(Generic[T]):
    """An inclusive range with the value taken when nothing is asked."""

    default: T
    low: T
    high: T


@dataclass(frozen=True, slots=True)
class Profile:
    """What one model can do, what it does by default, and what it ignores.

    Attributes:
        name: What people type after ``--model``; lower case, no spaces.
        title: The model's proper name, for cards and metadata.
        source: Hub id, or folder of a diffusers pipeline.
        family: Which module of ``engine.families`` loads it.
        multiple: Both sides must be multiples of this, in pixels.
        side: Allowed side lengths in pixels; the default is the native square's side.
        presets: Sizes by preset name (square, portrait, landscape, tall, wide) as (width, height) in pixels.
        steps: Denoising steps.
        guidance: Guidance scale; a range of a single value means that guidance is fixed.
        negative: Whether a negative prompt changes the picture.
        prompt_chars: Longest prompt that is taken, in characters.
        languages: BCP 47 primary tags of the languages that prompts may be in.
        licence: SPDX identifier of the weights, or a name where SPDX has none.
        enlarge: Whole factor by which surfaces show its pictures enlarged (1: as they are).
        pipeline: The diffusers class that its folder names.
        scheduler: The diffusers scheduler that it is drawn with; empty for the one in its folder.
        scheduler_config: What is set differently in that scheduler.
        negative_default: What it is kept away from where nobody says anything; empty for nothing.
        prompt_tokens: Tokens of a prompt that its text encoder takes; what comes after them is cut off, and said.
        parameters: How many parameters each part has (``transformer``, ``text_encoder``, ``vae``, ...); empty: unknown.
        can: What it can do beside drawing from words.
        cost: What a picture of its native size and default steps costs, beside one of Z-Image-Turbo.
    """

    name: str
    title: str
    source: str
    family: str
    multiple: int
    side: Range[int]
    presets: Mapping[str, tuple[int, int]]
    steps: Range[int]
    guidance: Range[float]
    negative: NegativePromptSupport
    prompt_chars: int = 2000
    languages: tuple[str, ...] = ("en",)
    licence: str = ""
    enlarge: int = 1
    pipeline: str = "ZImagePipeline"
    scheduler: str = ""
    scheduler_config: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    negative_default: str = ""
    prompt_tokens: int = 512
    parameters: Mapping[str, int] = field(default_factory=dict)
    can: frozenset[Capability] = frozenset(Capability)
    cost: float = 1.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the pixels of one picture.

    Attributes:
        id: Unique among the recipes that are being painted; every event names it.
        model: A profile's ``name``.
        prompt: What to draw.
        negative: What not to draw; empty for nothing.
        width: Pixels, on the profile's grid.
        height: Pixels, on the profile's grid.
        steps: Denoising steps.
        guidance: Guidance scale.
        seed: 0 to 2**63 - 1.
        image: Path of the picture to start from, which is scaled to ``width`` and ``height``; empty for none.
        mask: Path of a picture as large as ``image``: what is white there is drawn anew; empty for everything.
        strength: How far to move away from ``image``: above 0, which keeps it, to 1, which forgets it.
        variation: How much of the noise is ``variation_seed``'s and no longer ``seed``'s, 0 to 1 (slerp).
        variation_seed: 0 to 2**63 - 1.
    """

    id: str
    model: str
    prompt: str
    negative: str
    width: int
    height: int
    steps: int
    guidance: float
    seed: int
    image: str = ""
    mask: str = ""
    strength: float = 1.0
    variation: float = 0.0
    variation_seed: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """Denoising step ``step`` of ``steps`` is done (1-based)."""

    recipe_id: str
    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class Preview:
    """A rough picture of how far it has come; encoded, small."""

    recipe_id: str
    data: bytes
    mime: str


@dataclass(frozen=True, slots=True)
class Image:
    """A finished picture: a lossless PNG without metadata, and how it was made.

    Attributes:
        recipe_id: Whose it is.
        data: The file.
        width: Pixels.
        height: Pixels.
        seconds: How long the device took for it.
        mime: Media type of ``data``.
        precision: Number format that it was drawn in, such as ``bf16``.
        revision: Commit of the model's files on their hub; empty for files that have none.
        notes: What the person should know of it; codes, such as ``prompt_cut``.
        device: The kind of device that drew it, such as ``cpu`` or ``cuda NVIDIA GeForce RTX 3090``.
        setup: Short digest of what else decides pixels: the model's files by name, its LoRAs, its scheduler; the
            upscaler, where one enlarged what it starts from; which steps were guessed, where any were.
    """

    recipe_id: str
    data: bytes
    width: int
    height: int
    seconds: float
    mime: str = "image/png"
    precision: str = ""
    revision: str = ""
    notes: tuple[str, ...] = ()
    device: str = ""
    setup: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """This recipe ends without a picture; its batch-mates go on."""

    recipe_id: str
    error: EngineError


Event = Step | Preview | Image | Failed

PROMPT_CUT = "prompt_cut"
"""Note of an Image: the prompt was longer than its model reads, and its end was left out."""

SAFER = "safer_precision"
"""Note of an Image: its numbers overflowed, and it was drawn again in a safer precision."""


class Phase(StrEnum):
    """Where the engine is in its life. IDLE is WARM with its memory given back: a paint loads the model again first."""

    STARTING = "starting"
    DOWNLOADING = "downloading"
    WARMING = "warming"
    WARM = "warm"
    IDLE = "idle"
    LOST = "lost"
    BROKEN = "broken"


READY = frozenset({Phase.WARM, Phase.IDLE})
"""Phases in which a paint is taken up at once."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """What the engine is doing now.

    Attributes:
        phase: WARM means that a paint starts at once. LOST means that it is being started again. BROKEN means that it
            can't start until somebody changes something; ``problem`` says what.
        model: Name of the profile that is loaded or being loaded.
        device: Such as ``cpu`` or ``cuda:0 NVIDIA GeForce RTX 4070``; empty until known.
        precision: Such as ``fp32`` or ``bf16``; empty until known.
        bytes_done: While downloading: bytes that have come.
        bytes_total: While downloading: bytes in all; 0 when unknown.
        memory: Bytes of the device's memory in use (of the process, on a CPU); 0 when unknown.
        problem: One clear English sentence; empty when there is none.
        restarts: How many times the device's process was started again.
        plan: How the model was fitted to the device, in one English sentence; empty until known.
        revision: Commit of the model's files on their hub; empty when they have none.
        switch_seconds: How long changing to another model took last; 0 when it never happened.
        busy_seconds: How long the device has been at work, of ``warm_seconds``.
        warm_seconds: Seconds from when it was warm to its last picture.
        prompts_encoded: How many prompts went through a text encoder since then; the others were remembered.
    """

    phase: Phase
    model: str = ""
    device: str = ""
    precision: str = ""
    bytes_done: int = 0
    bytes_total: int = 0
    memory: int = 0
    problem: str = ""
    restarts: int = 0
    plan: str = ""
    revision: str = ""
    switch_seconds: float = 0.0
    busy_seconds: float = 0.0
    warm_seconds: float = 0.0
    prompts_encoded: int = 0


class SafetyVerdict(StrEnum):
    """What a classifier says of a picture. UNKNOWN: it could not look, or not judge."""

    SAFE = "safe"
    UNSAFE = "unsafe"
    UNKNOWN = "unknown"


class EngineError(Exception):
    """Why a recipe ended without a picture. ``code`` is stable, so that surfaces can translate it."""

    code = "failed"


class EngineLost(EngineError):
    """The device's process died or hung; the only error that ``paint`` raises."""

    code = "lost"


class OutOfMemory(EngineError):
    """The picture does not fit the device's memory."""

    code = "out_of_memory"


class UnknownModel(EngineError):
    """No profile has that name, or its files can't be loaded."""

    code = "unknown_model"


class BadRecipe(EngineError):
    """The pipeline refused the recipe or raised while it was drawing it."""

    code = "bad_recipe"


class BadImage(EngineError):
    """The picture to start from, or its mask, can't be read or is far too large."""

    code = "bad_image"


class Overflow(EngineError):
    """The numbers of this picture overflowed, in a safer precision too."""

    code = "overflow"


ERRORS: Mapping[str, type[EngineError]] = {
    e.code: e for e in (EngineError, EngineLost, OutOfMemory, UnknownModel, BadRecipe, BadImage, Overflow)
}


class Engine(Protocol):
    """Draws recipes. Fake, child process and a cluster obey the same contract (``tests/contract``)."""

    async def start(self) -> None:
        """Begin to load and warm; returns at once. ``state`` tells how it goes."""

    async def aclose(self) -> None:
        """Drop all work and free the device; within 5 s."""

    async def warm(self) -> None:
        """Return once the phase is WARM. Raises EngineError with a clear sentence when it becomes BROKEN."""

    def profiles(self) -> tuple[Profile, ...]:
        """What can be asked for; the first is the default."""

    def slots(self) -> int:
        """How many paints are worth having open at once: more than one keeps the device busy between two of them."""

    def batch(self, recipe: Recipe) -> int:
        """How many recipes of this model and size are worth painting together; at least 1."""

    def state(self) -> EngineState:
        """What it is doing now; cheap."""

    def paint(self, recipes: Sequence[Recipe], lane: Lane = Lane.INTERACTIVE) -> AsyncGenerator[Event]:
        """Draw recipes, together where they are of one model and size.

        Every recipe ends in exactly one Image or Failed, or in nothing when it was dropped. Leaving the loop drops
        what is left. Several paints may be open at once: the engine orders them by lane, lets short ones go before
        long ones, and joins what can share a step.

        Raises:
            EngineLost: The device's process died or hung; what has not ended may be painted again.
        """

    async def drop(self, recipe_id: str) -> None:
        """Take a recipe out within one step; its paint says nothing more about it. Unknown ids are ignored."""

    async def set_preview(self, recipe_id: str, *, enabled: bool) -> None:
        """Somebody looks (or no longer does) at how this recipe comes along: only then are previews made of it."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What an engine is started with; built by the composition root from the settings.

    Attributes:
        model: ``demo``, a hub id, a folder, or the name of a model in ``models_file``.
        models_dir: Where downloaded models are kept.
        device: ``auto``, ``cuda``, ``cuda:N``, ``mps`` or ``cpu``.
        precision: ``auto``, ``bf16``, ``fp16``, ``fp8``, ``int8``, ``nf4`` or ``fp32``.
        models_file: ``models.toml`` with the operator's own models; it need not be there.
        idle_unload: Minutes without work after which the device's memory is given back; 0: never.
        compile: Backend of ``torch.compile``; empty: not compiled.
        upscaler: Path of the model that enlarges pictures to start from; empty: they are only scaled.
        step_cache: One step in so many is computed in the middle of a long drawing, 1 to 3.
        environment: More environment variables for the device's process (``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HOME``).
    """

    model: str
    models_dir: str
    device: str = "auto"
    precision: str = "auto"
    models_file: str = ""
    idle_unload: float = 0.0
    compile: str = ""
    upscaler: str = ""
    step_cache: int = 1
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
