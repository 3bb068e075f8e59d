"""What adapters say about messages, and telling people what they have missed."""

from __future__ import annotations

from dataclasses import dataclass

from bot.cards.i18n import text
from bot.context import AppContext
from bot.core.cards import Card
from bot.core.messages import Address, EventRef
from bot.core.people import Actor
from bot.delivery import store as missed_rows
from bot.storage import messages
from bot.storage.codec import dump_card


async def bind_answer(ctx: AppContext, job_id: int, ref: EventRef, address: Address) -> None:
    """A job's card is shown at ``address``; delivery goes on with it there."""
    async with ctx.db.write() as tx:
        await messages.bound(tx, job_id, ref.event, address)
    ctx.backlog.changed(job_id)


async def unbind_answer(ctx: AppContext, job_id: int, ref: EventRef) -> None:
    """A job's card could not be shown by its adapter; delivery sends it."""
    async with ctx.db.write() as tx:
        await messages.unbound(tx, job_id, ref.event)
    ctx.backlog.changed(job_id)


async def post_notice(ctx: AppContext, ref: EventRef, card: Card) -> None:
    """Have delivery send a notice, once for each event. Raises ValueError when the ref names no address."""
    if ref.address is None:
        raise ValueError(f"there is nowhere to post the answer to {ref.event}")
    async with ctx.db.write() as tx:
        await messages.add_notice(tx, ref.event, ref.address, dump_card(card))
    ctx.backlog.posted()


@dataclass(frozen=True, slots=True)
class MissedNotice:
    """A sentence for one person, and the newest job that it is about."""

    notice: str
    latest: int


async def find_missed(ctx: AppContext, actor: Actor) -> MissedNotice | None:
    """Return what to say to this person; None when they have missed nothing."""
    async with ctx.db.read() as tx:
        found = await missed_rows.of_account(tx, actor.platform, actor.user_id)
    if found is None:
        return None
    parts = (("missed.drawn", found.drawn), ("missed.failed", found.failed))
    return MissedNotice("\n".join(text(actor.locale, key, n=n) for key, n in parts if n), found.latest)


async def mark_told(ctx: AppContext, actor: Actor, told: MissedNotice) -> None:
    """The sentence has reached them."""
    async with ctx.db.write() as tx:
        await missed_rows.clear(tx, actor.platform, actor.user_id, told.latest)
