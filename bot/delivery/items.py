"""A stored message with what it belongs to, as the rows stood when its showing began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from bot.core.cards import Card
from bot.core.jobs import Job, JobState
from bot.core.messages import Message, MessageKind, MessageState
from bot.core.pictures import Picture
from bot.storage import jobs, messages, pictures
from bot.storage.codec import dump_card
from bot.storage.database import Tx

ENDED = frozenset({JobState.PAINTED, JobState.DELIVERED, JobState.CANCELLED, JobState.FAILED})
"""States in which a job's card says its last."""


@dataclass(frozen=True, slots=True)
class Item:
    """What is to be shown.

    Attributes:
        message: Where, and what is shown there now.
        job: Whose card it is; None for notices and parcels.
        stored: The job's pictures.
    """

    message: Message
    job: Job | None
    stored: Sequence[Picture]

    @property
    def ended(self) -> bool:
        """What is shown now is the last that there is to say."""
        return self.job is None or self.message.kind is not MessageKind.CARD or self.job.state in ENDED

    def digest(self, card: Card) -> str:
        """What is written down of a card that is shown, to see whether it is shown already."""
        return (messages.FINAL if self.ended else "") + sha256(dump_card(card).encode()).hexdigest()


async def load(tx: Tx, message_id: int) -> Item | None:
    """Return a message that is to be shown, or is; None for all others."""
    message = await messages.get(tx, message_id)
    if message is None or message.state not in {MessageState.WANTED, MessageState.SHOWN}:
        return None
    job = None if message.job_id is None else await jobs.get(tx, message.job_id)
    return Item(message, job, () if job is None else await pictures.of_job(tx, job.id))
