"""What adapters say about messages: where a first answer is, that there is none, and a notice to be sent."""

from __future__ import annotations

from bot.model.cards import Card
from bot.model.messages import Address, Ref
from bot.store import messages
from bot.store.codec import dump_card
from bot.usecases.house import House


async def bound(house: House, job_id: int, ref: Ref, address: Address) -> None:
    """A job's card is shown at ``address``; delivery goes on with it there."""
    async with house.db.write() as tx:
        await messages.bound(tx, job_id, ref.event, address)
    house.backlog.changed(job_id)


async def unbound(house: House, job_id: int, ref: Ref) -> None:
    """A job's card could not be shown by its adapter; delivery sends it."""
    async with house.db.write() as tx:
        await messages.unbound(tx, job_id, ref.event)
    house.backlog.changed(job_id)


async def post(house: House, ref: Ref, card: Card) -> None:
    """Have delivery send a notice, once for each event. Raises ValueError when the ref names no address."""
    if ref.address is None:
        raise ValueError(f"there is nowhere to post the answer to {ref.event}")
    async with house.db.write() as tx:
        await messages.add_notice(tx, ref.event, ref.address, dump_card(card))
    house.backlog.posted()
