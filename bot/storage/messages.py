"""The table of messages: a row is written before its message is sent, and records the outcome."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace

from bot.core.messages import Address, Message, MessageKind, MessageState
from bot.storage.database import Tx
from bot.storage.sql import ADDRESS, AMONG, RowMapper, dump_address

# Julian days to Unix seconds; works in every SQLite (unixepoch('subsec') needs 3.42).
_NOW = "((julianday('now') - 2440587.5) * 86400.0)"
# The same words as in the partial index messages_open: SQLite uses it only then.
_OPEN = "state IN ('opening', 'wanted', 'sending')"
# The content of a notice, and of files without a job, is stored only until it is shown.
_CLEAR_CARD = "card = CASE WHEN ? AND (kind = 'notice' OR job_id IS NULL) THEN '' ELSE card END"
# The adapter's answer to an event: the card of a job, or a notice that becomes one.
_ANSWER = "kind IN ('card', 'notice') AND (? IS NULL OR job_id = ?)"
_OVER = frozenset({MessageState.SHOWN.value, MessageState.UNCLEAR.value, MessageState.GONE.value})
_MESSAGES = RowMapper(Message, "messages", converters={"address": ADDRESS})

ALL = None
"""All pictures of a job."""

log = logging.getLogger(__name__)

FINAL = "final:"
"""Prefix of the digest in ``shown`` of a card that will not change any more."""

BARE = ":bare"
"""Suffix of the digest of a card that was shown without pictures, because its chat does not accept them."""

# A job's delivery waits for its cards and albums: until they are shown, and until what they replace is removed.
# ``dump_address`` leaves out what an address does not have.
UNSETTLED = (
    "kind IN ('card', 'album') AND state NOT IN ('unclear', 'gone') AND NOT (state = 'shown'"
    f" AND (kind = 'album' OR shown LIKE '{FINAL}%' AND instr(address, '\"replaces\":') = 0))"
)
"""Whether the delivery of a message's job waits for it."""


async def add_card(tx: Tx, event: str, job_id: int, address: Address, state: MessageState) -> int:
    """Add the card of a job: OPENING if the adapter sends the first answer, else WANTED. Returns the row's id.

    An event has one message. A notice of the same event becomes the job's card, wherever it is shown; any other row is
    left as it is.
    """
    await tx.execute_fetchall(
        f"UPDATE messages SET kind = 'card', job_id = ?, card = '', shown = '',"  # noqa: S608 - a constant
        f" state = CASE state WHEN 'gone' THEN 'wanted' ELSE state END, updated_at = {_NOW}"
        " WHERE event = ? AND kind = 'notice' AND job_id IS NULL",
        (job_id, event),
    )
    return await _add(tx, MessageKind.CARD, state, event, address, job_id=job_id)


async def add_notice(
    tx: Tx,
    event: str,
    address: Address,
    card_json: str,
    job_id: int | None = None,
    *,
    state: MessageState = MessageState.WANTED,
    shown: str = "",
) -> int:
    """Add a notice; ``card_json`` is ``codec.dump_card(card)``. An event has one notice. Returns the row's id.

    Args:
        tx: A writing transaction.
        event: Its event.
        address: Where to send it.
        card_json: The card.
        job_id: Only for a notice about a job: people who see the notice may then press that job's buttons there.
        state: OPENING if the adapter sends it as the first answer, else WANTED.
        shown: Digest of the card, if the adapter sends it.
    """
    return await _add(tx, MessageKind.NOTICE, state, event, address, job_id=job_id, card=card_json, shown=shown)


async def replace_notice(tx: Tx, event: str, card_json: str) -> bool:
    """Give a notice another card: it is sent, or edited where the notice is shown. Returns whether there is one."""
    cursor = await tx.execute(
        f"UPDATE messages SET card = ?, updated_at = {_NOW}"  # noqa: S608 - a constant
        " WHERE event = ? AND kind = 'notice' AND job_id IS NULL AND state <> 'gone'",
        (card_json, event),
    )
    return cursor.rowcount == 1


async def add_files(
    tx: Tx,
    event: str,
    job_id: int,
    address: Address,
    kind: MessageKind,
    *,
    indexes: Sequence[int] = (),
) -> int:
    """Add an ALBUM or a DOCUMENT (original files) in state WANTED. An event has one such message.

    Args:
        tx: A writing transaction.
        event: The event that asked for it.
        job_id: The job.
        address: Where to send it.
        kind: ALBUM or DOCUMENT.
        indexes: The pictures; empty for all of the job.
    """
    return await _add(
        tx, kind, MessageState.WANTED, event, address, job_id=job_id, card=",".join(str(i) for i in indexes)
    )


async def pending_files(tx: Tx, job_id: int, address: Address) -> frozenset[int] | None:
    """Return the pictures whose original files are still to be sent to a place; ``ALL`` (None) for all of the job."""
    coming: set[int] = set()
    for message in await _select(tx, f"WHERE kind = 'document' AND job_id = ? AND {_OPEN}", (job_id,)):
        if _place(message.address) == _place(address):
            if not (indexes := indexes_of(message)):
                return ALL
            coming.update(indexes)
    return frozenset(coming)


def _place(address: Address) -> tuple[str | None, ...]:
    """Return the place in which others see the message; a private message goes to its person, from any place."""
    if address.private:
        return address.platform, address.user
    return address.platform, address.chat, address.thread


async def add_document(tx: Tx, event: str, address: Address, card_json: str) -> int:
    """Add files that belong to no job, in state WANTED: the pictures of a card are sent to its person as files."""
    return await _add(tx, MessageKind.DOCUMENT, MessageState.WANTED, event, address, card=card_json)


def addresses_of(message: Message) -> tuple[Address, ...]:
    """Return the addresses of a shown message: those of its card and of what it replaces, or of each message with its files."""
    if message.kind in {MessageKind.CARD, MessageKind.NOTICE}:
        ids = [one for one in (message.address.replaces, message.address.message) if one is not None]
        return tuple(replace(message.address, message=one, replaces=None) for one in ids)
    ids = message.shown.removeprefix(FINAL).split(",")
    return tuple(replace(message.address, message=one) for one in ids if one)


def indexes_of(message: Message) -> tuple[int, ...]:
    """Return the indexes of the pictures of an ALBUM or a DOCUMENT; empty for all of its job."""
    return tuple(int(i) for i in message.card.split(",") if i)


async def _add(
    tx: Tx,
    kind: MessageKind,
    state: MessageState,
    event: str,
    address: Address,
    *,
    job_id: int | None = None,
    card: str = "",
    shown: str = "",
) -> int:
    rows = await tx.execute_fetchall(
        "INSERT INTO messages"  # noqa: S608 - a constant
        " (kind, state, event, job_id, platform, chat, message, address, card, shown, created_at, updated_at)"
        f" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {_NOW}, {_NOW})"
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
            shown,
        ),
    )
    return int(next(iter(rows))[0])


async def bind(tx: Tx, job_id: int | None, event: str, address: Address) -> bool:
    """Record the adapter's first answer: OPENING (or WANTED, after a restart) becomes SHOWN.

    ``job_id`` is None if the answer was a notice, whose job may be stored by now. Returns whether a row was changed. The
    message does not count as final, so delivery edits it next.
    """
    cursor = await tx.execute(
        f"UPDATE messages SET state = 'shown', chat = ?, message = ?, address = ?, updated_at = {_NOW}"  # noqa: S608 - a constant
        f" WHERE event = ? AND {_ANSWER} AND state IN ('opening', 'wanted')",
        (address.chat, address.message, dump_address(address), event, job_id, job_id),
    )
    return cursor.rowcount == 1


async def unbind(tx: Tx, job_id: int | None, event: str) -> bool:
    """Let delivery send the answer, because the adapter could not. Returns whether a row was changed.

    ``job_id`` as in ``bind``.
    """
    cursor = await tx.execute(
        f"UPDATE messages SET state = 'wanted', updated_at = {_NOW}"  # noqa: S608 - a constant
        f" WHERE event = ? AND {_ANSWER} AND state = 'opening'",
        (event, job_id, job_id),
    )
    return cursor.rowcount == 1


async def move(tx: Tx, message_id: int, old: MessageState, new: MessageState) -> bool:
    """Change a message's state by compare-and-swap; return whether this call changed it."""
    cursor = await tx.execute(
        f"UPDATE messages SET state = ?, {_CLEAR_CARD}, updated_at = {_NOW} WHERE id = ? AND state = ?",  # noqa: S608 - constants
        (new.value, new.value in _OVER, message_id, old.value),
    )
    return cursor.rowcount == 1


async def begin_sending(tx: Tx, message_id: int, digest: str) -> bool:
    """Record that the content of ``digest`` is about to be sent: WANTED becomes SENDING. Returns whether this call did it."""
    cursor = await tx.execute(
        f"UPDATE messages SET state = 'sending', shown = ?, updated_at = {_NOW} WHERE id = ? AND state = 'wanted'",  # noqa: S608 - a constant
        (digest, message_id),
    )
    return cursor.rowcount == 1


async def mark_unreachable(tx: Tx, message_id: int) -> bool:
    """Record that a card may have been sent and its message id is unknown: SENDING becomes SHOWN without an id.

    Returns whether a row was changed.
    """
    return await move(tx, message_id, MessageState.SENDING, MessageState.SHOWN)


async def mark_shown(tx: Tx, message_id: int, address: Address, digest: str) -> bool:
    """Record that the message is at ``address`` and shows the content of ``digest``. Returns whether the row exists."""
    cursor = await tx.execute(
        f"UPDATE messages SET state = 'shown', platform = ?, chat = ?, message = ?, address = ?, shown = ?, {_CLEAR_CARD},"  # noqa: S608 - constants
        f" updated_at = {_NOW} WHERE id = ?",
        (address.platform, address.chat, address.message, dump_address(address), digest, True, message_id),
    )
    return cursor.rowcount == 1


async def mark_notice_shown(tx: Tx, message_id: int, address: Address, digest: str, card_json: str) -> bool:
    """Record that a notice is at ``address`` and shows ``card_json``, whose digest is ``digest``.

    Returns whether it is up to date. If it has become the card of a job or has another card meanwhile, it is to be edited.
    """
    rows = await tx.execute_fetchall(
        "UPDATE messages SET state = 'shown', platform = ?, chat = ?, message = ?, address = ?,"  # noqa: S608 - a constant
        f" shown = CASE WHEN card = ? THEN ? ELSE '' END, card = CASE WHEN card = ? THEN '' ELSE card END, updated_at = {_NOW}"
        " WHERE id = ? RETURNING kind = 'notice' AND card = ''",
        (
            address.platform,
            address.chat,
            address.message,
            dump_address(address),
            card_json,
            digest,
            card_json,
            message_id,
        ),
    )
    return any(row[0] for row in rows)


async def mark_gone(tx: Tx, message_id: int) -> bool:
    """Record that the message was removed, with its content. Returns whether a row was changed."""
    cursor = await tx.execute(
        f"UPDATE messages SET state = 'gone', unwanted = 0, card = '', shown = '', updated_at = {_NOW} WHERE id = ?",  # noqa: S608 - a constant
        (message_id,),
    )
    return cursor.rowcount == 1


async def has_unwanted(tx: Tx, job_id: int) -> bool:
    """Whether a message still shows a job whose data was deleted."""
    rows = await tx.execute_fetchall("SELECT 1 FROM messages WHERE unwanted = 1 AND job_id = ? LIMIT 1", (job_id,))
    return any(True for _ in rows)


async def unwanted_jobs(tx: Tx) -> tuple[int, ...]:
    """Return the jobs whose data was deleted and that a message may still show, oldest first."""
    rows = await tx.execute_fetchall("SELECT DISTINCT job_id FROM messages WHERE unwanted = 1 ORDER BY job_id")
    return tuple(row[0] for row in rows)


async def resend(tx: Tx, message_id: int, address: Address) -> bool:
    """Let delivery send the message again near ``address``, because it was deleted. Returns whether a row was changed."""
    cursor = await tx.execute(
        f"UPDATE messages SET state = 'wanted', message = NULL, address = ?, shown = '', updated_at = {_NOW}"  # noqa: S608 - a constant
        " WHERE id = ? AND state = 'shown'",
        (dump_address(address), message_id),
    )
    return cursor.rowcount == 1


async def redirect(tx: Tx, message_id: int, address: Address) -> bool:
    """Let delivery send the message to ``address``, because its chat is closed. Returns whether a row was changed."""
    cursor = await tx.execute(
        f"UPDATE messages SET state = 'wanted', message = NULL, address = ?, updated_at = {_NOW}"  # noqa: S608 - a constant
        " WHERE id = ? AND state IN ('wanted', 'sending')",
        (dump_address(address), message_id),
    )
    return cursor.rowcount == 1


async def hand_over(tx: Tx, message_id: int, job_id: int) -> None:
    """Let the card show another job from now on."""
    await tx.execute_fetchall("UPDATE messages SET job_id = ? WHERE id = ? AND kind = 'card'", (job_id, message_id))


async def of_waiting_jobs(tx: Tx, platform: str, chat: str) -> tuple[Message, ...]:
    """Return the cards of the held and queued jobs in a chat, oldest first."""
    return await _select(
        tx,
        # The same words as in the partial index jobs_open: SQLite uses it only then.
        "WHERE kind = 'card' AND platform = ? AND chat = ? AND job_id IN (SELECT id FROM jobs WHERE state IN"
        " ('held', 'queued') AND state IN ('held', 'queued', 'running', 'painted')) ORDER BY id",
        (platform, chat),
    )


async def of_waiting_jobs_in_place(tx: Tx, place_id: int) -> tuple[Message, ...]:
    """Return the cards of the held and queued jobs of a server or group, oldest first."""
    return await _select(
        tx,
        "WHERE kind = 'card' AND job_id IN (SELECT id FROM jobs WHERE place_id = ? AND state IN ('held', 'queued')"
        " AND state IN ('held', 'queued', 'running', 'painted')) ORDER BY id",
        (place_id,),
    )


async def reset_opening(tx: Tx) -> int:
    """After a restart, let delivery send the cards that adapters had to send. Returns how many."""
    cursor = await tx.execute(
        f"UPDATE messages SET state = 'wanted', updated_at = {_NOW} WHERE state = 'opening' AND {_OPEN}"  # noqa: S608 - a constant
    )
    return cursor.rowcount


async def get(tx: Tx, message_id: int) -> Message | None:
    """Return a message, or None."""
    found = await _select(tx, "WHERE id = ?", (message_id,))
    return found[0] if found else None


async def by_event(tx: Tx, event: str) -> Message | None:
    """Return the message of an event, or None."""
    found = await _select(tx, "WHERE event = ?", (event,))
    return found[0] if found else None


async def of_job(tx: Tx, job_id: int) -> tuple[Message, ...]:
    """Return the messages of a job, oldest first."""
    return await _select(tx, "WHERE job_id = ? ORDER BY id", (job_id,))


async def of_jobs(tx: Tx, job_ids: Sequence[int]) -> dict[int, tuple[Message, ...]]:
    """Return the messages of several jobs, oldest first, by job; a job without messages has an empty tuple."""
    found: dict[int, tuple[Message, ...]] = dict.fromkeys(job_ids, ())
    for message in await _select(tx, f"WHERE job_id IN {AMONG} ORDER BY id", (json.dumps(list(job_ids)),)):
        if message.job_id is not None:
            found[message.job_id] += (message,)
    return found


async def wanted(tx: Tx) -> tuple[Message, ...]:
    """Return the messages that delivery has to send, oldest first."""
    return await _select(tx, f"WHERE state = 'wanted' AND {_OPEN} ORDER BY id")


async def outdated(tx: Tx) -> tuple[Message, ...]:
    """Return the notices that are shown and whose card was replaced, oldest first."""
    # The same words as in the partial index messages_outdated: SQLite uses it only then.
    return await _select(tx, "WHERE kind = 'notice' AND state = 'shown' AND card <> '' ORDER BY id")


async def sending(tx: Tx) -> tuple[Message, ...]:
    """Return the messages in state SENDING, oldest first."""
    return await _select(tx, f"WHERE state = 'sending' AND {_OPEN} ORDER BY id")


async def stale_cards(tx: Tx) -> tuple[Message, ...]:
    """Return the cards of ended jobs that do not show the end yet (after a restart)."""
    return await _select(
        tx,
        "WHERE kind = 'card' AND state = 'shown' AND shown NOT LIKE 'final:%' AND job_id IN"
        " (SELECT id FROM jobs WHERE state IN ('painted', 'cancelled', 'failed')) ORDER BY id",
    )


async def was_shown_in(tx: Tx, job_id: int, platform: str, chat: str) -> bool:
    """Whether a message about this job was sent, or may have been sent, in that chat."""
    rows = await tx.execute_fetchall(
        "SELECT 1 FROM messages WHERE job_id = ? AND platform = ? AND chat = ? LIMIT 1", (job_id, platform, chat)
    )
    return any(True for _ in rows)


async def _select(tx: Tx, where: str, values: Sequence[str | int | float] = ()) -> tuple[Message, ...]:
    rows = await tx.execute_fetchall(f"SELECT {_MESSAGES.columns} FROM messages {where}", values)  # noqa: S608 - constants
    found = []
    for row in rows:
        try:
            found.append(_MESSAGES.read(row))
        except ValueError as e:
            # A row that another version wrote must not keep the others from being shown.
            log.error("message %d has no address that can be read: %s", row[0], e)
    return tuple(found)
