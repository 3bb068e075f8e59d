"""The audit log: lists changes and undoes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from bot.access import claims
from bot.access.claims import OWNER
from bot.access.newcomers import ACCESS
from bot.audit import changes
from bot.audit import store as audit_rows
from bot.audit.changes import AuditLine, Undoable
from bot.audit.store import AuditEntry
from bot.commands import permissions
from bot.context import AppContext
from bot.core.jobs import ServiceState
from bot.core.people import Actor, Place
from bot.moderation.bans import BAN
from bot.places.options import OPTION
from bot.quotas.changes import CREDIT, QUOTA_RULE
from bot.storage import people
from bot.storage.database import Tx

KINDS: Mapping[str, Undoable] = MappingProxyType(
    {kind.name: kind for kind in (ACCESS, BAN, CREDIT, OPTION, OWNER, QUOTA_RULE)}
)
"""Kinds of changes, by name."""


SHOWN = 15
"""Number of changes that are listed, newest first."""


async def list_changes(ctx: AppContext, place: Place) -> tuple[AuditLine, ...]:
    """Return the last changes of a place, or in an owner's direct message of all places."""
    async with ctx.db.read() as tx:
        if place.guild is None:
            found = await audit_rows.recent(tx, SHOWN)
        else:
            found = await audit_rows.of_place(tx, place.platform, place.guild, SHOWN)
        return tuple([await _line(tx, entry) for entry in found])


async def undo(ctx: AppContext, actor: Actor, place: Place, number: int) -> AuditLine:
    """Undo a change of this place, or in an owner's direct message any. The command runner has checked rights.

    Raises:
        NotFound: There is no such change here.
        NotAllowed: It changes the admin roles, and the actor is an admin by such a role alone.
        BadInput: It was undone already, or changed again since.
    """
    async with ctx.db.write() as tx:
        within = None if place.guild is None else place
        undone = await changes.undo_change(
            tx, number, KINDS, within, by=changes.actor_label(actor), now=ctx.clock.now()
        )
        if _option(undone) == permissions.ADMIN_ROLES:
            # A refusal rolls the undo back.
            permissions.check_appoints(actor)
        line = await _line(tx, undone)
        held = await people.get_service_state(tx) is ServiceState.PAUSE
    ctx.backlog.set_paused(held)
    await claims.refresh_owners(ctx.db, ctx.owners)
    return line


def _option(entry: AuditEntry) -> str:
    return str(json.loads(entry.subject).get("name", "")) if entry.kind == "option" else ""


async def _line(tx: Tx, entry: AuditEntry) -> AuditLine:
    platform, _, user_id = entry.actor.partition(":")
    who = await people.find(tx, platform, user_id)
    subject = json.loads(entry.subject) if entry.subject else {}
    before, after = (
        json.loads(value) if value and entry.kind else value or None for value in (entry.before, entry.after)
    )
    return AuditLine(
        number=entry.id,
        at=entry.at,
        who=entry.actor if who is None or not who.name else f"{who.name} ({entry.actor})",
        action=entry.action,
        kind=entry.kind,
        subject=subject,
        whom=await _whom(tx, subject),
        place="" if entry.place is None else await _place(tx, entry),
        before=before,
        after=after,
        undone=await audit_rows.undone(tx, entry.id),
    )


async def _whom(tx: Tx, subject: dict[str, object]) -> str:
    """Return the name of the person whom a change is about, or the id where it is not known."""
    user_id = subject.get("user_id") or subject.get("person")
    if user_id is None:
        return ""
    person = await people.find(tx, str(subject.get("platform")), str(user_id))
    return str(user_id) if person is None or not person.name else person.name


async def _place(tx: Tx, entry: AuditEntry) -> str:
    place_id = await people.find_place(tx, Place(str(entry.platform), entry.place, ""))
    known = None if place_id is None else await people.get_place(tx, place_id)
    return str(entry.place) if known is None or not known.name else known.name
