"""Quotas for an owner: every rule, changes of rules, and why somebody may ask for so much in a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.audit import changes
from bot.context import AppContext
from bot.core.errors import NotFound
from bot.core.people import Actor, Place
from bot.core.quotas import Limit, RuleTerms, Scope, Unit
from bot.owner import store
from bot.owner.store import KnownPlace
from bot.quotas import cards, usage
from bot.quotas import service as quota_service
from bot.quotas.rules.limits import format_points
from bot.quotas.rules.terms import format_terms
from bot.quotas.store import rules as rule_rows
from bot.storage import people
from bot.storage.database import Tx


@dataclass(frozen=True, slots=True)
class RuleLine:
    """A rule.

    Attributes:
        scope: Whom it is for.
        by_owner: An owner's rule, which is a ceiling, or one of the place's own.
        place: Name of the place; empty if the rule is for no place, or it is not known.
        person: Name of the person; likewise.
        typed: The rule as it is typed.
        words: The rule in words.
    """

    scope: Scope
    by_owner: bool
    place: str
    person: str
    typed: str
    words: str


@dataclass(frozen=True, slots=True)
class RulesView:
    """Every rule: ``usual`` holds for everybody where no other does (``EASEL_QUOTA``)."""

    usual: str
    rules: Sequence[RuleLine]
    places: Sequence[KnownPlace]


@dataclass(frozen=True, slots=True)
class UsedLimit:
    """A limit and what is used of it; amounts are in words, since points have a fraction.

    Attributes:
        words: The limit in words.
        by_owner: Of an owner's rule, or of one of the place's own.
        used: What is used.
        left: What is left; empty for unlimited.
        share: The used share, 0 to 1; None for unlimited.
        returns_at: When more comes back, in Unix seconds; None if nothing is used.
    """

    words: str
    by_owner: bool
    used: str
    left: str
    share: float | None
    returns_at: float | None


@dataclass(frozen=True, slots=True)
class Why:
    """Why somebody may ask for so much in a place.

    Attributes:
        name: The person's name, or their id.
        left: Pictures that they may ask for now; None for unlimited.
        limits: The limits, the tightest first.
        credits: Pictures beyond the limits.
        waiting: Their unfinished requests that count.
        at_once: Most unfinished requests; None for any.
        reasons: Sentences: which rule binds, who set it, and what it overrides.
    """

    name: str
    left: int | None
    limits: Sequence[UsedLimit]
    credits: int
    waiting: int
    at_once: int | None
    reasons: Sequence[str]


async def view(ctx: AppContext, locale: str) -> RulesView:
    """Return every rule in words."""
    async with ctx.db.read() as tx:
        rules = await rule_rows.all_rules(tx)
        lines = [
            RuleLine(
                rule.scope,
                rule.by_owner,
                await _place_name(tx, rule.scope),
                await _person_name(tx, rule.scope),
                format_terms(rule.terms),
                cards.terms_text(rule.terms, locale),
            )
            for rule in rules
        ]
        places = await store.places(tx)
    return RulesView(cards.terms_text(_usual(ctx), locale), lines, places)


def _usual(ctx: AppContext) -> RuleTerms:
    usual = ctx.default_quota
    return RuleTerms(limits=(usual,)) if isinstance(usual, Limit) else usual


async def _place_name(tx: Tx, scope: Scope) -> str:
    if scope.place is None or scope.platform is None:
        return ""
    place_id = await people.find_place(tx, Place(scope.platform, scope.place, ""))
    return "" if place_id is None else (await people.get_place(tx, place_id)).name


async def _person_name(tx: Tx, scope: Scope) -> str:
    if scope.person is None or scope.platform is None:
        return ""
    person = await people.find(tx, scope.platform, scope.person)
    return "" if person is None else person.name


async def set_rule(ctx: AppContext, actor: Actor, rule: str, scope: Scope) -> RuleTerms:
    """Set an owner's rule, a ceiling for the rules of places; returns its terms.

    Raises:
        BadInput: The rule can't be read, names an unknown model, or its scope is incomplete.
    """
    quota_service.check_rule(ctx, rule)
    return await quota_service.set_operator_rule(ctx.db, ctx.clock, rule, scope, by=changes.actor_label(actor))


async def remove_rule(ctx: AppContext, actor: Actor, scope: Scope, *, by_owner: bool) -> RuleTerms:
    """Remove a rule, an owner's or one of a place's own; returns its terms. Raises NotFound, and BadInput."""
    removed = await quota_service.remove_rule_of(
        ctx.db, ctx.clock, scope, by_owner=by_owner, by=changes.actor_label(actor)
    )
    if removed is None:
        raise NotFound("refusal.quota.no_rule")
    return removed


async def why(ctx: AppContext, platform: str, user_id: str, guild: str | None, locale: str) -> Why:
    """Return what binds a person in a place, or in direct messages, and what is used of it.

    The roles of members are known to their platform alone: rules for roles are left out.
    """
    place = Place(platform, guild, "")
    async with ctx.db.read() as tx:
        known = await people.find(tx, platform, user_id)
        name = user_id if known is None or not known.name else known.name
        actor = Actor(platform, user_id, name, is_owner=user_id in ctx.owners.of(platform))
        status = await usage.quota_status(tx, ctx, actor, place)
        rules = await usage.load_rules(tx, ctx, actor, place, None if known is None else known.id)
    reasons = () if actor.is_owner else rules.reasons
    card = cards.why_card(reasons, locale, name=name, roles_known=guild is None)
    limits = []
    for one in status.allowances:
        total, points = one.limit.total, one.limit.unit is Unit.POINTS
        limits.append(
            UsedLimit(
                cards.limit_text(one.limit, locale),
                one.by_owner,
                format_points(one.used) if points else str(one.used),
                "" if one.left is None else format_points(one.left) if points else str(one.left),
                None if not total else min(1.0, one.used / total),
                one.returns_at,
            )
        )
    return Why(
        name,
        status.left,
        limits,
        sum(credit.left for credit in status.credits),
        status.waiting,
        status.terms.at_once,
        card.notes or (card.status,),
    )
