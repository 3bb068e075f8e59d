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

from engine.contract import Lane, Recipe

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
    """The first message to the child: what to load, and where.

    Attributes:
        source: Hub id, or folder of a diffusers pipeline.
        family: Which module of ``engine.diffusion.families`` loads it.
        side: Native side of the model in pixels, for the throw-away picture.
        steps: Default number of steps, for the throw-away picture.
        models_dir: Where downloaded models are kept.
        device: ``auto``, ``cuda``, ``cuda:N``, ``mps`` or ``cpu``.
        precision: ``auto``, ``bf16``, ``fp16`` or ``fp32``.
    """

    source: str
    family: str
    side: int
    steps: int
    models_dir: str
    device: str
    precision: str


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
    """From the child: the files are there and are being loaded.

    Attributes:
        device: Such as ``cpu`` or ``cuda:0 NVIDIA GeForce RTX 4070``.
        precision: Such as ``fp32`` or ``bf16``.
    """

    device: str
    precision: str


@dataclass(frozen=True, slots=True)
class Warm:
    """From the child: the throw-away picture is done, and the next paint starts at once.

    Attributes:
        memory: Bytes of the device's memory in use; 0 when unknown.
        pixels: Size of the throw-away picture.
        step_seconds: How long its last step took.
    """

    memory: int
    pixels: int
    step_seconds: float


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
class Stepped:
    """From the child: a step of a batch is done.

    Attributes:
        tickets: Who is still in the batch.
        step: The step, 1-based.
        steps: Steps in all.
        seconds: How long the step took; 0 when it was not measured.
    """

    tickets: tuple[int, ...]
    step: int
    steps: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """From the child: a recipe ended in a picture.

    Attributes:
        ticket: Which recipe.
        width: Pixels.
        height: Pixels.
        seconds: How long the device took for it.
        memory: Bytes of the device's memory in use; 0 when unknown.
        mime: Media type of the payload.
        payload: The encoded picture.
    """

    ticket: int
    width: int
    height: int
    seconds: float
    memory: int
    mime: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """From the child: a recipe ended without a picture.

    Attributes:
        ticket: Which recipe.
        code: The ``code`` of an EngineError.
        problem: One clear sentence.
    """

    ticket: int
    code: str
    problem: str


Message = Setup | Paint | Drop | Downloading | Warming | Warm | Broken | Stepped | Drawn | Ended

_KINDS: Mapping[str, type[Message]] = {
    kind.__name__: kind for kind in (Setup, Paint, Drop, Downloading, Warming, Warm, Broken, Stepped, Drawn, Ended)
}


def encode(message: Message) -> bytes:
    """Return the message as one frame."""
    payload = message.payload if isinstance(message, Drawn) else b""
    header: dict[str, object] = {f.name: getattr(message, f.name) for f in fields(message) if f.name != "payload"}
    if isinstance(message, Paint):
        header["recipes"] = [{f.name: getattr(r, f.name) for f in fields(r)} for r in message.recipes]
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
        if "tickets" in values:
            values["tickets"] = tuple(values["tickets"])
        if kind is Drawn:
            values["payload"] = payload
        if kind is Paint:
            values["lane"] = Lane(values["lane"])
            values["recipes"] = tuple(Recipe(**r) for r in values["recipes"])
        return kind(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise WireError(f"not a message: {e!r}") from e
