"""Use cases of quotas: status, rules and credits, from chats and from the command line."""

from __future__ import annotations

from dataclasses import dataclass

from bot.audit.changes import OPERATOR, actor_label
from bot.commands import permissions
from bot.commands.model import Permission
from bot.context import AppContext
from bot.core.durations import parse_span
from bot.core.errors import BadInput, NotFound
from bot.core.people import Actor, Place
from bot.core.ports import Clock
from bot.core.quotas import CreditKind, QuotaRule, QuotaStatus, Reason, RuleTerms, Scope
from bot.core.texts import bounded, shown
from bot.quotas import changes, usage
from bot.quotas.rules.terms import MAX_AMOUNT, parse_terms
from bot.quotas.store import rules as rule_rows
from bot.quotas.store.ledger import Grant
from bot.storage import people
from bot.storage.database import Transactions, Tx


@dataclass(frozen=True, slots=True)
class RuleTarget:
    """The target of a rule, as typed. Without any field: everybody in the place, or everybody in an owner's direct message.

    ``person`` is a user id of the same platform, or ``platform:id``.
    """

    role: str | None = None
    channel: str | None = None
    person: str | None = None


@dataclass(frozen=True, slots=True)
class GivenCredits:
    """A grant, and when it was made (Unix seconds)."""

    grant: Grant
    now: float


async def show_quota(ctx: AppContext, actor: Actor, place: Place) -> QuotaStatus:
    """Return a person's quota status in a place."""
    async with ctx.db.read() as tx:
        return await usage.quota_status(tx, ctx, actor, place)


async def explain(ctx: AppContext, actor: Actor, place: Place) -> tuple[Reason, ...]:
    """Return the rules that apply to a person here, and those that they override; empty for an owner."""
    if actor.is_owner:
        return ()
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        return (await usage.load_rules(tx, ctx, actor, place, None if person is None else person.id)).reasons


async def find_other(
    ctx: AppContext, actor: Actor, place: Place, person: str, *, name: str, roles: tuple[str, ...]
) -> Actor:
    """Return the person whom an admin asks about, as an actor; ``roles`` are those that the platform reports.

    Raises:
        NotAllowed: The actor is no admin here.
        BadInput: The person is of another platform than the place.
    """
    scope = target_scope(actor, place, RuleTarget(person=person))
    assert scope.person is not None
    assert scope.platform is not None
    if (scope.platform, scope.person) == (actor.platform, actor.user_id):
        return actor
    async with ctx.db.read() as tx:
        await permissions.check(tx, actor, place, Permission.ADMIN)
        known = await people.find(tx, scope.platform, scope.person)
    is_owner = scope.person in ctx.owners.of(scope.platform)
    shown_name = name or ("" if known is None else known.name) or scope.person
    return Actor(scope.platform, scope.person, shown_name, roles=roles, is_owner=is_owner)


async def set_rule(
    ctx: AppContext, actor: Actor, place: Place, rule: str, target: RuleTarget | None = None
) -> RuleTerms:
    """Set a place's own rule, for everybody in it or for some; returns its terms.

    In a direct message an owner sets an owner's rule, which is a ceiling for every place.

    Raises:
        BadInput: The rule can't be read, or its target is not possible here.
        OverQuota: The rule allows more than the owner does; names what the owner allows.
    """
    async with ctx.db.write() as tx:
        terms = parse_terms(rule)
        _check_models(ctx, terms)
        scope = target_scope(actor, place, target or RuleTarget())
        by_owner = place.guild is None
        if not by_owner:
            await changes.check_owner_ceiling(tx, ctx, scope, terms)
        by, now = actor_label(actor), ctx.clock.now()
        await changes.change_rule(tx, scope, terms, by_owner=by_owner, by=by, now=now, action="quota set")
    return terms


async def reset_rule(ctx: AppContext, actor: Actor, place: Place, target: RuleTarget | None = None) -> RuleTerms:
    """Remove a rule; returns its terms.

    Raises:
        BadInput: The target is not possible here.
        NotFound: There is no such rule.
    """
    async with ctx.db.write() as tx:
        scope = target_scope(actor, place, target or RuleTarget())
        by, now = actor_label(actor), ctx.clock.now()
        removed = await changes.change_rule(
            tx, scope, None, by_owner=place.guild is None, by=by, now=now, action="quota reset"
        )
    if removed is None:
        raise NotFound("refusal.quota.no_rule")
    return removed


async def give_credits(
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
    """Grant or lend credits: a place's own, or, in an owner's direct message, an owner's, which count everywhere.

    Args:
        ctx: The use cases' context.
        actor: Who gives them.
        place: Where.
        event: The platform's id of the event; the same event again gives nothing more.
        person: To whom, as in RuleTarget.
        number: How many pictures, as typed.
        span: For how long, as typed; None: ``DEFAULT_SECONDS``.
        kind: Given or lent.
        name: What the platform calls the person.

    Raises:
        BadInput: A value can't be read.
        NotFound: There is no such person.
    """
    seconds = changes.DEFAULT_SECONDS[kind] if span is None else parse_span(span)
    pictures = bounded(number, 1, MAX_AMOUNT)
    if pictures is None:
        raise BadInput("refusal.quota.number", value=shown(number), most=MAX_AMOUNT)
    async with ctx.db.write() as tx:
        now = ctx.clock.now()
        scope = target_scope(actor, place, RuleTarget(person=person))
        grant = Grant(
            person_id=await _person_id(tx, scope, name, now),
            place_id=await people.remember_place(tx, place, now=now),
            kind=kind,
            pictures=pictures,
            by_owner=place.guild is None,
            expires_at=now + seconds,
        )
        where = None if place.guild is None else place
        grant = await changes.grant_credits(tx, event, grant, where, by=actor_label(actor), now=now)
    return GivenCredits(grant, now)


def target_scope(actor: Actor, place: Place, target: RuleTarget) -> Scope:
    """Return the scope of a typed target: somebody in the place, or, in a direct message, somebody anywhere.

    Raises:
        BadInput: A role or a channel in a direct message, or a person of another platform than the place.
    """
    platform, person = None, None
    if target.person is not None:
        platform, person = _account(target.person, actor.platform)
    if place.guild is None:
        if target.role is not None or target.channel is not None:
            raise BadInput("refusal.quota.only_there")
        return Scope(platform=platform, person=person)
    if platform not in {None, place.platform}:
        raise BadInput("refusal.quota.elsewhere", value=shown(target.person or ""))
    return Scope(place.platform, place.guild, role=target.role, channel=target.channel, person=person)


def _account(person: str, platform: str) -> tuple[str, str]:
    prefix, colon, user_id = person.partition(":")
    if not (user_id if colon else prefix):
        raise BadInput("refusal.quota.person", value=shown(person))
    return (prefix, user_id) if colon else (platform, prefix)


async def _person_id(tx: Tx, scope: Scope, name: str, now: float) -> int:
    assert scope.platform is not None
    assert scope.person is not None
    known = await people.find(tx, scope.platform, scope.person)
    if known is None:
        # A person whom the platform can name exists, even if they never drew.
        if not name:
            raise NotFound("refusal.quota.person", value=shown(scope.person))
        known = await people.remember(tx, Actor(scope.platform, scope.person, name), now=now)
    return known.id


def _check_models(ctx: AppContext, terms: RuleTerms) -> None:
    known = [profile.name for profile in ctx.profiles()]
    unknown = sorted((terms.models or frozenset()) - set(known))
    if unknown:
        raise BadInput("refusal.model.unknown", value=shown(unknown[0]), known=", ".join(known))


def check_rule(ctx: AppContext, rule: str) -> None:
    """Raise BadInput unless a rule can be read and its models are known."""
    _check_models(ctx, parse_terms(rule))


async def set_operator_rule(
    db: Transactions, clock: Clock, rule: str, scope: Scope, *, by: str = OPERATOR
) -> RuleTerms:
    """Set the owner's rule for a scope, a ceiling for the rules of places; returns its terms. ``by``: who, in the log.

    Raises:
        BadInput: The rule can't be read, or the scope is incomplete.
        Unavailable: The database can't be written.
    """
    terms = parse_terms(rule)
    _check_operator_scope(scope)
    async with db.write() as tx:
        await changes.change_rule(tx, scope, terms, by_owner=True, by=by, now=clock.now(), action="quota set")
    return terms


async def list_rules(db: Transactions) -> tuple[QuotaRule, ...]:
    """Return every stored rule: the owner's first, then those of places."""
    async with db.read() as tx:
        return await rule_rows.all_rules(tx)


async def remove_rule_of(db: Transactions, clock: Clock, scope: Scope, *, by_owner: bool, by: str) -> RuleTerms | None:
    """Remove the rule of exactly this scope, an owner's or the place's own; returns its terms, None if there was none.

    Raises:
        BadInput: The scope is incomplete.
    """
    _check_operator_scope(scope)
    async with db.write() as tx:
        return await changes.change_rule(
            tx, scope, None, by_owner=by_owner, by=by, now=clock.now(), action="quota reset"
        )


async def reset_operator_rules(db: Transactions, clock: Clock, scope: Scope) -> tuple[RuleTerms, ...]:
    """Remove the rules of exactly this scope, the owner's and the place's own; returns their terms.

    Raises:
        BadInput: The scope is incomplete.
        Unavailable: The database can't be written.
    """
    _check_operator_scope(scope)
    async with db.write() as tx:
        removed = [
            await changes.change_rule(
                tx, scope, None, by_owner=by_owner, by=OPERATOR, now=clock.now(), action="quota reset"
            )
            for by_owner in (True, False)
        ]
    return tuple(terms for terms in removed if terms is not None)


def _check_operator_scope(scope: Scope) -> None:
    # Ids of places and people need their platform. Ids of roles and channels need their place.
    if scope.platform is None and (scope.place is not None or scope.person is not None):
        raise BadInput("refusal.quota.scope_platform")
    if (scope.role is not None or scope.channel is not None) and (scope.platform is None or scope.place is None):
        raise BadInput("refusal.quota.scope_place")
