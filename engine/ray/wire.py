"""The messages between the service and the driver of a Ray cluster, in the frames of ``engine.host.frames``.

A channel is the connection with one process that draws, an actor of the cluster. Its number is never used twice.
What it carries is frames of ``engine.host.wire``, which the driver passes on as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from engine.host.frames import Codec

OPEN = "open"
"""The cluster asks for no token."""

WRONG_TOKEN = "wrong_token"  # noqa: S105 - no token itself
"""The cluster asks for another token."""


@dataclass(frozen=True, slots=True)
class Join:
    """The first message to the driver: the cluster to join, or to start.

    Attributes:
        address: Host and port of a running cluster; empty: one on this machine is started, and ends with the driver.
        folder: Folder for a cluster on this machine, of this user alone.
        gpus: Logical GPUs of a cluster on this machine; negative: those that Ray finds.
        easel: Version of Easel, which the nodes must have too.
    """

    address: str
    folder: str
    gpus: int
    easel: str


@dataclass(frozen=True, slots=True)
class ActorRequirements:
    """What an actor needs of its node.

    Attributes:
        num_gpus: Logical GPUs.
        labels: Ray's ``label_selector``: labels that its node must have.
        resources: Other resources of Ray, by name.
    """

    num_gpus: float = 1.0
    labels: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Open:
    """To the driver: start an actor.

    Attributes:
        channel: Number of its channel.
        worker: What it runs, as ``module:function``; see ``engine.host.child.draw``.
        requirements: What it needs of its node.
    """

    channel: int
    worker: str
    requirements: ActorRequirements


@dataclass(frozen=True, slots=True)
class Tell:
    """To the driver: pass these frames on to an actor.

    Attributes:
        channel: Which actor.
        frames: Whole frames of ``engine.host.wire``.
    """

    channel: int
    frames: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """To the driver: end an actor at once, also one that hangs.

    Attributes:
        channel: Which actor; one that is gone is ignored.
    """

    channel: int


@dataclass(frozen=True, slots=True)
class Joined:
    """From the driver: the cluster is joined, or the number of its GPUs has changed.

    Attributes:
        gpus: Logical GPUs of the whole cluster.
    """

    gpus: int


@dataclass(frozen=True, slots=True)
class JoinFailed:
    """From the driver, which then ends: the cluster can't be joined or started.

    Attributes:
        problem: One clear sentence that says what was wrong and what to do.
        passing: A later try may succeed without any change.
        reason: ``OPEN``, ``WRONG_TOKEN`` or empty for any other.
    """

    problem: str
    passing: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Alive:
    """From the driver, every few seconds: it does not hang."""


@dataclass(frozen=True, slots=True)
class ActorStarted:
    """From the driver: an actor runs.

    Attributes:
        channel: Which actor.
        pid: Its process id on its node.
        node: Name of that node.
    """

    channel: int
    pid: int
    node: str


@dataclass(frozen=True, slots=True)
class Said:
    """From the driver: frames that an actor has sent.

    Attributes:
        channel: Which actor.
        frames: Whole frames of ``engine.host.wire``.
    """

    channel: int
    frames: bytes


@dataclass(frozen=True, slots=True)
class ActorEnded:
    """From the driver: an actor has ended, or could not be started.

    Attributes:
        channel: Which actor.
        problem: One clear sentence; empty if it was closed.
        fault: Whether it died. False: it never began to draw, such as for want of a free GPU.
        passing: A later try may succeed without any change.
    """

    channel: int
    problem: str = ""
    fault: bool = True
    passing: bool = True


Message: TypeAlias = Join | Open | Tell | Close | Joined | JoinFailed | Alive | ActorStarted | Said | ActorEnded

CODEC: Codec[Message] = Codec(Message)
