"""Events inside the process: what one part tells others that it does not know."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar


class InChats(Enum):
    """What a change of a job means for its messages in chats."""

    AT_ONCE = "at once"
    """They may have to change at once."""

    LATER = "later"
    """The job was begun or has come further: they change now and then."""

    SHOWN = "shown"
    """They show it already."""


@dataclass(frozen=True, slots=True)
class JobChanged:
    """The card of a job may look different now.

    Attributes:
        job_id: The job.
        in_chats: What it means for its messages in chats.
    """

    job_id: int
    in_chats: InChats = InChats.AT_ONCE


@dataclass(frozen=True, slots=True)
class MessagesAdded:
    """Notices, files or exports to be sent were committed."""


@dataclass(frozen=True, slots=True)
class PreviewDemand:
    """The first viewer of a job's previews has come (``wanted``), or the last one has left."""

    job_id: int
    wanted: bool


E = TypeVar("E", JobChanged, MessagesAdded, PreviewDemand)


class EventBus:
    """Calls the subscribers of an event's class, in the order in which they subscribed.

    ``publish`` returns after the last subscriber. Subscribers are plain functions that note the event and return: they
    never wait and never raise. ``bot.dispatch.service`` subscribes all of them.
    """

    def __init__(self) -> None:
        self._subscribers: defaultdict[type, list[Callable[[Any], None]]] = defaultdict(list)

    def subscribe(self, kind: type[E], subscriber: Callable[[E], None]) -> None:
        """Call the subscriber with every event of this class from now on."""
        self._subscribers[kind].append(subscriber)

    def publish(self, event: E) -> None:
        """Call the subscribers of the event's class."""
        for subscriber in self._subscribers[type(event)]:
            subscriber(event)
