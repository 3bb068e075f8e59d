"""The rows of delivery: intents to send, what is shown, when a job counts as delivered, and missed results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from hashlib import sha256
from pathlib import Path

import aiosqlite

from bot.core.cards import Card
from bot.core.jobs import Job, JobState
from bot.core.messages import Address, Message, MessageKind, MessageState, at_new_message
from bot.core.pictures import Picture
from bot.core.ports import Clock
from bot.core.waits import persist
from bot.delivery.cards import JobPresenter
from bot.storage import data_files, jobs, messages, pictures
from bot.storage.database import Database, Tx
from bot.storage.sql import RowMapper, dump_address, dump_card

ENDED = frozenset({JobState.PAINTED, JobState.DELIVERED, JobState.CANCELLED, JobState.FAILED})
"""States in which a job's card is final."""

SYNCED = frozenset({MessageState.WANTED, MessageState.SHOWN})
"""States in which a message can be brought up to date."""

RESULT_KINDS = frozenset({MessageKind.CARD, MessageKind.ALBUM})
"""Messages that show a job's result to the person who asked; a DOCUMENT may be for another person."""

_ENDED_SQL = "(state IN ('painted', 'delivered', 'failed') OR state = 'cancelled' AND error <> '')"
"""A job that its person has cancelled has no reason, and is no news to them."""


@dataclass(frozen=True, slots=True)
class MessageItem:
    """A message with what it shows.

    Attributes:
        message: Where it is, and what is shown there now.
        job: The job that it is about; None for notices and exports.
        stored: The pictures of a job that has ended.
        foreign: Indexes of those of them whose files must not be sent.
    """

    message: Message
    job: Job | None
    stored: Sequence[Picture] = ()
    foreign: frozenset[int] = frozenset()

    @property
    def ended(self) -> bool:
        """What is shown now is final."""
        return self.job is None or self.message.kind is not MessageKind.CARD or self.job.state in ENDED

    def digest(self, card: Card) -> str:
        """Return what the row keeps of a shown card, so that the same card is not sent twice."""
        return digest_of(card, final=self.ended)


def digest_of(card: Card, *, final: bool) -> str:
    """Return what a row keeps of a shown card. A notice is always final."""
    preview = "" if card.preview is None else f" {card.preview.number}"
    return (messages.FINAL if final else "") + sha256(f"{dump_card(card)}{preview}".encode()).hexdigest()


async def load_item(tx: Tx, message_id: int, folder: Path) -> MessageItem | None:
    """Return a message that is WANTED or SHOWN; None for all others. ``folder`` is where pictures are kept."""
    message = await messages.get(tx, message_id)
    return None if message is None or message.state not in SYNCED else await item_of(tx, message, folder)


async def item_of(tx: Tx, message: Message, folder: Path) -> MessageItem:
    """Return a message with what it shows. Blocks while it looks at files: run it in the database's thread."""
    job = None if message.job_id is None else await jobs.get(tx, message.job_id)
    if job is None:
        return MessageItem(message, None)
    stored = await pictures.of_job(tx, job.id) if job.state in ENDED else ()
    return MessageItem(message, job, stored, _foreign(stored, folder))


async def items_of(tx: Tx, job_ids: Sequence[int], folder: Path) -> list[tuple[Job, Sequence[MessageItem]]]:
    """Return jobs with all their messages, whatever their state, oldest first. Blocks, as ``item_of``.

    Missing jobs are left out.
    """
    found = await jobs.of_ids(tx, job_ids)
    rows = await messages.of_jobs(tx, [job.id for job in found])
    stored = await pictures.of_jobs(tx, [job.id for job in found if job.state in ENDED and rows[job.id]])
    items: list[tuple[Job, Sequence[MessageItem]]] = []
    for job in found:
        own = stored.get(job.id, ())
        foreign = _foreign(own, folder)
        items.append((job, [MessageItem(message, job, own, foreign) for message in rows[job.id]]))
    return items


def _foreign(stored: Sequence[Picture], folder: Path) -> frozenset[int]:
    """Return the indexes of pictures whose files are not Easel's own, or behind a link.

    Rows may come from a foreign backup.
    """
    return frozenset(picture.index for picture in stored if not data_files.is_own_picture(folder, picture.path))


def private_address(address: Address) -> Address | None:
    """Return the asker's own chat, for what can't be shown at ``address``; None where it is that chat already."""
    if address.private or address.elsewhere or not address.user or address.user == address.chat:
        return None
    return replace(
        address,
        private=True,
        elsewhere=True,
        message=None,
        reply_to=None,
        token=None,
        expires=None,
        max_file=None,
        replaces=None,
        fixed=False,
    )


class Follows(Enum):
    """What follows after a message was shown."""

    NOTHING = "nothing"
    DELIVERED = "delivered"
    """It was the last message of its job, which is delivered now."""

    MORE = "more"
    """More is to be done about the job, or a notice was replaced while it was sent."""


async def record_shown(
    tx: Tx, item: MessageItem, address: Address, digest: str, *, apart: Address | None = None
) -> Follows:
    """Record that a message is shown; where its chat takes no pictures, also order them for the asker alone.

    Args:
        tx: A writing transaction.
        item: What is shown.
        address: Where.
        digest: What of it, see ``MessageItem.digest``.
        apart: Where the pictures go of a card that was shown without them (its digest ends in ``messages.BARE``).

    Returns:
        What follows.
    """
    message, job = item.message, item.job
    if message.kind is MessageKind.NOTICE:
        shown = await messages.mark_notice_shown(tx, message.id, address, digest, message.card)
        unwanted = job is not None and await messages.has_unwanted(tx, job.id)
        return Follows.NOTHING if shown and not unwanted else Follows.MORE
    if (message.state, message.address, message.shown) != (MessageState.SHOWN, address, digest):
        await messages.mark_shown(tx, message.id, address, digest)
    if job is None:
        return Follows.NOTHING
    bare = item.ended and digest.endswith(messages.BARE)
    if not bare and item.ended and await jobs.deliver(tx, job.id):
        return Follows.DELIVERED
    if await messages.has_unwanted(tx, job.id):
        return Follows.MORE  # the job was forgotten while this was being sent
    if not bare:
        return Follows.NOTHING
    event = f"apart:{message.id}"
    if apart is not None and await messages.by_event(tx, event) is None:
        await messages.add_files(tx, event, job.id, apart, MessageKind.ALBUM)
        return Follows.MORE
    return Follows.DELIVERED if await jobs.deliver(tx, job.id) else Follows.NOTHING


def album_event(message: Message) -> str:
    """Return the event of the album of a card that has no room for all pictures of its job."""
    return f"album:{message.id}"


async def order_album(tx: Tx, message: Message, job: Job, indexes: Sequence[int] = ()) -> None:
    """Have delivery send pictures of a job in the chat of its card: those of ``indexes``, or all where there are none."""
    # The address of a private job's card says that it is private only once the card was sent.
    private = message.address.private or job.request.private
    address = replace(at_new_message(message.address), replaces=None, private=private)
    await messages.add_files(tx, album_event(message), job.id, address, MessageKind.ALBUM, indexes=indexes)


class SendIntents:
    """The rows before and after a send that must not be repeated."""

    def __init__(self, db: Database, presenter: JobPresenter, clock: Clock) -> None:
        self._db = db
        self._presenter = presenter
        self._clock = clock

    async def begin(self, message: Message, digest: str) -> bool:
        """Record the intent to send what ``digest`` names; returns whether this call did it."""
        return await self._db.run_write(lambda tx: messages.begin_sending(tx, message.id, digest))

    async def take_back(self, message: Message) -> None:
        """Withdraw the intent: the message was not sent, or may be sent again."""

        async def write() -> None:
            async with self._db.write() as tx:
                await messages.move(tx, message.id, MessageState.SENDING, MessageState.WANTED)

        # With the intent, the message would not be shown until the next start.
        await persist(write, self._clock)

    async def lose_card(self, message: Message) -> None:
        """A card that is not final may have been sent, and its message's id is unknown.

        It is not sent again, and the final card comes as a new message, unless a press reveals the id before
        (``bind_lost_card``).
        """

        async def write() -> None:
            async with self._db.write() as tx:
                await messages.mark_unreachable(tx, message.id)

        await persist(write, self._clock)

    async def mark_unclear(self, message: Message, old: MessageState) -> tuple[bool, Job | None]:
        """The pictures of a message in the state ``old`` may have been shown: post a text card that offers them.

        Returns whether the message was in that state, and its job.
        """
        async with self._db.write() as tx:
            job = None if message.job_id is None else await jobs.get(tx, message.job_id)
            if not await messages.move(tx, message.id, old, MessageState.UNCLEAR):
                return False, job
            if job is not None and job.forgotten:
                await messages.mark_gone(tx, message.id)
            elif job is not None:
                card = dump_card(self._presenter.unclear(job))
                await messages.add_notice(tx, f"unclear:{message.id}", at_new_message(message.address), card, job.id)
                await jobs.deliver(tx, job.id)
        return True, job


def is_first_card(message: Message) -> bool:
    """Whether the intent of a message in SENDING is about a card that a later one replaces."""
    return message.kind is MessageKind.CARD and bool(message.shown) and not message.shown.startswith(messages.FINAL)


async def shows_result(tx: Tx, item: MessageItem) -> bool:
    """Whether a message shows the asker the job's result, or offers pictures that may not have arrived."""
    if item.job is not None and item.job.state is JobState.CANCELLED:
        # Its person has cancelled it, or a notice says who did and why.
        return item.message.kind is MessageKind.NOTICE and bool(item.job.error)
    if item.job is None or item.message.kind is not MessageKind.NOTICE:
        return item.message.kind in RESULT_KINDS
    rows = await messages.of_job(tx, item.job.id)
    return any(row.kind in RESULT_KINDS and row.state is MessageState.UNCLEAR for row in rows)


async def lost_card(tx: Tx, job_id: int, at: Address) -> Message | None:
    """Return the job's card that was sent to the chat of ``at`` and whose message's id is unknown; None without one."""
    for message in await messages.of_job(tx, job_id):
        here = (message.address.platform, message.address.chat) == (at.platform, at.chat)
        lost = message.state is MessageState.SHOWN and message.address.message is None
        if message.kind is MessageKind.CARD and lost and here:
            return message
    return None


async def bind_lost_card(tx: Tx, message: Message, message_id: str) -> None:
    """Record the id of a lost card's message."""
    address = replace(message.address, message=message_id)
    await tx.execute_fetchall(
        "UPDATE messages SET message = ?, address = ?, updated_at = (julianday('now') - 2440587.5) * 86400.0"
        " WHERE id = ? AND state = 'shown' AND message IS NULL",
        (address.message, dump_address(address), message.id),
    )


@dataclass(frozen=True, slots=True)
class MissedJobs:
    """Ended jobs whose result was shown nowhere.

    Attributes:
        drawn: How many have pictures in the history.
        failed: How many could not be drawn.
        cancelled: How many were cancelled, and not by their person.
        latest: The largest id among them.
    """

    drawn: int
    failed: int
    cancelled: int
    latest: int


_MISSED = RowMapper(
    MissedJobs,
    columns={
        "drawn": "count(*) FILTER (WHERE state IN ('painted', 'delivered'))",
        "failed": "count(*) FILTER (WHERE state = 'failed')",
        "cancelled": "count(*) FILTER (WHERE state = 'cancelled')",
        "latest": "max(jobs.id)",
    },
)


async def mark_missed(tx: aiosqlite.Connection, job_id: int) -> None:
    """The job's result can be shown nowhere: the person is told at the next command, unless they have cancelled it."""
    await tx.execute_fetchall("UPDATE jobs SET missed = 1 WHERE id = ? AND NOT forgotten", (job_id,))


async def missed_by(tx: aiosqlite.Connection, platform: str, user_id: str) -> MissedJobs | None:
    """Return what the person behind an account has missed; None when there is nothing."""
    missed = await _MISSED.fetch(
        tx,
        f"SELECT {_MISSED.columns}"  # noqa: S608 - constants
        " FROM accounts JOIN jobs ON jobs.person_id = accounts.person_id AND jobs.missed = 1"
        f" WHERE platform = ? AND user_id = ? AND NOT forgotten AND {_ENDED_SQL}",
        (platform, user_id),
    )
    return next((one for one in missed if one.latest), None)


async def clear_missed(tx: aiosqlite.Connection, platform: str, user_id: str, latest: int) -> None:
    """The person behind an account was told of all missed jobs up to ``latest``."""
    await tx.execute_fetchall(
        f"UPDATE jobs SET missed = 0 WHERE missed = 1 AND id <= ? AND {_ENDED_SQL} AND person_id ="  # noqa: S608 - a constant
        " (SELECT person_id FROM accounts WHERE platform = ? AND user_id = ?)",
        (latest, platform, user_id),
    )
