"""Whether anything new is taken on at all: here, or by the whole service."""

from __future__ import annotations

from bot.core.errors import NotAllowed, Unavailable
from bot.core.service_state import ServiceState
from bot.places.admission_context import AdmissionContext

PAUSED = "paused"
"""Option of a place: true while nothing new is taken on there. What waits is drawn."""


def check(asking: AdmissionContext) -> None:
    """Refuse what is new in a paused place, and everywhere while the service is being drained; owners' requests too.

    Raises:
        NotAllowed: The place's admins have paused it.
        Unavailable: The owners take on nothing new.
    """
    if asking.options.state is ServiceState.DRAIN:
        raise Unavailable("refusal.paused.drain")
    if asking.options.here.get(PAUSED) is True:
        raise NotAllowed("refusal.paused.place")
