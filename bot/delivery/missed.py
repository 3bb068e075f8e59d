"""Telling people at their next command what could be shown to them nowhere."""

from __future__ import annotations

from dataclasses import dataclass

from bot.cards.i18n import text
from bot.context import AppContext
from bot.core.people import Actor
from bot.delivery import store as missed_rows


@dataclass(frozen=True, slots=True)
class MissedNotice:
    """A sentence for one person, and the newest job that it is about."""

    notice: str
    latest: int


async def find(ctx: AppContext, actor: Actor) -> MissedNotice | None:
    """Return what to say to this person; None when they have missed nothing."""
    async with ctx.db.read() as tx:
        found = await missed_rows.of_account(tx, actor.platform, actor.user_id)
    if found is None:
        return None
    parts = (("missed.drawn", found.drawn), ("missed.failed", found.failed))
    return MissedNotice("\n".join(text(actor.locale, key, n=n) for key, n in parts if n), found.latest)


async def heard(ctx: AppContext, actor: Actor, told: MissedNotice) -> None:
    """The sentence has reached them."""
    async with ctx.db.write() as tx:
        await missed_rows.clear(tx, actor.platform, actor.user_id, told.latest)
