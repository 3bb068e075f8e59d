"""What the service and the device's process say to each other: typed messages, and the frames that carry them.

A frame is two big-endian 32-bit lengths, a JSON header of the first length and raw bytes of the second: pictures never
pass through JSON. Recipes are named by tickets, numbers that are never used twice, so that a late message about a
dropped recipe can't be taken for one about its successor.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import get_args

from pydantic import TypeAdapter

from engine.contract import Lane, Recipe
from engine.spec import ModelSpec

HEAD = struct.Struct(">II")
"""The two lengths before each frame."""

MAX_HEADER = 16 * 2**20
"""Bytes; sixteen recipes with the longest prompts take under one."""

MAX_PAYLOAD = 512 * 2**20
"""Bytes; a 2048x2048 PNG takes at most 13 million."""


class WireError(Exception):
    """The other side sent something that is no message: the pipe can't be trusted any more."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The first message to the child: what may be asked for, and where to draw it.

    Attributes:
        models: What may be asked for; the first is loaded at once.
        models_dir: Where downloaded models are kept.
        device: ``auto``, ``cuda``, ``cuda:N``, ``mps`` or ``cpu``.
        precision: ``EASEL_PRECISION``.
        idle_unload: Seconds without work after which the device's memory is given back; 0: never.
        compile: Backend of ``torch.compile``; empty: not compiled.
        upscaler: Path of the model that enlarges pictures to start from; empty: they are only scaled.
        step_cache: ``EASEL_STEP_CACHE``; 1: every step is computed.
    """

    models: tuple[ModelSpec, ...]
    models_dir: str
    device: str
    precision: str
    idle_unload: float = 0.0
    compile: str = ""
    upscaler: str = ""
    step_cache: int = 1


@dataclass(frozen=True, slots=True)
class Paint:
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
class Drop:
    """To the child: take these out within one step and say nothing more about them.

    Attributes:
        tickets: Whom to take out; those that have ended are ignored.
    """

    tickets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SetPreview:
    """To the child: previews of this recipe are wanted, or no longer.

    Attributes:
        ticket: Which recipe.
        enabled: Whether previews are wanted.
    """

    ticket: int
    enabled: bool


@dataclass(frozen=True, slots=True)
class Downloading:
    """From the child: the model's files are coming from the hub.

    Attributes:
        bytes_done: Bytes that have come.
        bytes_total: Bytes in all; 0 when unknown.
    """

    bytes_done: int
    bytes_total: int


@dataclass(frozen=True, slots=True)
class Warming:
    """From the child: a model's files are there and are being loaded: at the start, instead of another, or after idling.

    Attributes:
        model: Name of its profile.
        device: Such as ``cpu`` or ``cuda:0 NVIDIA GeForce RTX 4070``.
    """

    model: str
    device: str


@dataclass(frozen=True, slots=True)
class Warm:
    """From the child: a model is on the device, and the next paint of it starts at once.

    Attributes:
        model: Name of its profile.
        precision: Such as ``fp32`` or ``bf16``.
        plan: How it was fitted to the device, in one sentence.
        revision: Commit of its files; empty when they have none.
        memory: Bytes of the device's memory in use; 0 when unknown.
        seconds: How long loading it took.
        pixels: Size of the throw-away picture; 0 when none was drawn.
        step_seconds: How long its last step took.
    """

    model: str
    precision: str
    plan: str
    revision: str
    memory: int
    seconds: float
    pixels: int = 0
    step_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Idle:
    """From the child: no model is on the device, and the next paint loads one.

    Attributes:
        memory: Bytes of the device's memory that are still in use; 0 when unknown.
        problem: Why, in one sentence; empty when there was no work for long.
    """

    memory: int
    problem: str = ""


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
        problem: One clear sentence: what was wrong and what to do.
        passing: It may work later without anybody changing anything (the hub can't be reached).
    """

    code: str
    problem: str
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """From the child: it is at work on what has no steps, and does not hang."""


@dataclass(frozen=True, slots=True)
class StepDone:
    """From the child: these have taken a step together.

    Attributes:
        tickets: Who.
        done: The step of each, 1-based.
        steps: Steps in all of each.
        seconds: How long the step took; 0 when it was not measured.
    """

    tickets: tuple[int, ...]
    done: tuple[int, ...]
    steps: tuple[int, ...]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PreviewReady:
    """From the child: how a recipe looks so far.

    Attributes:
        ticket: Which recipe.
        mime: Media type of the payload.
        payload: The encoded picture.
    """

    ticket: int
    mime: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class ImageReady:
    """From the child: a recipe ended in a picture.

    Attributes:
        ticket: Which recipe.
        width: Pixels.
        height: Pixels.
        seconds: How long the device took for it.
        precision: Number format that it was drawn in.
        revision: Commit of the model's files; empty when they have none.
        notes: Codes of what the person should know.
        memory: Bytes of the device's memory in use; 0 when unknown.
        busy: Seconds that the device has been at work since it was warm.
        clock: Seconds since it was warm.
        encoded: Prompts that went through a text encoder so far.
        mime: Media type of the payload.
        payload: The encoded picture.
        more: What had a part in it beside the model, in a few words; empty where nothing had.
    """

    ticket: int
    width: int
    height: int
    seconds: float
    precision: str
    revision: str
    notes: tuple[str, ...]
    memory: int
    busy: float
    clock: float
    encoded: int
    mime: str
    payload: bytes
    more: str = ""


@dataclass(frozen=True, slots=True)
class RecipeFailed:
    """From the child: a recipe ended without a picture.

    Attributes:
        ticket: Which recipe.
        code: The ``code`` of an EngineError.
        problem: One clear sentence.
    """

    ticket: int
    code: str
    problem: str


Message = (
    Setup
    | Paint
    | Drop
    | SetPreview
    | Downloading
    | Warming
    | Warm
    | Idle
    | Notice
    | Broken
    | Heartbeat
    | StepDone
    | PreviewReady
    | ImageReady
    | RecipeFailed
)

_KINDS: Mapping[str, type[Message]] = {kind.__name__: kind for kind in get_args(Message)}


@cache
def _specs() -> TypeAdapter[tuple[ModelSpec, ...]]:
    return TypeAdapter(tuple[ModelSpec, ...])


_TUPLES = frozenset({"tickets", "done", "steps", "notes"})
"""Fields that JSON gives back as lists."""


def encode(message: Message) -> bytes:
    """Return the message as one frame."""
    payload = message.payload if isinstance(message, ImageReady | PreviewReady) else b""
    header: dict[str, object] = {f.name: getattr(message, f.name) for f in fields(message) if f.name != "payload"}
    if isinstance(message, Paint):
        header["recipes"] = [{f.name: getattr(r, f.name) for f in fields(r)} for r in message.recipes]
    if isinstance(message, Setup):
        header["models"] = _specs().dump_python(message.models, mode="json")
    # ASCII escapes carry even lone surrogates, which UTF-8 can't.
    raw = json.dumps({"kind": type(message).__name__, **header}, ensure_ascii=True).encode("ascii")
    return HEAD.pack(len(raw), len(payload)) + raw + payload


def lengths(head: bytes) -> tuple[int, int]:
    """Read the lengths of header and payload, in bytes; raises WireError when they can't be true."""
    header, payload = HEAD.unpack(head)
    if not 0 < header <= MAX_HEADER or payload > MAX_PAYLOAD:
        raise WireError(f"a frame of {header} and {payload} bytes")
    return header, payload


def decode(header: bytes, payload: bytes) -> Message:
    """Return the message of one frame; raises WireError when it is none."""
    try:
        values = json.loads(header)
        kind = _KINDS[values.pop("kind")]
        for name in _TUPLES & values.keys():
            values[name] = tuple(values[name])
        if kind in (ImageReady, PreviewReady):
            values["payload"] = payload
        if kind is Setup:
            values["models"] = _specs().validate_python(values["models"])
        if kind is Paint:
            values["lane"] = Lane(values["lane"])
            values["recipes"] = tuple(Recipe(**r) for r in values["recipes"])
        return kind(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise WireError(f"not a message: {e!r}") from e
