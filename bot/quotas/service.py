"""Quotas as people in chats see them: what is left and why, and the rules and credits of a place."""

from __future__ import annotations

from dataclasses import dataclass

from bot.audit import changes
from bot.commands import permissions
from bot.commands.model import Permission
from bot.context import AppContext
from bot.core.durations import parse_span
from bot.core.errors import BadInput, NotFound
from bot.core.people import Actor, Place
from bot.core.quotas import CreditKind, QuotaStatus, Reason, RuleTerms, Scope
from bot.core.texts import bounded, shown
from bot.quotas import changes as credit_changes
from bot.quotas import changes as rule_changes
from bot.quotas import rules
from bot.quotas.quota_status import bind, quota_status
from bot.quotas.store.credits import Grant
from bot.storage import people
from bot.storage.database import Tx


@dataclass(frozen=True, slots=True)
class Whom:
    """Whom a rule is for, as it was typed: nothing is everybody in the place (or, of an owner alone, everybody at all).

    ``person`` is a user id of the same platform, or ``platform:id``.
    """

    role: str | None = None
    channel: str | None = None
    person: str | None = None


@dataclass(frozen=True, slots=True)
class GivenCredits:
    """What was given: pictures, their kind, and until when (Unix seconds)."""

    grant: Grant
    now: float


async def show(ctx: AppContext, actor: Actor, place: Place) -> QuotaStatus:
    """Return what is left for somebody, and under which rules."""
    async with ctx.db.read() as tx:
        return await quota_status(tx, ctx, actor, place)


async def why(ctx: AppContext, actor: Actor, place: Place) -> tuple[Reason, ...]:
    """Return which rules bind somebody here, and which of them they take the place of; nothing for an owner."""
    if actor.is_owner:
        return ()
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        return (await bind(tx, ctx, actor, place, None if person is None else person.id)).reasons


async def other(
    ctx: AppContext, actor: Actor, place: Place, person: str, *, name: str, roles: tuple[str, ...]
) -> Actor:
    """Return somebody whom an admin asks about, as an actor; ``roles`` as far as the platform says them.

    Raises:
        NotAllowed: Only admins here may ask about others.
        BadInput: In a place, they must be of its platform.
    """
    scope = scope_of(actor, place, Whom(person=person))
    assert scope.person is not None
    assert scope.platform is not None
    if (scope.platform, scope.person) == (actor.platform, actor.user_id):
        return actor
    async with ctx.db.read() as tx:
        await permissions.check(tx, actor, place, Permission.ADMIN)
        known = await people.find(tx, scope.platform, scope.person)
    is_owner = scope.person in ctx.owners.of(scope.platform)
    known_as = name or ("" if known is None else known.name) or scope.person
    return Actor(scope.platform, scope.person, known_as, roles=roles, is_owner=is_owner)


async def set_rule(ctx: AppContext, actor: Actor, place: Place, rule: str, whom: Whom | None = None) -> RuleTerms:
    """Set this place's own rule, for everybody in it or for some; returns it as it was understood.

    An owner in a direct message sets the owner's rule, which is a ceiling for every place.

    Raises:
        BadInput: The rule can't be read, or nobody can be meant by it here.
        OverQuota: It is above the owner's ceiling, which the sentence names.
    """
    async with ctx.db.write() as tx:
        terms = rules.parse_terms(rule)
        _check_models(ctx, terms)
        scope = scope_of(actor, place, whom or Whom())
        by_owner = place.guild is None
        if not by_owner:
            await rule_changes.check_ceiling(tx, ctx, scope, terms)
        by, now = changes.actor_label(actor), ctx.clock.now()
        await rule_changes.rule_change(tx, scope, terms, by_owner=by_owner, by=by, now=now, action="quota set")
    return terms


async def reset(ctx: AppContext, actor: Actor, place: Place, whom: Whom | None = None) -> RuleTerms:
    """Take such a rule away; returns it. Raises BadInput, and NotFound where there is none."""
    async with ctx.db.write() as tx:
        scope = scope_of(actor, place, whom or Whom())
        by, now = changes.actor_label(actor), ctx.clock.now()
        gone = await rule_changes.rule_change(
            tx, scope, None, by_owner=place.guild is None, by=by, now=now, action="quota reset"
        )
    if gone is None:
        raise NotFound("refusal.quota.no_rule")
    return gone


async def give(
    ctx: AppContext,
    actor: Actor,
    place: Place,
    *,
    event: str,
    person: str,
    number: str,
    span: str | None,
    kind: CreditKind,
    name: str = "",
) -> GivenCredits:
    """Give or lend somebody pictures: in a place its own, from an owner in a direct message an owner's, for everywhere.

    Args:
        ctx: What use cases work with.
        actor: Who gives.
        place: Where.
        event: The platform's own name of it; the same event again gives nothing more.
        person: To whom, as in Whom.
        number: How many pictures, as typed.
        span: For how long, as typed; None for the usual time.
        kind: Given, or lent.
        name: What the platform calls them.

    Raises:
        BadInput: A value can't be read.
        NotFound: Nobody is known by that id.
    """
    seconds = credit_changes.USUAL_SECONDS[kind] if span is None else parse_span(span)
    pictures = bounded(number, 1, rules.MOST)
    if pictures is None:
        raise BadInput("refusal.quota.number", value=shown(number), most=rules.MOST)
    async with ctx.db.write() as tx:
        now = ctx.clock.now()
        scope = scope_of(actor, place, Whom(person=person))
        grant = Grant(
            person_id=await _person_id(tx, scope, name, now),
            place_id=await people.remember_place(tx, place, now=now),
            kind=kind,
            pictures=pictures,
            by_owner=place.guild is None,
            expires_at=now + seconds,
        )
        where = None if place.guild is None else place
        grant = await credit_changes.credit_change(tx, event, grant, where, by=changes.actor_label(actor), now=now)
    return GivenCredits(grant, now)


def scope_of(actor: Actor, place: Place, whom: Whom) -> Scope:
    """Return whom a typed rule is for: in a place somebody there, in a direct message somebody anywhere.

    Raises:
        BadInput: A role or a channel in a direct message, or a person of another platform in a place.
    """
    platform, person = None, None
    if whom.person is not None:
        platform, person = _account(whom.person, actor.platform)
    if place.guild is None:
        if whom.role is not None or whom.channel is not None:
            raise BadInput("refusal.quota.only_there")
        return Scope(platform=platform, person=person)
    if platform not in {None, place.platform}:
        raise BadInput("refusal.quota.elsewhere", value=shown(whom.person or ""))
    return Scope(place.platform, place.guild, role=whom.role, channel=whom.channel, person=person)


def _account(person: str, platform: str) -> tuple[str, str]:
    named, colon, user_id = person.partition(":")
    if not (user_id if colon else named):
        raise BadInput("refusal.quota.person", value=shown(person))
    return (named, user_id) if colon else (platform, named)


async def _person_id(tx: Tx, scope: Scope, name: str, now: float) -> int:
    assert scope.platform is not None
    assert scope.person is not None
    known = await people.find(tx, scope.platform, scope.person)
    if known is None:
        # Whom the platform has a name for is there, even if they never drew.
        if not name:
            raise NotFound("refusal.quota.person", value=shown(scope.person))
        known = await people.remember(tx, Actor(scope.platform, scope.person, name), now=now)
    return known.id


def _check_models(ctx: AppContext, terms: RuleTerms) -> None:
    known = [profile.name for profile in ctx.profiles()]
    unknown = sorted((terms.models or frozenset()) - set(known))
    if unknown:
        raise BadInput("refusal.model.unknown", value=shown(unknown[0]), known=", ".join(known))
