"""Who asks where: what every check between a request and the queue looks at."""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.people import Actor, Person, Place
from bot.storage import options
from bot.storage.database import Tx
from bot.storage.options import Options


@dataclass(frozen=True, slots=True)
class AdmissionContext:
    """The circumstances of one request. Get one by ``load``.

    Attributes:
        actor: The account that acts.
        place: Where.
        person: The person whose account it is.
        place_id: Row of the server or group; None in direct messages and on the page.
        now: Unix seconds.
        options: Options of the place and of the whole service.
    """

    actor: Actor
    place: Place
    person: Person
    place_id: int | None
    now: float
    options: Options


async def load(
    tx: Tx, actor: Actor, place: Place, person: Person, *, place_id: int | None, now: float
) -> AdmissionContext:
    """Return the circumstances of a request."""
    return AdmissionContext(actor, place, person, place_id, now, await options.read(tx, place_id))
