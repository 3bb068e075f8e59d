"""Whether somebody is shut out, here or everywhere."""

from __future__ import annotations

from bot.model.errors import NotAllowed
from bot.store import bans
from bot.store.bans import Ban
from bot.store.database import Tx
from bot.usecases.asking import Asking


async def check(tx: Tx, asking: Asking) -> None:
    """Raise NotAllowed, with when it ends, for who is banned by any of their accounts; nobody shuts an owner out."""
    if asking.actor.is_owner:
        return
    ban = await bans.binding(tx, asking.person.id, asking.place_id, now=asking.now)
    if ban is not None:
        raise _refusal(ban, asking.now)


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
