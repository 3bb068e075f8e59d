"""Whether somebody is shut out, here or everywhere: asked at every request, press and command."""

from __future__ import annotations

from bot.core.errors import NotAllowed
from bot.core.people import Actor, Place
from bot.moderation.store import bans as ban_rows
from bot.moderation.store.bans import Ban
from bot.places.admission_context import AdmissionContext
from bot.storage import people
from bot.storage.database import Tx


def check(asking: AdmissionContext, ban: Ban | None) -> None:
    """Raise NotAllowed, which says when the ban ends; ``ban`` is the longest ban that binds the person. Owners are exempt."""
    if ban is not None and not asking.actor.is_owner:
        raise _refusal(ban, asking.now)


async def check_actor(tx: Tx, actor: Actor, place: Place, *, now: float, everywhere: bool = False) -> None:
    """Raise NotAllowed, with when it ends, for who is banned and presses or types something other than a request.

    Args:
        tx: A transaction.
        actor: Who.
        place: Where.
        now: Unix seconds.
        everywhere: Only a ban by an owner counts, which holds in all places: no admin shuts another one out of the
            administration of their place.
    """
    if actor.is_owner:
        return
    place_id = None if everywhere else await people.find_place(tx, place)
    ban = await ban_rows.of_account(
        tx, actor.platform, actor.user_id, ban_rows.EVERYWHERE if place_id is None else place_id, now=now
    )
    if ban is not None:
        raise _refusal(ban, now)


def _refusal(ban: Ban, now: float) -> NotAllowed:
    if ban.until is None:
        if ban.reason:
            return NotAllowed("refusal.banned.for_good_because", reason=_data(ban.reason))
        return NotAllowed("refusal.banned.for_good")
    if ban.reason:
        return NotAllowed("refusal.banned.because", wait=ban.until - now, reason=_data(ban.reason))
    return NotAllowed("refusal.banned", wait=ban.until - now)


def _data(reason: str) -> str:
    # What an admin typed is never a key.
    return f"@{reason}" if reason.startswith("@") else reason
