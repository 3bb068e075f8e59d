"""Changes by admins: made and logged in one transaction, and undone."""

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
    """Who changed what, from what to what.

    Attributes:
        number: What it is undone by.
        at: Unix seconds.
        who: The name and account, or ``operator``; data.
        action: The verb, such as ``quota set``; with ``undo`` before it where it took another change back.
        kind: Of what sort; empty for changes that can't be undone.
        subject: What exactly, as it is stored.
        whom: The person whom it is about; data, empty for none.
        place: The place's name; data, empty for the whole service.
        before: The value as it is stored; None for nothing. Text where there is no kind.
        after: Likewise.
        undone: It was taken back.
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
"""What JSON can hold; None where there is nothing (no rule, no ban)."""

Subject: TypeAlias = Mapping[str, str | int | bool | None]
"""Names what is changed."""


@dataclass(frozen=True, slots=True)
class Undoable:
    """One sort of thing that can be changed.

    Attributes:
        name: Stored with each change.
        get: Returns the value of a subject as it is.
        put: Sets it; None takes it away. ``set_by`` and ``now`` (Unix seconds) are kept where the rows have room for them.
    """

    name: str
    get: Callable[[Tx, Subject], Awaitable[Value]]
    put: Callable[[Tx, Subject, Value, str, float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Change:
    """Something that shall be different.

    Attributes:
        kind: Of what sort.
        action: What the log calls it, such as ``quota set``.
        subject: What.
        value: As it shall be.
        place: Whose admins may read and undo it; None is the owners' alone.
    """

    kind: Undoable
    action: str
    subject: Subject
    value: Value
    place: Place | None


async def apply_change(tx: Tx, change: Change, *, by: str, now: float, undoes: int | None = None) -> Value:
    """Make a change and write it down; returns what was there before.

    Args:
        tx: A writing transaction.
        change: What.
        by: ``platform:user id``, or ``operator``.
        now: Unix seconds.
        undoes: The change that this one takes back.
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
    """Take a change back, unless what it changed was changed again since; returns it.

    Args:
        tx: A writing transaction.
        number: Of the change in the log.
        kinds: Every kind by its name.
        place: Whose changes may be undone; None is everybody's (an owner's right).
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
"""Who acts from the command line: the user id there, and what the log calls them."""


def actor_label(actor: Actor) -> str:
    """Return how the log names who acts."""
    return OPERATOR if actor.user_id == OPERATOR and actor.is_owner else f"{actor.platform}:{actor.user_id}"


def _dump(value: Value) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
