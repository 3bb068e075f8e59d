"""Whether anything new is taken on at all: here, or by the whole service."""

from __future__ import annotations

from bot.model.errors import NotAllowed, Unavailable
from bot.model.service import State
from bot.usecases.asking import Asking

PAUSED = "paused"
"""Option of a place: true while nothing new is taken on there. What waits is drawn."""


def check(asking: Asking) -> None:
    """Refuse what is new in a paused place, and everywhere while the service is being drained; owners' requests too.

    Raises:
        NotAllowed: The place's admins have paused it.
        Unavailable: The owners take on nothing new.
    """
    if asking.options.state is State.DRAIN:
        raise Unavailable("refusal.paused.drain")
    if asking.options.here.get(PAUSED) is True:
        raise NotAllowed("refusal.paused.place")
