"""How far a place's own rules may go: an owner's rule is a ceiling, which they can only narrow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bot.core.errors import OverQuota
from bot.core.quotas import Dimension, Limit, RuleTerms, Scope, Unit
from bot.quotas.rules.rule_resolution import Bindings
from bot.quotas.rules.terms import format_limit, format_terms


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
            raise OverQuota("refusal.quota.ceiling", limit=limit.amount, window=f"@window.{limit.window}")
        raise OverQuota("refusal.quota.ceiling_of", rule=format_limit(limit))


def _promised(limits: Sequence[Limit], unit: Unit) -> float | None:
    """Return the rate of a rule's tightest limit in a unit; None where it says nothing that can be compared."""
    rates = [rate(limit) for limit in limits if limit.unit is unit or limit.amount is None]
    return min(rates, default=None)
