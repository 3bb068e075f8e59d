"""The settings that are in effect in a place, and its audit log: lists changes and undoes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bot.access import claims
from bot.access.claims import OWNER
from bot.access.newcomers import ACCESS, access_subject
from bot.access.store import newcomers as access_rows
from bot.audit import changes
from bot.audit import store as audit_rows
from bot.audit.changes import AuditLine, Undoable
from bot.audit.store import AuditEntry
from bot.commands import permissions
from bot.context import AppContext
from bot.core.access import AccessDecision, AccessMode
from bot.core.jobs import ServiceState
from bot.core.people import Actor, Place
from bot.core.quotas import QuotaRule, Reason
from bot.core.strictness import Strictness
from bot.moderation import checks
from bot.moderation import store as moderation_rows
from bot.moderation.bans import BAN
from bot.places import options as place_options
from bot.places.options import OPTION, set_option
from bot.privacy import deletion
from bot.quotas.changes import CREDIT, QUOTA_RULE
from bot.quotas.store import rules as rule_rows
from bot.quotas.usage import TIMEZONE, load_rules
from bot.storage import people, preferences
from bot.storage.database import Tx


@dataclass(frozen=True, slots=True)
class EffectiveSettings:
    """The rules and options of one place.

    Attributes:
        place: Whether it is a server or group; otherwise a chat of one's own.
        reasons: The rules that bind somebody without roles.
        special: Rules for a role, a channel or a person, the owners' and the place's own.
        names: Names of the people whom these are for, by their ids, as far as they are known.
        access: Who may come in on this platform.
        verdict: What an owner has answered this place or person; None where nobody has asked.
        words: How strict it is.
        keep_days: For how long pictures are kept; None is for good.
        zone: The time zone in which days begin.
        log: Whether reports go to a channel of this place.
        paused: Nothing new is taken on here.
        state: What the whole service does.
        roles: How many roles are admins here beside those who manage the place.
        untouched: Nobody has set anything here yet.
        admin: Who asks may set things here.
    """

    place: bool
    reasons: tuple[Reason, ...]
    special: tuple[QuotaRule, ...]
    names: Mapping[str, str]
    access: AccessMode
    verdict: AccessDecision | None
    words: Strictness
    keep_days: float | None
    zone: str
    log: bool
    paused: bool
    state: ServiceState
    roles: int
    untouched: bool
    admin: bool


UTC = "UTC"


async def effective_settings(ctx: AppContext, actor: Actor, place: Place) -> EffectiveSettings:
    """Return what holds in this place for everybody, and whether who asks may set it."""
    kept = await deletion.show_retention(ctx, place)
    anybody = Actor(place.platform, "")
    async with ctx.db.read() as tx:
        place_id = await people.find_place(tx, place)
        said = await people.read_options(tx, place_id)
        own = said.here
        found = await rule_rows.rules_of_place(tx, place.platform, place.guild)
        special = tuple(p for p in found if _special(p, place))
        kind, subject, _ = access_subject(actor, place)
        newcomer = await access_rows.find_newcomer(tx, place.platform, kind, subject)
        zone = own.get(TIMEZONE)
        return EffectiveSettings(
            place=place.guild is not None,
            reasons=(await load_rules(tx, ctx, anybody, place, None)).reasons,
            special=special,
            names=await _names(tx, place.platform, special),
            access=ctx.access_modes.get(place.platform, AccessMode.OPEN),
            verdict=None if newcomer is None else newcomer.verdict,
            words=checks.strictness_of_place(place, said),
            keep_days=kept.days,
            zone=zone if isinstance(zone, str) else UTC,
            log=own.get(moderation_rows.LOG_CHANNEL) not in (None, moderation_rows.LOG_OFF),
            paused=own.get(place_options.PAUSED) is True,
            state=said.state,
            roles=len(await permissions.named(tx, place)),
            untouched=not own and all(p.by_owner or p.scope.place != place.guild for p in found),
            admin=await permissions.is_admin(tx, actor, place),
        )


def _special(policy: QuotaRule, place: Place) -> bool:
    """Whether a rule is for some in this place alone; owners' rules for people are nobody else's business."""
    scope = policy.scope
    if scope.place is None or scope.place != place.guild:
        return False
    return bool(scope.role or scope.channel or (scope.person and not policy.by_owner))


async def _names(tx: Tx, platform: str, special: tuple[QuotaRule, ...]) -> dict[str, str]:
    names = {}
    for user_id in {p.scope.person for p in special if p.scope.person}:
        person = await people.find(tx, platform, user_id)
        if person is not None and person.name:
            names[user_id] = person.name
    return names


async def set_state(ctx: AppContext, actor: Actor, state: ServiceState, place: Place, *, action: str) -> None:
    """Run, drain or pause the whole service. ``place`` is where the owner does it, ``action`` its name in the log."""
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        if await people.get_service_state(tx) is not state:
            value = None if state is ServiceState.RUN else state.value
            by = changes.actor_label(actor)
            await set_option(tx, None, people.STATE, value, action=action, place=place, by=by, now=now)
    ctx.backlog.set_paused(state is ServiceState.PAUSE)


KINDS: Mapping[str, Undoable] = MappingProxyType(
    {kind.name: kind for kind in (ACCESS, BAN, CREDIT, OPTION, OWNER, QUOTA_RULE)}
)
"""Kinds of changes, by name."""


SHOWN = 15
"""Number of changes that are listed, newest first."""


async def list_changes(
    ctx: AppContext, place: Place, *, limit: int = SHOWN, before: int | None = None
) -> tuple[AuditLine, ...]:
    """Return the last changes of a place, or in an owner's direct message of all places.

    Args:
        ctx: The use cases' context.
        place: The place.
        limit: The most changes.
        before: Only changes with a smaller number, of all places alone.
    """
    async with ctx.db.read() as tx:
        if place.guild is None:
            found = await audit_rows.recent(tx, limit, before)
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
    await preferences.refresh(ctx.db, ctx.preferences)
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
