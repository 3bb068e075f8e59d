"""What is shown where: a row is written before anything is sent, and says afterwards how that went."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import aiosqlite

from bot.core.messages import Address, Message, MessageKind, MessageState
from bot.storage.codec import ADDRESS, dump_address
from bot.storage.sql import RowMapper

# Julian days to Unix seconds; works in every SQLite (unixepoch('subsec') needs 3.42).
_NOW = "((julianday('now') - 2440587.5) * 86400.0)"
# The same words as in the partial index messages_open: SQLite uses it only where it finds them.
_OPEN = "state IN ('opening', 'wanted', 'sending')"
# What a notice says, and which files were sent by themselves, is kept until it is shown and no longer.
_SAID = "card = CASE WHEN ? AND (kind = 'notice' OR job_id IS NULL) THEN '' ELSE card END"
_OVER = frozenset({MessageState.SHOWN.value, MessageState.UNCLEAR.value, MessageState.GONE.value})
_MESSAGES = RowMapper(Message, "messages", converters={"address": ADDRESS})

log = logging.getLogger(__name__)

FINAL = "final:"
"""What the digest in ``shown`` starts with once a card was shown that nothing changes any more."""

BARE = ":bare"
"""What the digest ends with where the card was shown without its pictures, since its chat does not take them."""


async def add_card(tx: aiosqlite.Connection, event: str, job_id: int, address: Address, state: MessageState) -> int:
    """Add the card of a job: OPENING when the adapter makes the first answer, else WANTED. Returns the row's id.

    The same event twice is one message: the row that is there stays as it is.
    """
    return await _add(tx, MessageKind.CARD, state, event, address, job_id=job_id)


async def add_notice(
    tx: aiosqlite.Connection, event: str, address: Address, card_json: str, job_id: int | None = None
) -> int:
    """Add a single notice, WANTED; ``card_json`` is ``codec.dump_card(card)``. The same event twice is one notice.

    ``job_id`` only where the notice is about a job: whoever sees the notice may then press that job's buttons there.
    """
    return await _add(tx, MessageKind.NOTICE, MessageState.WANTED, event, address, job_id=job_id, card=card_json)


async def add_files(
    tx: aiosqlite.Connection,
    event: str,
    job_id: int,
    address: Address,
    kind: MessageKind,
    *,
    indexes: Sequence[int] = (),
) -> int:
    """Add an ALBUM or a DOCUMENT (the original files), WANTED; no indexes mean all pictures of the job.

    The same event twice is one sending.
    """
    return await _add(
        tx, kind, MessageState.WANTED, event, address, job_id=job_id, card=",".join(str(i) for i in indexes)
    )


async def pending_files(tx: aiosqlite.Connection, job_id: int, address: Address) -> frozenset[int] | None:
    """Return the pictures whose original files are on their way to a place; ``ALL`` (None) for every picture of the job."""
    coming: set[int] = set()
    for message in await _select(tx, f"WHERE kind = 'document' AND job_id = ? AND {_OPEN}", (job_id,)):
        if _place(message.address) == _place(address):
            if not (indexes := indexes_of(message)):
                return ALL
            coming.update(indexes)
    return frozenset(coming)


def _place(address: Address) -> tuple[str | None, ...]:
    """Where others see what is sent; what is private goes to its person, wherever that is."""
    if address.private:
        return address.platform, address.user
    return address.platform, address.chat, address.thread


async def add_document(tx: aiosqlite.Connection, event: str, address: Address, card_json: str) -> int:
    """Add files that belong to no job, WANTED: the pictures of a card, sent to its person as they are, once."""
    return await _add(tx, MessageKind.DOCUMENT, MessageState.WANTED, event, address, card=card_json)


ALL = None
"""Stands for every picture of a job."""


def addresses_of(message: Message) -> tuple[Address, ...]:
    """Where a shown message is: its card, or each of the messages that its files came in."""
    if message.kind in {MessageKind.CARD, MessageKind.NOTICE}:
        return () if message.address.message is None else (message.address,)
    ids = message.shown.removeprefix(FINAL).split(",")
    return tuple(replace(message.address, message=one) for one in ids if one)


def indexes_of(message: Message) -> tuple[int, ...]:
    """The pictures that an ALBUM or a DOCUMENT is about; empty for all of its job."""
    return tuple(int(i) for i in message.card.split(",") if i)


async def _add(
    tx: aiosqlite.Connection,
    kind: MessageKind,
    state: MessageState,
    event: str,
    address: Address,
    *,
    job_id: int | None = None,
    card: str = "",
) -> int:
    rows = await tx.execute_fetchall(
        f"INSERT INTO messages (kind, state, event, job_id, platform, chat, message, address, card, created_at, updated_at)"  # noqa: S608 - a constant
        f" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, {_NOW}, {_NOW})"
        # An update that changes nothing, so that RETURNING names the row that is there already.
        " ON CONFLICT (event) DO UPDATE SET event = excluded.event RETURNING id",
        (
            kind.value,
            state.value,
            event,
            job_id,
            address.platform,
            address.chat,
            address.message,
            dump_address(address),
            card,
        ),
    )
    return int(next(iter(rows))[0])


async def bind(tx: aiosqlite.Connection, job_id: int, event: str, address: Address) -> bool:
    """The adapter's first answer is at ``address``: OPENING (or WANTED, after a restart) becomes SHOWN.

    Returns whether a row was changed; the row's own message is not known to be final, so delivery edits it next.
    """
    cursor = await tx.execute(
        f"UPDATE messages SET state = 'shown', chat = ?, message = ?, address = ?, updated_at = {_NOW}"  # noqa: S608 - a constant
        " WHERE event = ? AND job_id = ? AND kind = 'card' AND state IN ('opening', 'wanted')",
        (address.chat, address.message, dump_address(address), event, job_id),
    )
    return cursor.rowcount == 1


async def unbind(tx: aiosqlite.Connection, job_id: int, event: str) -> bool:
    """The adapter could not make the first answer: delivery sends the card. Returns whether a row was changed."""
    cursor = await tx.execute(
        f"UPDATE messages SET state = 'wanted', updated_at = {_NOW}"  # noqa: S608 - a constant
        " WHERE event = ? AND job_id = ? AND kind = 'card' AND state = 'opening'",
        (event, job_id),
    )
    return cursor.rowcount == 1


async def move(tx: aiosqlite.Connection, message_id: int, old: MessageState, new: MessageState) -> bool:
    """Change a message's state from ``old`` to ``new``; returns whether this call did it."""
    cursor = await tx.execute(
        f"UPDATE messages SET state = ?, {_SAID}, updated_at = {_NOW} WHERE id = ? AND state = ?",  # noqa: S608 - constants
        (new.value, new.value in _OVER, message_id, old.value),
    )
    return cursor.rowcount == 1


async def begin_sending(tx: aiosqlite.Connection, message_id: int, digest: str) -> bool:
    """Write the intent to send what ``digest`` names: WANTED becomes SENDING. Returns whether this call did it."""
    cursor = await tx.execute(
        f"UPDATE messages SET state = 'sending', shown = ?, updated_at = {_NOW} WHERE id = ? AND state = 'wanted'",  # noqa: S608 - a constant
        (digest, message_id),
    )
    return cursor.rowcount == 1


async def mark_unreachable(tx: aiosqlite.Connection, message_id: int) -> bool:
    """A card was sent or not, and the id of its message is not known: SENDING becomes SHOWN without an id.

    Returns whether a row was changed.
    """
    return await move(tx, message_id, MessageState.SENDING, MessageState.SHOWN)


async def mark_shown(tx: aiosqlite.Connection, message_id: int, address: Address, digest: str) -> bool:
    """The message is at ``address`` and shows what ``digest`` names. Returns whether the row is there."""
    cursor = await tx.execute(
        f"UPDATE messages SET state = 'shown', platform = ?, chat = ?, message = ?, address = ?, shown = ?, {_SAID},"  # noqa: S608 - constants
        f" updated_at = {_NOW} WHERE id = ?",
        (address.platform, address.chat, address.message, dump_address(address), digest, True, message_id),
    )
    return cursor.rowcount == 1


async def mark_gone(tx: aiosqlite.Connection, message_id: int) -> bool:
    """What the message showed is forgotten, and it is gone. Returns whether a row was changed."""
    cursor = await tx.execute(
        f"UPDATE messages SET state = 'gone', unwanted = 0, card = '', shown = '', updated_at = {_NOW} WHERE id = ?",  # noqa: S608 - a constant
        (message_id,),
    )
    return cursor.rowcount == 1


async def has_unwanted(tx: aiosqlite.Connection, job_id: int) -> bool:
    """Whether something still shows a job that was forgotten."""
    rows = await tx.execute_fetchall("SELECT 1 FROM messages WHERE unwanted = 1 AND job_id = ? LIMIT 1", (job_id,))
    return any(True for _ in rows)


async def unwanted_jobs(tx: aiosqlite.Connection) -> tuple[int, ...]:
    """Return the forgotten jobs that something may still show, oldest first."""
    rows = await tx.execute_fetchall("SELECT DISTINCT job_id FROM messages WHERE unwanted = 1 ORDER BY job_id")
    return tuple(row[0] for row in rows)


async def resend(tx: aiosqlite.Connection, message_id: int, address: Address) -> bool:
    """The shown message is gone: delivery sends it anew near ``address``. Returns whether a row was changed."""
    cursor = await tx.execute(
        f"UPDATE messages SET state = 'wanted', message = NULL, address = ?, shown = '', updated_at = {_NOW}"  # noqa: S608 - a constant
        " WHERE id = ? AND state = 'shown'",
        (dump_address(address), message_id),
    )
    return cursor.rowcount == 1


async def redirect(tx: aiosqlite.Connection, message_id: int, address: Address) -> bool:
    """Nothing can be sent where the message belongs: delivery sends it to ``address``. Returns whether a row was changed."""
    cursor = await tx.execute(
        f"UPDATE messages SET state = 'wanted', message = NULL, address = ?, updated_at = {_NOW}"  # noqa: S608 - a constant
        " WHERE id = ? AND state IN ('wanted', 'sending')",
        (dump_address(address), message_id),
    )
    return cursor.rowcount == 1


async def reset_opening(tx: aiosqlite.Connection) -> int:
    """At start: whoever was to make a first answer is gone; delivery sends those cards. Returns how many."""
    cursor = await tx.execute(
        f"UPDATE messages SET state = 'wanted', updated_at = {_NOW} WHERE state = 'opening' AND {_OPEN}"  # noqa: S608 - a constant
    )
    return cursor.rowcount


async def get(tx: aiosqlite.Connection, message_id: int) -> Message | None:
    """Return one message, or None."""
    found = await _select(tx, "WHERE id = ?", (message_id,))
    return found[0] if found else None


async def by_event(tx: aiosqlite.Connection, event: str) -> Message | None:
    """Return the message that an event caused, or None."""
    found = await _select(tx, "WHERE event = ?", (event,))
    return found[0] if found else None


async def of_job(tx: aiosqlite.Connection, job_id: int) -> tuple[Message, ...]:
    """Return the messages of a job, oldest first."""
    return await _select(tx, "WHERE job_id = ? ORDER BY id", (job_id,))


async def wanted(tx: aiosqlite.Connection) -> tuple[Message, ...]:
    """Return what delivery has to send, oldest first."""
    return await _select(tx, f"WHERE state = 'wanted' AND {_OPEN} ORDER BY id")


async def sending(tx: aiosqlite.Connection) -> tuple[Message, ...]:
    """Return the messages whose intent to send was written and nothing after it, oldest first."""
    return await _select(tx, f"WHERE state = 'sending' AND {_OPEN} ORDER BY id")


async def stale_cards(tx: aiosqlite.Connection) -> tuple[Message, ...]:
    """Return cards that are shown but not as the last thing that their ended job has to say (after a restart)."""
    return await _select(
        tx,
        "WHERE kind = 'card' AND state = 'shown' AND shown NOT LIKE 'final:%' AND job_id IN"
        " (SELECT id FROM jobs WHERE state IN ('painted', 'cancelled', 'failed')) ORDER BY id",
    )


async def was_shown_in(tx: aiosqlite.Connection, job_id: int, platform: str, chat: str) -> bool:
    """Whether anything of this job was shown, or may have been, in that chat."""
    rows = await tx.execute_fetchall(
        "SELECT 1 FROM messages WHERE job_id = ? AND platform = ? AND chat = ? LIMIT 1", (job_id, platform, chat)
    )
    return any(True for _ in rows)


async def _select(
    tx: aiosqlite.Connection, where: str, values: Sequence[str | int | float] = ()
) -> tuple[Message, ...]:
    rows = await tx.execute_fetchall(f"SELECT {_MESSAGES.columns} FROM messages {where}", values)  # noqa: S608 - constants
    found = []
    for row in rows:
        try:
            found.append(_MESSAGES.read(row))
        except ValueError as e:
            # A row that another version wrote must not keep the others from being shown.
            log.error("message %d has no address that can be read: %s", row[0], e)
    return tuple(found)
