"""What becomes of a finished picture: shown, covered, or not kept, by its place's strictness and a classifier's verdict."""

from __future__ import annotations

import logging

from bot.core.errors import Unavailable
from bot.core.events import EventBus, MessagesAdded
from bot.core.jobs import Job
from bot.core.ports import Moderator
from bot.core.strictness import HIDDEN, SPOILER, Strictness
from bot.moderation import store as moderation_rows
from bot.moderation.cards import withheld_card
from bot.storage import messages
from bot.storage.codec import dump_card
from bot.storage.database import Database
from engine.contract import SafetyVerdict

IMAGE_REJECTED = "error.moderation.picture"
"""Catalogue key: the picture was drawn, but its place does not want it."""

log = logging.getLogger(__name__)


class ImageRejected(Exception):
    """The picture is not kept."""


class ImageModeration:
    """Looks at pictures while the device draws on. What it can't judge is covered, never lost."""

    def __init__(self, db: Database, moderator: Moderator | None, bus: EventBus) -> None:
        """Args:
        db: Where the rows are.
        moderator: Judges pictures; None: nobody does.
        bus: Told when there is a notice for a place's log.
        """
        self._db = db
        self._moderator = moderator
        self._bus = bus

    async def flag(self, job: Job, index: int, data: bytes) -> str:
        """Return the flag of a picture: ``spoiler``, or nothing. Raises Unfit when it must not be kept."""
        hidden = SPOILER if HIDDEN in job.request.notes else ""
        if self._moderator is None:
            return hidden
        strict = await self._strictness(job)
        if strict is Strictness.OFF:
            return hidden
        verdict = await self._moderator.judge(data)
        if verdict is SafetyVerdict.UNSAFE and strict is Strictness.REFUSE:
            await self._tell(job, index)
            raise ImageRejected
        return hidden if verdict is SafetyVerdict.SAFE else SPOILER

    async def _strictness(self, job: Job) -> Strictness:
        try:
            async with self._db.read() as tx:
                return await moderation_rows.strictness_of_job(tx, job.id)
        except Unavailable as e:
            log.warning("nobody can say how strict job %d's place is (%s)", job.id, e.key)
            return Strictness.SPOILER

    async def _tell(self, job: Job, index: int) -> None:
        try:
            async with self._db.write() as tx:
                address = await moderation_rows.log_channel_of(tx, job.place_id)
                if address is None:
                    return
                card = dump_card(withheld_card(job, index, job.locale))
                await messages.add_notice(tx, f"withheld:{job.id}:{index}", address, card)
        except Unavailable as e:
            # Whoever asked is told by their card.
            log.warning("the log of job %d's place can't be told (%s)", job.id, e.key)
            return
        self._bus.publish(MessagesAdded())
