"""Moderation of finished pictures: show, hide or reject them, by strictness and the classifier's verdict."""

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
from bot.storage.database import Database
from bot.storage.sql import dump_card
from engine.contract import SafetyVerdict

IMAGE_REJECTED = "error.moderation.picture"
"""Catalogue key: the picture was drawn and rejected."""

log = logging.getLogger(__name__)


class ImageRejected(Exception):
    """The picture was rejected and must not be stored."""


class ImageModeration:
    """Judges pictures while the device draws on. A picture that can't be judged is hidden, not rejected."""

    def __init__(self, db: Database, moderator: Moderator | None, bus: EventBus) -> None:
        """Args:
        db: The database.
        moderator: The classifier; None: pictures are not judged.
        bus: Receives MessagesAdded after a notice for a log channel.
        """
        self._db = db
        self._moderator = moderator
        self._bus = bus

    async def flag(self, job: Job, index: int, data: bytes) -> str:
        """Return the flag of a picture: ``spoiler`` or empty. Raises ImageRejected if it must not be stored."""
        hidden = SPOILER if HIDDEN in job.request.notes else ""
        if self._moderator is None:
            return hidden
        strictness = await self._strictness(job)
        if strictness is Strictness.OFF:
            return hidden
        verdict = await self._moderator.judge(data)
        if verdict is SafetyVerdict.UNSAFE and strictness is Strictness.REFUSE:
            await self._post_withheld(job, index)
            raise ImageRejected
        return hidden if verdict is SafetyVerdict.SAFE else SPOILER

    async def _strictness(self, job: Job) -> Strictness:
        try:
            async with self._db.read() as tx:
                return await moderation_rows.strictness_of_job(tx, job.id)
        except Unavailable as e:
            log.warning("the strictness of job %d can't be read (%s); unsafe pictures are hidden", job.id, e.key)
            return Strictness.SPOILER

    async def _post_withheld(self, job: Job, index: int) -> None:
        try:
            async with self._db.write() as tx:
                address = await moderation_rows.log_channel_of(tx, job.place_id)
                if address is None:
                    return
                card = dump_card(withheld_card(job, index, job.locale))
                await messages.add_notice(tx, f"withheld:{job.id}:{index}", address, card)
        except Unavailable as e:
            # The job's card says it too.
            log.warning("job %d: the log channel gets no notice of the rejected picture (%s)", job.id, e.key)
            return
        self._bus.publish(MessagesAdded())
