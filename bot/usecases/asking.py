"""A request's circumstances, as the gates between it and the queue look at them."""

from __future__ import annotations

from dataclasses import dataclass

from bot.model.people import Actor, Person, Place
from bot.store.options import Options


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks where.

    Attributes:
        actor: The account that acts.
        place: Where.
        person: Whose account it is.
        place_id: Of the server or group; None in direct messages and on the page.
        now: Unix seconds.
        options: What is set here and everywhere.
    """

    actor: Actor
    place: Place
    person: Person
    place_id: int | None
    now: float
    options: Options
