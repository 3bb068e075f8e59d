"""What adapters say about messages: where a first answer is, that there is none, and a notice to be sent."""

from __future__ import annotations

from bot.context import AppContext
from bot.core.cards import Card
from bot.core.messages import Address, EventRef
from bot.storage import messages
from bot.storage.codec import dump_card


async def bound(ctx: AppContext, job_id: int, ref: EventRef, address: Address) -> None:
    """A job's card is shown at ``address``; delivery goes on with it there."""
    async with ctx.db.write() as tx:
        await messages.bound(tx, job_id, ref.event, address)
    ctx.backlog.changed(job_id)


async def unbound(ctx: AppContext, job_id: int, ref: EventRef) -> None:
    """A job's card could not be shown by its adapter; delivery sends it."""
    async with ctx.db.write() as tx:
        await messages.unbound(tx, job_id, ref.event)
    ctx.backlog.changed(job_id)


async def post(ctx: AppContext, ref: EventRef, card: Card) -> None:
    """Have delivery send a notice, once for each event. Raises ValueError when the ref names no address."""
    if ref.address is None:
        raise ValueError(f"there is nowhere to post the answer to {ref.event}")
    async with ctx.db.write() as tx:
        await messages.add_notice(tx, ref.event, ref.address, dump_card(card))
    ctx.backlog.posted()
