"""Pictures on top of the rules: given or lent to somebody, until they expire or what is left is taken back."""

from __future__ import annotations

from bot.audit import changes
from bot.audit.changes import Change, Subject, Undoable, Value
from bot.core.people import Place
from bot.core.quotas import CreditKind
from bot.quotas.store import credits as credit_rows
from bot.quotas.store.credits import Grant
from bot.storage.database import Tx

USUAL_SECONDS = {CreditKind.BONUS: 7 * 86400.0, CreditKind.BORROWED: 86400.0}
"""How long credits last where nobody says."""


async def _get(tx: Tx, subject: Subject) -> Value:
    grant = await credit_rows.of_event(tx, str(subject["event"]))
    return None if grant is None else _value(grant)


async def _put(tx: Tx, subject: Subject, value: Value, set_by: str, now: float) -> None:
    event = str(subject["event"])
    if value is None:
        await credit_rows.revoke(tx, event, now=now)
        return
    place_id = value["place_id"]
    grant = Grant(
        person_id=int(str(value["person_id"])),
        place_id=None if place_id is None else int(str(place_id)),
        kind=CreditKind(str(value["kind"])),
        pictures=int(str(value["pictures"])),
        by_owner=bool(value["by_owner"]),
        expires_at=float(str(value["expires_at"])),
    )
    await credit_rows.give(tx, event, grant, given_by=set_by, now=now)


CREDIT = Undoable("credit", _get, _put)
"""Subject: the ``event`` that gave. Value: the Grant's fields; None takes back what is left."""


async def give(tx: Tx, event: str, grant: Grant, place: Place | None, *, by: str, now: float) -> Grant:
    """Give or lend, once for each event, and write down who did. Nothing is checked here.

    Args:
        tx: A writing transaction.
        event: The platform's own name of what caused it.
        grant: What.
        place: Whose admins may read it in the log and undo it; None: owners alone.
        by: ``platform:user id``, or ``operator``.
        now: Unix seconds.

    Returns:
        What the event gave: the one that is there already when it came before.
    """
    there = await credit_rows.of_event(tx, event)
    if there is not None:
        return there
    if not await credit_rows.was_given(tx, event):
        action = "quota grant" if grant.kind is CreditKind.BONUS else "quota lend"
        await changes.make(tx, Change(CREDIT, action, {"event": event}, _value(grant), place), by=by, now=now)
    return grant


def _value(grant: Grant) -> Value:
    return {
        "person_id": grant.person_id,
        "place_id": grant.place_id,
        "kind": grant.kind.value,
        "pictures": grant.pictures,
        "by_owner": grant.by_owner,
        "expires_at": grant.expires_at,
    }
