"""Rule resolution: which quota rules apply to a person in a place, and the checks of one request against them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bot.core.errors import Key, OverQuota
from bot.core.people import Actor, Place
from bot.core.quotas import Dimension, Limit, QuotaRule, Reason, RuleTerms, Scope, Unit
from bot.quotas.rules.terms import format_limit, format_pixels, format_terms

_SIDES = (True, False)  # by_owner: the owner's rules, then the place's own
BY_OWNER, BY_PLACE = Key("quota.by.owner"), Key("quota.by.place")


@dataclass(frozen=True, slots=True)
class EffectiveRules:
    """The rules that apply: the owner's and the place's own, with at most one Reason per side and dimension."""

    reasons: tuple[Reason, ...]

    def reason(self, dimension: Dimension, *, by_owner: bool) -> Reason | None:
        """Return the rules that apply in one dimension; None if there are none."""
        return next((r for r in self.reasons if r.dimension is dimension and r.by_owner is by_owner), None)

    def maximum(self, dimension: Dimension, *, by_owner: bool) -> int | None:
        """Return the largest allowed value in AT_ONCE, COUNT, PIXELS or STEPS; None: any."""
        reason = self.reason(dimension, by_owner=by_owner)
        values = [] if reason is None else [rule.terms.maximum(dimension) for rule in reason.rules]
        # The most generous of several roles counts. A rule without a value here is an exemption.
        return None if None in values else max((value for value in values if value is not None), default=None)

    def models(self, *, by_owner: bool) -> frozenset[str] | None:
        """Return the names of the allowed models; None: any."""
        reason = self.reason(Dimension.MODELS, by_owner=by_owner)
        sets = [] if reason is None else [rule.terms.models for rule in reason.rules]
        if not sets or None in sets:
            return None
        return frozenset[str]().union(*(models for models in sets if models is not None))

    def request_terms(self) -> RuleTerms:
        """Return what applies to each single request, both sides combined; its limits are empty."""

        def lowest(dimension: Dimension) -> int | None:
            values = (self.maximum(dimension, by_owner=by_owner) for by_owner in _SIDES)
            return min((value for value in values if value is not None), default=None)

        models = [found for by_owner in _SIDES if (found := self.models(by_owner=by_owner)) is not None]
        return RuleTerms(
            at_once=lowest(Dimension.AT_ONCE),
            count=lowest(Dimension.COUNT),
            pixels=lowest(Dimension.PIXELS),
            steps=lowest(Dimension.STEPS),
            models=frozenset.intersection(*models) if models else None,
        )


@dataclass(frozen=True, slots=True)
class RequestedAmounts:
    """The parts of one request that rules check.

    Attributes:
        count: Pictures.
        width: Pixels.
        height: Pixels.
        steps: Denoising steps.
        model: A profile's name.
    """

    count: int
    width: int
    height: int
    steps: int
    model: str


@dataclass(frozen=True, slots=True)
class WaitingJobs:
    """One person's unfinished jobs (held, queued or running).

    Attributes:
        everywhere: How many.
        here: How many of them in the place.
        in_channel: How many of those in its channel.
        first: The id of the oldest; None if there is none.
    """

    everywhere: int = 0
    here: int = 0
    in_channel: int = 0
    first: int | None = None


def resolve_rules(
    actor: Actor,
    place: Place,
    rules: Iterable[QuotaRule],
    default: Limit | RuleTerms,
    *,
    accounts: Collection[str] = (),
) -> EffectiveRules:
    """Choose the rules that apply to a person in a place.

    The owner's rules and the place's own apply both. Within a side, each dimension is resolved separately: person beats
    role, role beats channel, channel beats place, place beats platform. Of several roles, the most generous counts.

    Args:
        actor: The account that acts. Owners are not exempt here.
        place: Where.
        rules: Candidates; those that do not match are ignored.
        default: The owner's rule for everybody (``EASEL_QUOTA``), used where no stored rule replaces it.
        accounts: The person's other user ids on this platform. Rules for a person apply to all of their accounts.
    """
    ids = {actor.user_id, *accounts}
    matching = [rule for rule in rules if matches(rule.scope, actor, place, ids)]
    owner_rules = [rule for rule in matching if rule.by_owner]
    owner_rules.append(QuotaRule(0, Scope(), default_terms(default), by_owner=True))
    # A place's own rule applies in that place alone, whatever its row says.
    place_rules = [rule for rule in matching if not rule.by_owner and rule.scope.place is not None]
    reasons = (
        _resolve(dimension, side, by_owner=by_owner)
        for dimension in Dimension
        for by_owner, side in ((True, owner_rules), (False, place_rules))
    )
    return EffectiveRules(tuple(reason for reason in reasons if reason is not None))


def default_terms(default: Limit | RuleTerms) -> RuleTerms:
    """Return the default rule as terms; a bare limit becomes terms with that limit alone."""
    return RuleTerms(limits=(default,)) if isinstance(default, Limit) else default


def matches(scope: Scope, actor: Actor, place: Place, ids: Collection[str]) -> bool:
    """Return whether a scope includes a person with these user ids in this place."""
    here = actor.platform == place.platform and place.guild is not None
    return (
        scope.platform in {None, actor.platform}
        and (scope.place is None or (here and scope.place == place.guild))
        and (scope.channel is None or (here and scope.channel == place.channel))
        and (scope.role is None or scope.role in actor.roles)
        and (scope.person is None or scope.person in ids)
    )


def specificity(scope: Scope) -> tuple[bool, ...]:
    """Return the sort key of a scope; the greater one wins."""
    return tuple(part is not None for part in (scope.person, scope.role, scope.channel, scope.place, scope.platform))


def _resolve(dimension: Dimension, rules: Sequence[QuotaRule], *, by_owner: bool) -> Reason | None:
    # A stored rule for everybody comes before the default, which has no row.
    ranked = sorted(
        (rule for rule in rules if rule.terms.decides(dimension)),
        key=lambda rule: (specificity(rule.scope), rule.id > 0),
        reverse=True,
    )
    if not ranked:
        return None
    first = (specificity(ranked[0].scope), ranked[0].id > 0)
    applied = [rule for rule in ranked if (specificity(rule.scope), rule.id > 0) == first]
    return Reason(dimension, by_owner, tuple(applied), tuple(ranked[len(applied) :]))


def check_request(rules: EffectiveRules, requested: RequestedAmounts) -> None:
    """Raise OverQuota if the request alone exceeds a rule; names the allowed value and whose rule it is."""
    for by_owner in _SIDES:
        models = rules.models(by_owner=by_owner)
        if models is not None and requested.model not in models:
            known = ", ".join(sorted(models))
            raise OverQuota("refusal.quota.models", model=requested.model, known=known, by=_by(by_owner=by_owner))
    pixels = requested.width * requested.height
    if exceeded := _exceeded(rules, Dimension.PIXELS, pixels):
        size = f"{requested.width}x{requested.height}"
        raise OverQuota("refusal.quota.pixels", size=size, most=format_pixels(exceeded[0]), by=exceeded[1])
    if exceeded := _exceeded(rules, Dimension.STEPS, requested.steps):
        raise OverQuota("refusal.quota.steps", wanted=requested.steps, most=exceeded[0], by=exceeded[1])
    if exceeded := _exceeded(rules, Dimension.COUNT, requested.count):
        raise OverQuota("refusal.quota.count", wanted=requested.count, n=exceeded[0], by=exceeded[1])


def check_waiting(rules: EffectiveRules, waiting: WaitingJobs, eta: Callable[[int], float | None]) -> None:
    """Raise OverQuota if the person already has as many unfinished jobs as a rule allows.

    Args:
        rules: The rules that apply.
        waiting: Their unfinished jobs, without the requested one.
        eta: Returns the seconds until a job is expected to be done; None: not known.
    """
    for by_owner in _SIDES:
        most = rules.maximum(Dimension.AT_ONCE, by_owner=by_owner)
        n = count_waiting(rules, waiting, by_owner=by_owner)
        if most is None or n < most:
            continue
        by = _by(by_owner=by_owner)
        wait = None if waiting.first is None else eta(waiting.first)
        if wait is None:
            raise OverQuota("refusal.quota.at_once", n=n, most=most, by=by)
        raise OverQuota("refusal.quota.at_once_eta", n=n, most=most, by=by, wait=wait)


def count_waiting(rules: EffectiveRules, waiting: WaitingJobs, *, by_owner: bool) -> int:
    """Return how many unfinished jobs count for the AT_ONCE rule of one side."""
    reason = rules.reason(Dimension.AT_ONCE, by_owner=by_owner)
    scope = None if reason is None else reason.rules[0].scope
    if scope is None or scope.place is None:
        return waiting.everywhere
    return waiting.here if scope.channel is None else waiting.in_channel


def _exceeded(rules: EffectiveRules, dimension: Dimension, value: int) -> tuple[int, str] | None:
    """Return the smallest maximum below ``value`` and whose rule it is; None if no rule is exceeded."""
    found = [(m, by) for by in _SIDES if (m := rules.maximum(dimension, by_owner=by)) is not None and m < value]
    return min(((most, _by(by_owner=by)) for most, by in found), default=None)


def _by(*, by_owner: bool) -> str:
    return BY_OWNER if by_owner else BY_PLACE


def check_ceiling(terms: RuleTerms, scope: Scope, ceiling: EffectiveRules) -> None:
    """Check a place's new rule against the owner's rules.

    ``unlimited`` for a role, a channel or a person only lifts the place's own rules, so it is never above the ceiling.

    Args:
        terms: The place's rule.
        scope: Whom it is for.
        ceiling: The rules that apply to them.

    Raises:
        OverQuota: The rule allows more than the owner does; names what the owner allows.
    """
    _check_limits(terms, scope, ceiling)
    for dimension in (Dimension.AT_ONCE, Dimension.COUNT, Dimension.PIXELS, Dimension.STEPS):
        highest, value = ceiling.maximum(dimension, by_owner=True), terms.maximum(dimension)
        if highest is not None and value is not None and value > highest:
            allowed: dict[str, Any] = {dimension.value: highest}
            raise OverQuota("refusal.quota.ceiling_of", rule=format_terms(RuleTerms(**allowed)))
    models = ceiling.models(by_owner=True)
    if models is not None and terms.models is not None and not terms.models <= models:
        raise OverQuota("refusal.quota.ceiling_of", rule=format_terms(RuleTerms(models=models)))


def _check_limits(terms: RuleTerms, scope: Scope, ceiling: EffectiveRules) -> None:
    reason = ceiling.reason(Dimension.LIMITS, by_owner=True)
    if not terms.limits or reason is None:
        return
    if terms.exempt and (scope.role, scope.channel, scope.person) != (None, None, None):
        return
    # The most generous of several roles' rules applies; within a rule, every limit does.
    limits = max((rule.terms.limits for rule in reason.rules), key=lambda each: min(map(rate, each)))
    for limit in limits:
        lowest = _lowest_rate(terms.limits, limit.unit)
        if lowest is None or lowest <= rate(limit):
            continue
        if limit.unit is Unit.PICTURES and limit.amount is not None:
            raise OverQuota("refusal.quota.ceiling", limit=limit.amount, window=Key(f"window.{limit.window}"))
        raise OverQuota("refusal.quota.ceiling_of", rule=format_limit(limit))


def _lowest_rate(limits: Sequence[Limit], unit: Unit) -> float | None:
    """Return the rate of the tightest limit in a unit; None if no limit can be compared."""
    rates = [rate(limit) for limit in limits if limit.unit is unit or limit.amount is None]
    return min(rates, default=None)


def rate(limit: Limit) -> float:
    """Return the amount per second that a limit allows; infinite for unlimited."""
    return float("inf") if limit.amount is None else limit.amount / limit.window.seconds
