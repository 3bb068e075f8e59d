"""The messages between the service and the classifier's process, in the frames of ``engine.host.frames``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from engine.host.frames import Codec


@dataclass(frozen=True, slots=True)
class ClassifierSetup:
    """The first message to the child.

    Attributes:
        folder: Folder of the classifier.
        labels: Labels that count as unsafe.
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
    """From the child: how sure the classifier is that the picture is unsafe.

    Attributes:
        score: 0 to 1.
    """

    score: float


@dataclass(frozen=True, slots=True)
class Problem:
    """From the child: it could not judge the picture, or could not load the classifier and ends.

    Attributes:
        problem: One sentence, for the log.
    """

    problem: str


Message: TypeAlias = ClassifierSetup | Ready | Judge | Score | Problem

CODEC: Codec[Message] = Codec(Message)
