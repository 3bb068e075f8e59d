"""Whether somebody is shut out, here or everywhere."""

from __future__ import annotations

from bot.model.errors import NotAllowed
from bot.store.bans import Ban
from bot.usecases.asking import Asking


def check(asking: Asking) -> None:
    """Raise NotAllowed, with when it ends, for who is banned by any of their accounts; nobody shuts an owner out."""
    if asking.ban is not None and not asking.actor.is_owner:
        raise _refusal(asking.ban, asking.now)


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
