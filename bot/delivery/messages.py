"""Use cases of messages: what adapters report of them, notices, and telling people what they have missed."""

from __future__ import annotations

from dataclasses import dataclass

from bot.cards.i18n import text
from bot.context import AppContext
from bot.core.cards import Card
from bot.core.messages import Address, EventRef
from bot.core.people import Actor
from bot.delivery import store
from bot.storage import messages
from bot.storage.sql import dump_card


async def bind_answer(ctx: AppContext, job_id: int, ref: EventRef, address: Address) -> None:
    """The adapter has shown a job's card at ``address``; delivery edits it there from now on."""
    async with ctx.db.write() as tx:
        await messages.bind(tx, job_id, ref.event, address)
    ctx.backlog.job_changed(job_id)


async def unbind_answer(ctx: AppContext, job_id: int, ref: EventRef) -> None:
    """The adapter could not show a job's card; delivery sends it."""
    async with ctx.db.write() as tx:
        await messages.unbind(tx, job_id, ref.event)
    ctx.backlog.job_changed(job_id)


async def bind_lost_card(ctx: AppContext, job_id: int, address: Address) -> None:
    """A person has pressed a button of a job's card at ``address``, which has the id of the message.

    Where Easel was killed before it stored that id, it is stored now, and the card is edited again.
    """
    if address.message is None:
        raise ValueError(f"the address of the card of job {job_id} has no message")
    async with ctx.db.read() as tx:
        if await store.lost_card(tx, job_id, address) is None:
            return
    async with ctx.db.write() as tx:
        message = await store.lost_card(tx, job_id, address)
        if message is not None:
            await store.bind_lost_card(tx, message, address.message)
    ctx.backlog.job_changed(job_id)


async def post_notice(ctx: AppContext, ref: EventRef, card: Card) -> None:
    """Have delivery send a notice, once for each event. Raises ValueError when the ref has no address."""
    if ref.address is None:
        raise ValueError(f"there is nowhere to post the answer to {ref.event}")
    async with ctx.db.write() as tx:
        await messages.add_notice(tx, ref.event, ref.address, dump_card(card))
    ctx.backlog.messages_added()


@dataclass(frozen=True, slots=True)
class MissedNotice:
    """A sentence for one person.

    Attributes:
        notice: The sentence.
        latest: The newest job that it is about.
    """

    notice: str
    latest: int


async def find_missed(ctx: AppContext, actor: Actor) -> MissedNotice | None:
    """Return what to tell this person; None when they have missed nothing."""
    async with ctx.db.read() as tx:
        missed = await store.missed_by(tx, actor.platform, actor.user_id)
    if missed is None:
        return None
    parts = (("missed.drawn", missed.drawn), ("missed.failed", missed.failed))
    return MissedNotice("\n".join(text(actor.locale, key, n=n) for key, n in parts if n), missed.latest)


async def mark_told(ctx: AppContext, actor: Actor, told: MissedNotice) -> None:
    """The person was told."""
    async with ctx.db.write() as tx:
        await store.clear_missed(tx, actor.platform, actor.user_id, told.latest)
