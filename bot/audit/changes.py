"""Changes by admins: makes and logs them in one transaction, and undoes them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from bot.audit import store as audit_rows
from bot.core.errors import BadInput, NotFound
from bot.core.people import Actor, Place
from bot.storage.database import Tx


@dataclass(frozen=True, slots=True)
class AuditLine:
    """A line of the audit log.

    Attributes:
        number: The number that ``easel undo`` takes.
        at: Unix seconds.
        who: The name and account, or ``operator``; data.
        action: The command, such as ``quota set``; with ``undo`` before it where it undid another change.
        kind: Name of its ``Undoable``; empty for changes that can't be undone.
        subject: What was changed, as stored.
        whom: The person that it concerns; data, empty for none.
        place: The place's name; data, empty for the whole service.
        before: The stored value before; None for nothing. Text where there is no kind.
        after: The value after, likewise.
        undone: It was undone.
    """

    number: int
    at: float
    who: str
    action: str
    kind: str
    subject: Mapping[str, object]
    whom: str
    place: str
    before: Mapping[str, object] | str | None
    after: Mapping[str, object] | str | None
    undone: bool


Value: TypeAlias = Mapping[str, object] | None
"""A value as JSON; None for nothing (no rule, no ban)."""

Subject: TypeAlias = Mapping[str, str | int | bool | None]
"""Identifies a setting."""


@dataclass(frozen=True, slots=True)
class Undoable:
    """A kind of setting whose changes can be undone.

    Attributes:
        name: Stored with each change of it.
        get: Returns the current value of a subject.
        put: Sets the value, or removes it for None. Gets the author and the time (Unix seconds) too.
    """

    name: str
    get: Callable[[Tx, Subject], Awaitable[Value]]
    put: Callable[[Tx, Subject, Value, str, float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Change:
    """A change to make.

    Attributes:
        kind: The kind of setting.
        action: Its name in the log, such as ``quota set``.
        subject: The setting.
        value: The new value; None removes it.
        place: The place whose admins may read and undo it; None is for owners alone.
    """

    kind: Undoable
    action: str
    subject: Subject
    value: Value
    place: Place | None


async def apply_change(tx: Tx, change: Change, *, by: str, now: float, undoes: int | None = None) -> Value:
    """Make a change and log it; returns the value before.

    Args:
        tx: A writing transaction.
        change: The change.
        by: ``platform:user id``, or ``operator``.
        now: Unix seconds.
        undoes: Number of the change that this one undoes.
    """
    before = await change.kind.get(tx, change.subject)
    await change.kind.put(tx, change.subject, change.value, by, now)
    await audit_rows.add(
        tx,
        audit_rows.AuditEntry(
            at=now,
            actor=by,
            action=change.action,
            platform=None if change.place is None else change.place.platform,
            place=None if change.place is None else change.place.guild,
            before=_dump(before),
            after=_dump(change.value),
            kind=change.kind.name,
            subject=_dump(change.subject),
            undoes=undoes,
        ),
    )
    return before


async def undo_change(
    tx: Tx, number: int, kinds: Mapping[str, Undoable], place: Place | None, *, by: str, now: float
) -> audit_rows.AuditEntry:
    """Undo a change, and return it.

    Args:
        tx: A writing transaction.
        number: Its number in the log.
        kinds: All kinds by name.
        place: The place whose changes may be undone; None for any, an owner's right.
        by: ``platform:user id``, or ``operator``.
        now: Unix seconds.

    Raises:
        NotFound: There is no such change, or it is another place's.
        BadInput: It was undone already, or changed again since.
    """
    entry = await audit_rows.get(tx, number)
    theirs = entry is not None and (place is None or (entry.platform, entry.place) == (place.platform, place.guild))
    if entry is None or not theirs or entry.kind not in kinds:
        raise NotFound("refusal.change.not_found", n=number)
    kind, subject = kinds[entry.kind], json.loads(entry.subject)
    if await audit_rows.undone(tx, number):
        raise BadInput("refusal.change.undone", n=number)
    if _dump(await kind.get(tx, subject)) != entry.after:
        raise BadInput("refusal.change.newer", n=number)
    where = None if entry.place is None or entry.platform is None else Place(entry.platform, entry.place, "")
    back = Change(kind, f"undo {entry.action}", subject, json.loads(entry.before), where)
    await apply_change(tx, back, by=by, now=now, undoes=number)
    return entry


OPERATOR = "operator"
"""The operator at the command line: their user id there, and their name in the log."""


def actor_label(actor: Actor) -> str:
    """Return an actor's name in the log."""
    return OPERATOR if actor.user_id == OPERATOR and actor.is_owner else f"{actor.platform}:{actor.user_id}"


def _dump(value: Value) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
