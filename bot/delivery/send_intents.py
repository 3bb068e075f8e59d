"""Intents: what is written before a send that can't be repeated, and what its row says once nobody knows the result."""

from __future__ import annotations

from bot.core.jobs import Job
from bot.core.messages import Message, MessageKind, MessageState, at_new_message
from bot.core.ports import Clock
from bot.delivery.delivery_state import settle
from bot.delivery.items import Item
from bot.delivery.presenter import JobPresenter
from bot.storage import jobs, messages
from bot.storage.codec import dump_card
from bot.storage.database import Database, Tx
from bot.storage.retry import persist

ENDINGS = frozenset({MessageKind.CARD, MessageKind.ALBUM})
"""Messages that show what came of a job to the person who asked; originals may be for anybody."""


class Intents:
    """The rows around a send."""

    def __init__(self, db: Database, presenter: JobPresenter, clock: Clock) -> None:
        self._db = db
        self._presenter = presenter
        self._clock = clock

    async def begin(self, message: Message, digest: str) -> bool:
        """Write the intent to send what ``digest`` names; returns whether this call did it."""
        async with self._db.write() as tx:
            return await messages.begin(tx, message.id, digest)

    async def take_back(self, message: Message) -> None:
        """The message was not sent, or is sent again all the same."""

        async def write() -> None:
            async with self._db.write() as tx:
                await messages.move(tx, message.id, MessageState.SENDING, MessageState.WANTED)

        # An intent that stays would keep the message from being shown until the next start.
        await persist(write, self._clock)

    async def out_of_reach(self, message: Message) -> None:
        """A card that is not its job's last one was sent or not: it is not sent again, and the last one is a new message."""

        async def write() -> None:
            async with self._db.write() as tx:
                await messages.out_of_reach(tx, message.id)

        await persist(write, self._clock)

    async def unclear(self, message: Message, old: MessageState) -> tuple[bool, Job | None]:
        """The pictures of a message in the state ``old`` were shown or not: a text card is posted that offers them.

        Returns whether the message was in that state, and its job.
        """
        async with self._db.write() as tx:
            job = None if message.job_id is None else await jobs.get(tx, message.job_id)
            if not await messages.move(tx, message.id, old, MessageState.UNCLEAR):
                return False, job
            if job is not None and job.forgotten:
                await messages.taken_away(tx, message.id)
            elif job is not None:
                card = dump_card(self._presenter.unclear(job))
                await messages.add_notice(tx, f"unclear:{message.id}", at_new_message(message.address), card, job.id)
                await settle(tx, job.id, now=self._clock.now())
        return True, job


def is_first_card(message: Message) -> bool:
    """Whether the intent of a message in SENDING is about a card that a later one replaces."""
    return message.kind is MessageKind.CARD and bool(message.shown) and not message.shown.startswith(messages.FINAL)


async def shows_ending(tx: Tx, item: Item) -> bool:
    """Whether a message tells the person who asked what came of the job, or offers pictures that may not have come."""
    if item.job is None or item.message.kind is not MessageKind.NOTICE:
        return item.message.kind in ENDINGS
    rows = await messages.of_job(tx, item.job.id)
    return any(row.kind in ENDINGS and row.state is MessageState.UNCLEAR for row in rows)
