"""The messages between the service and the device's process, in the frames of ``engine.host.frames``.

Requests are named by tickets, numbers that are never used twice, so that a late message about a dropped request can't
be mistaken for one about its successor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from engine.contract import EngineConfig, Image, Lane, ModelPlacement, Preview, Recipe, TextTask
from engine.host.frames import Codec
from engine.spec import LoraSpec, ModelSpec


@dataclass(frozen=True, slots=True)
class Setup:
    """The first message to the child: the models and the device.

    Attributes:
        models: Models that requests may name; the first is loaded at once.
        config: The engine's configuration, without its environment, which the child has.
        loras: LoRAs that requests may name.
    """

    models: tuple[ModelSpec, ...]
    config: EngineConfig
    loras: tuple[LoraSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Draw:
    """To the child: draw these.

    Attributes:
        lane: How urgent they are.
        tickets: One for each recipe, in order.
        recipes: What to draw.
    """

    lane: Lane
    tickets: tuple[int, ...]
    recipes: tuple[Recipe, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """To the child: write this text.

    Attributes:
        ticket: Which request.
        task: What to write.
    """

    ticket: int
    task: TextTask


@dataclass(frozen=True, slots=True)
class Drop:
    """To the child: cancel these within one step, and send nothing more about them.

    Attributes:
        tickets: Requests to cancel; tickets that have ended are ignored.
    """

    tickets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SetPreview:
    """To the child: turn previews of a request on or off.

    Attributes:
        ticket: Which request.
        enabled: Whether previews are wanted.
    """

    ticket: int
    enabled: bool


@dataclass(frozen=True, slots=True)
class Downloading:
    """From the child: the model's files are being downloaded from the hub.

    Attributes:
        bytes_done: Bytes that are here.
        bytes_total: Bytes in all; 0 if unknown.
    """

    bytes_done: int
    bytes_total: int


@dataclass(frozen=True, slots=True)
class Warming:
    """From the child: a model is being loaded: at the start, in place of another one, or after a pause.

    Attributes:
        model: Name of its profile.
        device: Such as ``cpu`` or ``cuda:0 NVIDIA GeForce RTX 4070``.
    """

    model: str
    device: str


@dataclass(frozen=True, slots=True)
class Warm:
    """From the child: a model is loaded, and the next request for it is drawn at once.

    Attributes:
        model: Name of its profile.
        precision: Such as ``fp32`` or ``bf16``.
        plan: How it was fitted to the device, in one sentence.
        revision: Commit of its files; empty if they have none.
        memory: Bytes of the device's memory in use; 0 if unknown.
        seconds: How long loading it took.
        pixels: Pixels of the warm-up picture; 0 if none was drawn.
        step_seconds: How long its last step took.
        placements: What the plan decided for it; empty where there is no plan.
    """

    model: str
    precision: str
    plan: str
    revision: str
    memory: int
    seconds: float
    pixels: int = 0
    step_seconds: float = 0.0
    placements: tuple[ModelPlacement, ...] = ()


@dataclass(frozen=True, slots=True)
class Idle:
    """From the child: no model is loaded, and the next request loads one.

    Attributes:
        memory: Bytes of the device's memory that are still in use; 0 if unknown.
        problem: Why, in one sentence; empty after a long time without work.
    """

    memory: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Resident:
    """From the child: these models are on the device now.

    Attributes:
        models: Names of their profiles, the least recently used first.
    """

    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StepSize:
    """From the child: how many pictures of a size share a step now, by measured times.

    Attributes:
        model: Name of the model's profile.
        width: Pixels.
        height: Pixels.
        pictures: How many.
    """

    model: str
    width: int
    height: int
    pictures: int


@dataclass(frozen=True, slots=True)
class Notice:
    """From the child: something happened that the operator should know.

    Attributes:
        text: One sentence.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Broken:
    """From the child, which then ends: the model can't be loaded.

    Attributes:
        code: The ``code`` of an EngineError.
        problem: One clear sentence that says what was wrong and what to do.
        passing: A later try may succeed without any change (the hub can't be reached).
    """

    code: str
    problem: str
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """From the child: it works on something that has no steps, and does not hang."""


@dataclass(frozen=True, slots=True)
class StepDone:
    """From the child: these requests have taken a step together.

    Attributes:
        tickets: Which requests.
        done: The step of each, 1-based.
        steps: Steps in all of each.
        seconds: How long the step took; 0 if it was not measured.
    """

    tickets: tuple[int, ...]
    done: tuple[int, ...]
    steps: tuple[int, ...]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PreviewReady:
    """From the child: a preview of a request was made.

    Attributes:
        ticket: Which request.
        preview: The preview.
    """

    ticket: int
    preview: Preview


@dataclass(frozen=True, slots=True)
class ImageReady:
    """From the child: a request ended in a picture.

    Attributes:
        ticket: Which request.
        image: The picture.
        memory: Bytes of the device's memory in use; 0 if unknown.
        busy_seconds: Seconds that the device has worked since it was warm.
        warm_seconds: Seconds since it was warm.
        prompts_encoded: Prompts that went through a text encoder so far.
    """

    ticket: int
    image: Image
    memory: int
    busy_seconds: float
    warm_seconds: float
    prompts_encoded: int


@dataclass(frozen=True, slots=True)
class TextReady:
    """From the child: a request ended in a text.

    Attributes:
        ticket: Which request.
        text: The text.
    """

    ticket: int
    text: str


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """From the child: a request ended without a picture or text.

    Attributes:
        ticket: Which request.
        code: The ``code`` of an EngineError.
        problem: One clear sentence.
    """

    ticket: int
    code: str
    problem: str


Message: TypeAlias = (
    Setup
    | Draw
    | Write
    | Drop
    | SetPreview
    | Downloading
    | Warming
    | Warm
    | Idle
    | Resident
    | StepSize
    | Notice
    | Broken
    | Heartbeat
    | StepDone
    | PreviewReady
    | ImageReady
    | TextReady
    | RequestFailed
)

CODEC: Codec[Message] = Codec(Message)
