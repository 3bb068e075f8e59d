"""What the service and the classifier's process say to each other, in the frames of ``engine.host.wire``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TypeAlias, get_args

from engine.host.wire import HEAD, WireError


@dataclass(frozen=True, slots=True)
class ClassifierSetup:
    """The first message to the child.

    Attributes:
        folder: Where the classifier is.
        labels: Those that count as unsafe.
    """

    folder: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """From the child: the classifier is loaded."""


@dataclass(frozen=True, slots=True)
class Judge:
    """To the child: judge this picture.

    Attributes:
        payload: The encoded picture.
    """

    payload: bytes


@dataclass(frozen=True, slots=True)
class Score:
    """From the child: how sure it is that the picture is unsafe.

    Attributes:
        score: 0 to 1.
    """

    score: float


@dataclass(frozen=True, slots=True)
class Problem:
    """From the child: it could not judge the picture, or could not load; then it ends.

    Attributes:
        problem: One sentence, for the log.
    """

    problem: str


Message: TypeAlias = ClassifierSetup | Ready | Judge | Score | Problem

_KINDS: Mapping[str, type[Message]] = {kind.__name__: kind for kind in get_args(Message)}


def encode(message: Message) -> bytes:
    """Return the message as one frame."""
    payload = message.payload if isinstance(message, Judge) else b""
    header = {f.name: getattr(message, f.name) for f in fields(message) if f.name != "payload"}
    raw = json.dumps({"kind": type(message).__name__, **header}).encode("ascii")
    return HEAD.pack(len(raw), len(payload)) + raw + payload


def decode(header: bytes, payload: bytes) -> Message:
    """Return the message of one frame; raises WireError when it is none."""
    try:
        values = json.loads(header)
        kind = _KINDS[values.pop("kind")]
        if kind is Judge:
            values["payload"] = payload
        if kind is ClassifierSetup:
            values["labels"] = tuple(values["labels"])
        return kind(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise WireError(f"not a message: {e!r}") from e
