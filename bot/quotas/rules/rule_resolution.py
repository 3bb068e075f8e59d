"""Which quota rules bind a person in a place, and how far the place's own rules may go."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bot.core.errors import Key, OverQuota
from bot.core.people import Actor, Place
from bot.core.quotas import Dimension, Limit, QuotaRule, Reason, RuleTerms, Scope, Unit
from bot.quotas.rules.terms import format_limit, format_terms


@dataclass(frozen=True, slots=True)
class Bindings:
    """What binds: the owner's rules and the place's own, at most one Reason for each dimension of each."""

    reasons: tuple[Reason, ...]

    def of(self, dimension: Dimension, *, by_owner: bool) -> Reason | None:
        """Return what binds in one dimension; None where nothing does."""
        return next((r for r in self.reasons if r.dimension is dimension and r.by_owner is by_owner), None)

    def most(self, dimension: Dimension, *, by_owner: bool) -> int | None:
        """Return the largest value that is allowed in a dimension that is a number; None: any."""
        reason = self.of(dimension, by_owner=by_owner)
        values = [] if reason is None else [policy.terms.most(dimension) for policy in reason.rules]
        # Of several roles the most generous counts; one that says nothing here was let off.
        return None if None in values else max((value for value in values if value is not None), default=None)

    def models(self, *, by_owner: bool) -> frozenset[str] | None:
        """Return the models that may be asked for; None: any."""
        reason = self.of(Dimension.MODELS, by_owner=by_owner)
        sets = [] if reason is None else [policy.terms.models for policy in reason.rules]
        if not sets or None in sets:
            return None
        return frozenset[str]().union(*(models for models in sets if models is not None))

    def terms(self) -> RuleTerms:
        """Return what binds each single request, owner's and place's together; without limits."""

        def tightest(dimension: Dimension) -> int | None:
            values = (self.most(dimension, by_owner=by_owner) for by_owner in (True, False))
            return min((value for value in values if value is not None), default=None)

        models = [found for by_owner in (True, False) if (found := self.models(by_owner=by_owner)) is not None]
        return RuleTerms(
            at_once=tightest(Dimension.AT_ONCE),
            count=tightest(Dimension.COUNT),
            pixels=tightest(Dimension.PIXELS),
            steps=tightest(Dimension.STEPS),
            models=frozenset.intersection(*models) if models else None,
        )


def terms_of(default: Limit | RuleTerms) -> RuleTerms:
    """Return the rule for everybody as terms; a bare limit says nothing else."""
    return RuleTerms(limits=(default,)) if isinstance(default, Limit) else default


def bind(
    actor: Actor,
    place: Place,
    policies: Iterable[QuotaRule],
    default: Limit | RuleTerms,
    *,
    accounts: Collection[str] = (),
) -> Bindings:
    """Choose the rules that bind.

    The owner's and the place's own bind both. In each dimension for itself, person is more specific than role, role
    than channel, channel than place, place than platform. Of several roles the most generous counts.

    Args:
        actor: Who asks; whether they are an owner is not looked at.
        place: Where.
        policies: Every rule that may match; others are ignored.
        default: The owner's rule for everybody (``EASEL_QUOTA``), where none is stored.
        accounts: The person's other user ids on this platform, which rules for a person hold for too.
    """
    ids = {actor.user_id, *accounts}
    matching = [policy for policy in policies if matches(policy.scope, actor, place, ids)]
    owners = [policy for policy in matching if policy.by_owner]
    owners.append(QuotaRule(0, Scope(), terms_of(default), by_owner=True))
    # A place's rule holds in that place alone, whatever its row says.
    places = [policy for policy in matching if not policy.by_owner and policy.scope.place is not None]
    reasons = (
        _reason(dimension, rules, by_owner=by_owner)
        for dimension in Dimension
        for by_owner, rules in ((True, owners), (False, places))
    )
    return Bindings(tuple(reason for reason in reasons if reason is not None))


def matches(scope: Scope, actor: Actor, place: Place, ids: Collection[str]) -> bool:
    """Whether a rule of this scope is for somebody with these user ids in this place."""
    here = actor.platform == place.platform and place.guild is not None
    return (
        scope.platform in {None, actor.platform}
        and (scope.place is None or (here and scope.place == place.guild))
        and (scope.channel is None or (here and scope.channel == place.channel))
        and (scope.role is None or scope.role in actor.roles)
        and (scope.person is None or scope.person in ids)
    )


def specificity(scope: Scope) -> tuple[bool, ...]:
    """Return what rules are compared by; the larger one wins."""
    return tuple(part is not None for part in (scope.person, scope.role, scope.channel, scope.place, scope.platform))


def _reason(dimension: Dimension, rules: Sequence[QuotaRule], *, by_owner: bool) -> Reason | None:
    # A stored rule for everybody comes before the default, which has no row.
    speaking = sorted(
        (policy for policy in rules if policy.terms.speaks_of(dimension)),
        key=lambda policy: (specificity(policy.scope), policy.id > 0),
        reverse=True,
    )
    if not speaking:
        return None
    first = (specificity(speaking[0].scope), speaking[0].id > 0)
    binding = [policy for policy in speaking if (specificity(policy.scope), policy.id > 0) == first]
    return Reason(dimension, by_owner, tuple(binding), tuple(speaking[len(binding) :]))


def rate(limit: Limit) -> float:
    """Return how much may be asked for a second; infinite for unlimited."""
    return float("inf") if limit.amount is None else limit.amount / limit.window.seconds


def check_ceiling(wanted: RuleTerms, scope: Scope, ceiling: Bindings) -> None:
    """Refuse a place's rule that promises more than the owner gives. Deciding holds to the ceiling whatever was set.

    ``unlimited`` for a role, a channel or a person lets them off the place's own rules alone, so it promises nothing.

    Args:
        wanted: The place's rule.
        scope: Whom it is for.
        ceiling: What binds those whom it is for, by the owner's rules.

    Raises:
        OverQuota: It is above; the sentence says what the owner allows.
    """
    _check_limits(wanted, scope, ceiling)
    for dimension in (Dimension.AT_ONCE, Dimension.COUNT, Dimension.PIXELS, Dimension.STEPS):
        most, asked = ceiling.most(dimension, by_owner=True), wanted.most(dimension)
        if most is not None and asked is not None and asked > most:
            said: dict[str, Any] = {dimension.value: most}
            raise OverQuota("refusal.quota.ceiling_of", rule=format_terms(RuleTerms(**said)))
    models = ceiling.models(by_owner=True)
    if models is not None and wanted.models is not None and not wanted.models <= models:
        raise OverQuota("refusal.quota.ceiling_of", rule=format_terms(RuleTerms(models=models)))


def _check_limits(wanted: RuleTerms, scope: Scope, ceiling: Bindings) -> None:
    reason = ceiling.of(Dimension.LIMITS, by_owner=True)
    if not wanted.limits or reason is None:
        return
    if wanted.exempt and (scope.role, scope.channel, scope.person) != (None, None, None):
        return
    # The most generous of several roles' rules; of a rule with several limits, each must be kept to.
    limits = max((policy.terms.limits for policy in reason.rules), key=lambda each: min(map(rate, each)))
    for limit in limits:
        promised = _promised(wanted.limits, limit.unit)
        if promised is None or promised <= rate(limit):
            continue
        if limit.unit is Unit.PICTURES and limit.amount is not None:
            raise OverQuota("refusal.quota.ceiling", limit=limit.amount, window=Key(f"window.{limit.window}"))
        raise OverQuota("refusal.quota.ceiling_of", rule=format_limit(limit))


def _promised(limits: Sequence[Limit], unit: Unit) -> float | None:
    """Return the rate of a rule's tightest limit in a unit; None where it says nothing that can be compared."""
    rates = [rate(limit) for limit in limits if limit.unit is unit or limit.amount is None]
    return min(rates, default=None)
