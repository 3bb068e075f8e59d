"""What the rows say of a message: the intent to send it, that it is shown, and when its job counts as delivered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from bot.core.cards import Card
from bot.core.jobs import Job, JobState
from bot.core.messages import Address, Message, MessageKind, MessageState, at_new_message
from bot.core.pictures import Picture
from bot.core.ports import Clock
from bot.delivery.presenter import JobPresenter
from bot.storage import jobs, messages, pictures
from bot.storage.codec import dump_card
from bot.storage.database import Database, Tx
from bot.storage.retry import persist

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


async def load_item(tx: Tx, message_id: int) -> Item | None:
    """Return a message that is to be shown, or is; None for all others."""
    message = await messages.get(tx, message_id)
    if message is None or message.state not in {MessageState.WANTED, MessageState.SHOWN}:
        return None
    job = None if message.job_id is None else await jobs.get(tx, message.job_id)
    return Item(message, job, () if job is None else await pictures.of_job(tx, job.id))


def alone(address: Address) -> Address | None:
    """The asker's own chat, where what has no place at ``address`` can go; None where it is that chat already."""
    if address.private or address.elsewhere or not address.user or address.user == address.chat:
        return None
    return replace(address, private=True, elsewhere=True, message=None, reply_to=None, token=None, expires=None)


async def record_shown(
    tx: Tx, item: Item, address: Address, digest: str, room: int, *, now: float, apart: Address | None = None
) -> bool:
    """Write down that a message is shown.

    Args:
        tx: A writing transaction.
        item: What is shown.
        address: Where.
        digest: What of it, as ``Item.digest`` says.
        room: How many pictures a card has room for; of a finished job, the others go beside it as an album.
        now: Unix seconds.
        apart: Where the pictures of a card go that was shown without them (its digest ends in ``messages.BARE``).

    Returns:
        Whether more is to be done about its job.
    """
    message, job = item.message, item.job
    if (message.state, message.address, message.shown) != (MessageState.SHOWN, address, digest):
        await messages.shown(tx, message.id, address, digest)
    if job is not None and await messages.unwanted(tx, job.id):
        return True  # it was forgotten while this was being sent
    if job is None or not item.ended:
        return False
    if digest.endswith(messages.BARE):
        event = f"apart:{message.id}"
        album = apart is not None and await messages.by_event(tx, event) is None
        if album and apart is not None:
            await messages.add_files(tx, event, job.id, apart, MessageKind.ALBUM)
        return await settle_job(tx, job.id, now=now) or album
    beside = [p.index for p in item.stored[room:]] if message.kind is MessageKind.CARD else []
    album = bool(beside) and job.state is JobState.PAINTED
    if album:
        await messages.add_files(tx, f"album:{message.id}", job.id, address, MessageKind.ALBUM, indexes=beside)
    return await settle_job(tx, job.id, now=now) or album


async def settle_job(tx: Tx, job_id: int, *, now: float) -> bool:
    """Make a painted job delivered once nothing of it is left to show; returns whether this call did that."""
    job = await jobs.get(tx, job_id)
    if job is None or job.state is not JobState.PAINTED:
        return False
    if not all(_over(message) for message in await messages.of_job(tx, job_id)):
        return False
    return await jobs.move(tx, job_id, JobState.PAINTED, JobState.DELIVERED, now=now)


def _over(message: Message) -> bool:
    """Nothing has to happen to this message before its job counts as delivered."""
    if message.kind not in {MessageKind.CARD, MessageKind.ALBUM}:
        return True
    if message.state is MessageState.SHOWN:
        return message.kind is MessageKind.ALBUM or message.shown.startswith(messages.FINAL)
    return message.state in {MessageState.UNCLEAR, MessageState.GONE}


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
                await settle_job(tx, job.id, now=self._clock.now())
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
