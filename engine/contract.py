"""The contract between the bot and an engine: profiles, recipes, events, the Engine protocol and its errors.

The bot imports nothing else of the engine. Standard library only.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

T = TypeVar("T", int, float)


class Lane(StrEnum):
    """How urgent a call of ``paint`` is; the engine draws interactive work first."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class NegativePromptSupport(StrEnum):
    """Whether a model follows a negative prompt: always, only with guidance above 1, or never."""

    ALWAYS = "always"
    WITH_GUIDANCE = "with_guidance"
    NEVER = "never"


class Capability(StrEnum):
    """What a model can do besides drawing from a prompt alone."""

    IMAGE = "image"
    """Start from a picture (img2img); upscaling needs it too."""
    MASK = "mask"
    """Draw a part of a picture again (inpainting)."""
    VARY = "vary"
    """Draw a slight variation of a picture, around its seed."""
    EDIT = "edit"
    """Draw what an instruction says of reference pictures."""


class LicenceTerm(StrEnum):
    """What a licence of weights forbids or demands that an operator should know before they draw for others."""

    NON_COMMERCIAL = "non_commercial"
    """No commercial use."""
    REVENUE_LIMIT = "revenue_limit"
    """Above a yearly revenue, another licence must be bought."""
    REGISTRATION = "registration"
    """Commercial use must be registered with the publisher."""
    FILTER = "filter"
    """Pictures must pass a content filter or be reviewed."""
    ACCEPTANCE = "acceptance"
    """The licence must be accepted on the model's page before its files can be fetched."""


@dataclass(frozen=True, slots=True)
class Range(Generic[T]):
    """An inclusive range and its default value."""

    default: T
    low: T
    high: T


MAX_CLIP_SKIP = 12
"""Layers of the smaller text encoder of SD 1.5 and SDXL."""


SECOND_ORDER = frozenset({"DPM2", "DPM2 Karras", "DPM2 a", "DPM2 a Karras", "Heun", "Heun Karras"})
"""Samplers that run the denoiser twice in each step but the last."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What one model can do, its defaults, and what it ignores.

    Attributes:
        name: What people type after ``--model``; lower case, no spaces.
        title: The model's full name, for cards and metadata.
        source: Hub id, or folder of a diffusers pipeline.
        family: Name of its family, a folder of ``engine.families``; ``comfyui`` for models of ComfyUI servers.
        multiple: Both sides must be multiples of this, in pixels.
        side: Allowed side lengths in pixels; the default is the native square's side.
        presets: Sizes by preset name (square, portrait, landscape, tall, wide) as (width, height) in pixels.
        steps: Denoising steps.
        guidance: Guidance scale; a range of a single value means that guidance is fixed.
        negative: Whether a negative prompt changes the picture.
        prompt_chars: Longest prompt, in characters.
        languages: BCP 47 primary tags of the languages that prompts may be in.
        licence: SPDX identifier of the weights' licence, or its name if SPDX has none.
        licence_terms: What an operator should know of that licence.
        enlarge: Whole factor by which surfaces enlarge its pictures for display (1: not at all).
        pipeline: The diffusers pipeline class that its folder names.
        scheduler: Class name of the diffusers scheduler; empty for the one in its folder.
        scheduler_config: Settings of that scheduler that differ from its own.
        negative_default: Negative prompt of requests that give none.
        prompt_tokens: Tokens of a prompt that its text encoder reads; the rest is cut off, with a note.
        parameters: Number of parameters of each part (``transformer``, ``text_encoder``, ``vae``, ...); empty: unknown.
        can: What it can do besides drawing from a prompt.
        references: Most reference pictures of one request; 0 where it can't edit.
        sampler: A1111's name of its own scheduler.
        needs_reference: Whether it draws nothing without a reference picture.
        samplers: Names that ``Recipe.sampler`` may have, as A1111 writes them; empty: its own scheduler alone.
        prompt_syntax: Whether its prompts may hold A1111's weights, such as ``(word:1.2)``, and ``BREAK``.
        clip_skip: Last layers of its CLIP text encoder that are left out, as A1111 counts them: 1 leaves out none; 0: it
            has no such setting.
        controls: Kinds of control pictures that ``Recipe.control`` may name, such as ``canny``.
        cost: Cost of a picture of its native size and default steps, relative to one of Z-Image-Turbo.
        who: Who may use it: ``everyone``, ``admins``, and ids of roles; one that applies suffices.
        expands: Whether ``Engine.expand`` writes longer prompts for it.
        vocabulary: Lower-case words and Chinese phrases that its prompts may have; empty: any.
        demo: Whether it is the bundled model, which shows how Easel works and knows few things.
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
    licence_terms: tuple[LicenceTerm, ...] = ()
    enlarge: int = 1
    pipeline: str = ""
    scheduler: str = ""
    scheduler_config: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    negative_default: str = ""
    prompt_tokens: int = 512
    parameters: Mapping[str, int] = field(default_factory=dict)
    can: frozenset[Capability] = frozenset({Capability.IMAGE, Capability.MASK, Capability.VARY})
    references: int = 0
    sampler: str = "Euler"
    needs_reference: bool = False
    samplers: tuple[str, ...] = ()
    prompt_syntax: bool = False
    clip_skip: int = 0
    controls: tuple[str, ...] = ()
    cost: float = 1.0
    who: tuple[str, ...] = ("everyone",)
    expands: bool = False
    vocabulary: frozenset[str] = frozenset()
    demo: bool = False


MADE_CONTROL = "canny"
"""The kind of control picture that the engine makes from any picture; those of other kinds are given ready-made."""


@dataclass(frozen=True, slots=True)
class LoraRequest:
    """A LoRA that one picture is drawn with.

    Attributes:
        name: Its name among the engine's LoRAs.
        weight: Factor for its weights, -2 to 2; 1 is full strength.
    """

    name: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class LoraInfo:
    """A LoRA that recipes may name, as people see it.

    Attributes:
        name: What people type: letters in lower case, digits, ``.``, ``_`` and ``-``.
        title: Its full name.
        triggers: Words that its author trained it with; a prompt with one of them shows it best.
        family: Name of its family, as ``Profile.family``; empty where its file does not tell. It can then be tried with
            every model, and one that it does not fit ends in UnknownLora.
        who: Who may use it: ``everyone``, ``admins``, and ids of roles; one that applies suffices.
        weight: Weight of a request that names none, -2 to 2.
    """

    name: str
    title: str
    triggers: tuple[str, ...] = ()
    family: str = ""
    who: tuple[str, ...] = ("everyone",)
    weight: float = 1.0


BEYOND_PROMPT = ("image", "mask", "variation", "references", "loras", "sampler", "clip_skip", "control")
"""Fields of a Recipe that are empty, or 0, where it is drawn from its prompt alone."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the pixels of one picture.

    Attributes:
        id: Unique among the recipes that are being drawn; events carry it.
        model: A profile's ``name``.
        prompt: What to draw.
        negative: What not to draw; may be empty.
        width: Pixels, a multiple of the profile's ``multiple``.
        height: Pixels, a multiple of the profile's ``multiple``.
        steps: Denoising steps.
        guidance: Guidance scale.
        seed: 0 to 2**63 - 1.
        image: Path of an initial image, which is scaled to ``width`` and ``height``; empty for none.
        mask: Path of a picture as large as ``image``, whose white part is drawn again; empty for all of it.
        strength: How far to move away from ``image``: above 0 (keeps it) to 1 (ignores it).
        variation: Share of the noise that comes from ``variation_seed`` instead of ``seed``, 0 to 1 (slerp).
        variation_seed: 0 to 2**63 - 1.
        references: Paths of the pictures that an instruction speaks of, in order; at most ``Profile.references``.
        loras: LoRAs, in the order in which they are added.
        sampler: One of ``Profile.samplers``; empty: the model's own scheduler.
        clip_skip: As ``Profile.clip_skip``, 1 to 12; 0: the profile's.
        control: One of ``Profile.controls``: ``image`` is then a control picture, and not where drawing starts. Empty: none.
        control_weight: How strongly the control picture counts, 0 to 2.
        request: Id of the request behind it, for log lines alone; empty if unknown.
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
    references: tuple[str, ...] = ()
    loras: tuple[LoraRequest, ...] = ()
    sampler: str = ""
    clip_skip: int = 0
    control: str = ""
    control_weight: float = 1.0
    request: str = field(default="", compare=False)

    @property
    def log_name(self) -> str:
        """What log lines call it: its id, with the request's behind an ``@``."""
        return f"{self.id}@{self.request}" if self.request else self.id

    @property
    def plain(self) -> bool:
        """Whether it is drawn from its prompt alone; see BEYOND_PROMPT."""
        return not any(getattr(self, name) for name in BEYOND_PROMPT)

    @property
    def seen_pixels(self) -> int:
        """Pixels that the denoiser sees in each step: those of the picture, and as many for each reference."""
        return self.width * self.height * (1 + len(self.references))


@dataclass(frozen=True, slots=True)
class Step:
    """Denoising step ``step`` of ``steps`` is done (1-based). Between the first and the last one, some may be left out."""

    recipe_id: str
    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class Preview:
    """A small, encoded preview of an unfinished picture."""

    recipe_id: str
    data: bytes
    mime: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """How a picture was drawn. The bot stores all of it with the picture.

    Attributes:
        width: Pixels.
        height: Pixels.
        seconds: Time that the device spent on it.
        precision: Number format that it was drawn in, such as ``bf16``; empty if unknown.
        revision: Commit of the model's files on their hub; empty if they have none.
        notes: Codes of what the person should know, such as ``prompt_cut``.
        device: Kind of the device, such as ``cpu`` or ``cuda NVIDIA GeForce RTX 3090``; empty if unknown.
        setup: Short digest of what else decides the pixels: the model's files by name, its LoRAs, its scheduler; the
            upscaler of the initial image, the step cache and weights in the prompt, if they were used; how weights are
            quantised, and by which version of what. Empty if unknown.
    """

    width: int
    height: int
    seconds: float
    precision: str = ""
    revision: str = ""
    notes: tuple[str, ...] = ()
    device: str = ""
    setup: str = ""


@dataclass(frozen=True, slots=True)
class Image(ImageInfo):
    """A finished picture: a lossless PNG without metadata, and how it was drawn.

    Attributes:
        recipe_id: Id of its recipe.
        data: The encoded file.
        mime: Media type of ``data``.
        loras: Name of each LoRA that took part, and the first 12 hexadecimal digits of the SHA-256 of its tensors.
        checkpoint: The first 10 hexadecimal digits of the SHA-256 of the model's single file; empty where it is a folder,
            or while it is computed.
        slot: Id of the slot that drew it, where that is another one than its call was for; else empty.
    """

    recipe_id: str
    data: bytes
    mime: str = "image/png"
    loras: tuple[tuple[str, str], ...] = ()
    checkpoint: str = ""
    slot: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """This recipe ends without a picture; others of its batch go on."""

    recipe_id: str
    error: EngineError


Event = Step | Preview | Image | Failed

PROMPT_CUT = "prompt_cut"
"""Note of an Image: the prompt was longer than its model reads, and its end was cut off."""

MASK_ZOOMED = "mask_zoomed"
"""Note of an Image: its mask is small, so that the part around it was drawn at the picture's size and put back."""

SAFER = "safer_precision"
"""Note of an Image: its numbers overflowed, and it was drawn again in a safer precision."""


class Phase(StrEnum):
    """The engine's state. IDLE is WARM with its memory given back: the next ``paint`` loads the model again."""

    STARTING = "starting"
    DOWNLOADING = "downloading"
    WARMING = "warming"
    WARM = "warm"
    IDLE = "idle"
    LOST = "lost"
    BROKEN = "broken"


READY = frozenset({Phase.WARM, Phase.IDLE})
"""Phases in which ``paint`` is accepted at once."""


@dataclass(frozen=True, slots=True)
class ModelPlacement:
    """What the memory plan decided for a model that was loaded; numbers are bytes.

    Attributes:
        model: Name of its profile.
        on: The kind of device that it is drawn on: ``cuda``, ``mps`` or ``cpu``.
        precision: Number format of its weights.
        weights: What its weights hold of that device between two pictures.
        host: What it keeps in main memory beside the device.
        peak: What it takes of the device at most for one picture, weights included.
        budget: What it may take of the device.
        together: Pictures of its native size that fit together.
        sentence: The plan in one English sentence.
        reasons: Why, in short English sentences.
    """

    model: str
    on: str
    precision: str
    weights: int
    host: int
    peak: int
    budget: int
    together: int
    sentence: str = ""
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineState:
    """What the engine is doing now.

    Attributes:
        phase: WARM: drawing starts at once. LOST: the engine is being restarted. BROKEN: it can't start until somebody
            changes something; ``problem`` says what.
        model: Name of the profile that is loaded or being loaded.
        device: Such as ``cpu`` or ``cuda:0 NVIDIA GeForce RTX 4070``; empty until known.
        precision: Such as ``fp32`` or ``bf16``; empty until known.
        bytes_done: While downloading: bytes that are here.
        bytes_total: While downloading: bytes in all; 0 if unknown.
        memory: Bytes of the device's memory in use (of the process, on a CPU); 0 if unknown.
        problem: One clear English sentence; empty if there is none.
        restarts: How often the device's process was restarted.
        plan: How the model was fitted to the device, in one English sentence; empty until known.
        revision: Commit of the model's files on their hub; empty if they have none.
        switch_seconds: How long the last change to another model took; 0 if there was none.
        busy_seconds: How long the device has worked, of ``warm_seconds``.
        warm_seconds: Seconds from when it was warm to its last picture.
        prompts_encoded: Prompts that went through a text encoder since then; the others were cached.
        resident: Names of the models that are on the device; requests for others mean a load.
        placements: The memory plans of the models that were loaded since the device's process started.
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
    resident: tuple[str, ...] = ()
    placements: tuple[ModelPlacement, ...] = ()

    @property
    def without_load(self) -> frozenset[str]:
        """Names of the models for which no other model has to be loaded, or that are being loaded already."""
        return frozenset(self.resident if self.phase is Phase.IDLE else (*self.resident, self.model))


@dataclass(frozen=True, slots=True)
class Slot:
    """One device of an engine, which draws by itself: what it is doing, and how much it may be given.

    Attributes:
        id: Unique within the engine; the same device keeps it for as long as the engine lives. Such as ``cuda:0``.
        state: What it is doing now.
        calls: How many calls of ``paint`` should be open on it at once; more than one keeps it busy between two of them.
        models: Names of the profiles that it can draw; empty: all of them.
        plain: Names of those of which it can draw plain recipes alone (``Recipe.plain``).
    """

    id: str
    state: EngineState
    calls: int = 1
    models: frozenset[str] = frozenset()
    plain: frozenset[str] = frozenset()

    @property
    def ready(self) -> bool:
        """Whether it draws at once what it is given."""
        return self.state.phase in READY

    def can_draw(self, model: str, *, plain: bool = True) -> bool:
        """Whether it may be given recipes of this model; ``plain``: as ``Recipe.plain``."""
        return (not self.models or model in self.models) and (plain or model not in self.plain)


class SafetyVerdict(StrEnum):
    """A classifier's verdict on a picture. UNKNOWN: it could not read or judge the picture."""

    SAFE = "safe"
    UNSAFE = "unsafe"
    UNKNOWN = "unknown"


class EngineError(Exception):
    """Why a recipe ended without a picture. ``code`` is stable; surfaces translate it."""

    code = "failed"


class EngineLost(EngineError):
    """The device's process died or hung. ``paint`` raises no other error."""

    code = "lost"


class OutOfMemory(EngineError):
    """The picture does not fit the device's memory."""

    code = "out_of_memory"


class UnknownModel(EngineError):
    """There is no such profile, or its files can't be loaded."""

    code = "unknown_model"


class BadRecipe(EngineError):
    """The pipeline refused the recipe, or raised while it drew it."""

    code = "bad_recipe"


class PromptOnly(BadRecipe):
    """The slot draws this model from a prompt alone, and the recipe needs more. Another slot may draw it."""

    code = "unsupported"


class UnknownLora(BadRecipe):
    """There is no such LoRA, its file can't be read, or it does not fit the model. The message says which and why."""

    code = "unknown_lora"


class BadImage(EngineError):
    """The initial image, its mask or a reference can't be read, or is far too large."""

    code = "bad_image"


class Overflow(EngineError):
    """The numbers of this picture overflowed, also in a safer precision."""

    code = "overflow"


class CannotWrite(EngineError):
    """There is no model that writes this text, or it wrote nothing of use. The message says what to do."""

    code = "cannot_write"


ERRORS: Mapping[str, type[EngineError]] = {
    e.code: e
    for e in (
        EngineError,
        EngineLost,
        OutOfMemory,
        UnknownModel,
        BadRecipe,
        PromptOnly,
        UnknownLora,
        BadImage,
        Overflow,
        CannotWrite,
    )
}


@dataclass(frozen=True, slots=True)
class TextTask:
    """A text to write: a longer prompt, or what a picture shows.

    Attributes:
        model: A profile's ``name``: the prompt is for it. Empty for a description.
        prompt: The prompt as somebody wrote it.
        seed: Decides the choice of words, 0 to 2**63 - 1.
        image: Path of the picture to describe; empty for a longer prompt.
    """

    model: str = ""
    prompt: str = ""
    seed: int = 0
    image: str = ""


class Engine(Protocol):
    """Draws recipes. Every implementation passes the same tests (``tests/contract``)."""

    async def start(self) -> None:
        """Begin to load and warm; returns at once. ``state`` shows the progress."""

    async def aclose(self) -> None:
        """Drop all work and free the device within 5 s."""

    async def warm(self) -> None:
        """Return when a slot is ready. Raises EngineError with a clear sentence if all of them are BROKEN."""

    def profiles(self) -> tuple[Profile, ...]:
        """Profiles that recipes may name; the first is the default."""

    def loras(self) -> tuple[LoraInfo, ...]:
        """LoRAs that recipes may name, by name; those whose files are broken are not among them."""

    def edit_model(self) -> str:
        """Name of the profile that serves edits when the default one can't; empty for none."""

    def slots(self) -> tuple[Slot, ...]:
        """Its devices, at least one, always in the same order; further ones come behind them. Cheap."""

    async def slots_changed(self) -> None:
        """Return after the next change of a slot's phase or models on the device; those since the last call count.

        One task at a time may wait.
        """

    def batch(self, recipe: Recipe, slot: str = "") -> int:
        """How many recipes of this model and size should be drawn in one call on a slot; at least 1.

        Args:
            recipe: Its model and size count.
            slot: Id of the slot; empty: any.
        """

    def state(self) -> EngineState:
        """What the engine is doing now, all slots together; cheap.

        It is in the best phase that one of its slots is in.
        """

    def paint(self, recipes: Sequence[Recipe], lane: Lane = Lane.INTERACTIVE, slot: str = "") -> AsyncGenerator[Event]:
        """Draw recipes on one slot; those of one model and size share their steps. One that does not fit the memory of its
        slot may be drawn on another.

        Every recipe ends in exactly one Image or Failed, or in nothing if it was dropped. Leaving the loop drops the
        rest. Several calls may be open at once: each slot orders its own by lane, draws short ones before long ones,
        and joins those that can share a step.

        Args:
            recipes: What to draw.
            lane: How urgent it is.
            slot: Id of the slot; empty: the engine chooses.

        Raises:
            EngineLost: The slot's process died or hung, or there is no such slot; recipes that have not ended may be
                drawn again. Other slots go on.
        """

    async def drop(self, recipe_id: str) -> None:
        """Take a recipe out within one step; its call yields no more events of it. Unknown ids are ignored."""

    async def set_preview(self, recipe_id: str, *, enabled: bool) -> None:
        """Turn previews of a recipe on or off; they are off at first. Unknown ids are ignored."""

    async def expand(self, model: str, prompt: str, *, seed: int = 0) -> str:
        """Return a longer prompt for a model, in the language of the prompt: one line of at most 1000 characters.

        It is written between the steps of pictures. Cancelling the call ends it. The same seed gives the same text on
        the same device.

        Args:
            model: Name of a profile with ``expands``.
            prompt: The prompt.
            seed: 0 to 2**63 - 1.

        Raises:
            CannotWrite: The profile has no ``expands``, or the text encoder can't write where it is placed.
            EngineLost: The device's process died or hung; the call may be repeated.
            EngineError: The model can't be loaded, or memory is short.
        """

    def can_describe(self) -> bool:
        """Whether ``describe`` has a model."""

    async def describe(self, image: str) -> str:
        """Return what the picture at a path shows, as one line; cancelled as ``expand``.

        Raises:
            CannotWrite: There is no model for it.
            BadImage: The picture can't be read.
            EngineError: As ``expand``.
        """


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Configuration of an engine; the composition root builds it from the settings.

    Attributes:
        model: ``demo``, a hub id, a folder, or the name of a model in ``models_file``.
        models_dir: Folder of downloaded models.
        device: ``auto``, ``cuda``, ``cuda:N``, ``mps`` or ``cpu``.
        precision: ``auto``, ``bf16``, ``fp16``, ``fp8``, ``int8``, ``nf4`` or ``fp32``.
        models_file: Path of ``models.toml`` with the operator's own models and LoRAs; it may not exist.
        idle_unload: Minutes without work after which the device's memory is given back; 0: never.
        compile: Backend of ``torch.compile``; empty: not compiled.
        upscaler: Path of the model that enlarges initial images; empty: they are only scaled.
        step_cache: In the middle of many steps, one step out of this number is computed, 1 to 3.
        lora_dir: Folder of LoRAs that recipes may name; empty: there is none beside those of ``models_file``.
        edit_model: The model for edits, named as ``model``, which people can choose too; empty: none.
        text_model: Folder or hub id of a language model that writes longer prompts; empty: a model's own text encoder.
        caption_model: Folder or hub id of a model that describes pictures; empty: none.
        log_level: Lowest level of the lines that the device's process logs: ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``.
        environment: Additional environment variables of the device's process (``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HOME``).
        slot: Id of the slot that the device is, which log lines and the device's title name; empty: ``device``.
        devices: How many devices the service draws with. Of several, each loads a model in its turn, and refuses one that
            does not fit its card, where a single one would draw it on the CPU.
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
    lora_dir: str = ""
    edit_model: str = ""
    text_model: str = ""
    caption_model: str = ""
    log_level: str = "WARNING"
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    slot: str = ""
    devices: int = 1
