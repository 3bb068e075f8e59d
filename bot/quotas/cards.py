"""Cards of quotas: the status, the rules and their reasons, and granted credits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bot.cards.i18n import instant, text
from bot.core.cards import Card, Fact, Tone
from bot.core.errors import Key
from bot.core.quotas import (
    Allowance,
    Credit,
    CreditKind,
    Dimension,
    Limit,
    QuotaRule,
    QuotaStatus,
    Reason,
    RuleTerms,
    Unit,
)
from bot.quotas.rules.limits import format_points
from bot.quotas.rules.terms import format_pixels


def limit_text(limit: Limit, locale: str) -> str:
    """Return a limit in words: "50 pictures per day"."""
    if limit.amount is None:
        return text(locale, "quota.unlimited")
    window = Key(f"window.{limit.window}")
    if limit.unit is Unit.POINTS:
        return text(locale, "quota.limit_points", n=limit.amount, window=window)
    return text(locale, "quota.limit", n=limit.amount, window=window)


def terms_text(terms: RuleTerms, locale: str) -> str:
    """Return a rule in words: "5 pictures per hour, 20 pictures per day, at most 2 waiting at once"."""
    parts = [limit_text(limit, locale) for limit in terms.limits]
    if terms.at_once is not None:
        parts.append(text(locale, "quota.at_once", n=terms.at_once))
    if terms.count is not None:
        parts.append(text(locale, "quota.count", n=terms.count))
    if terms.pixels is not None:
        parts.append(text(locale, "quota.pixels", size=format_pixels(terms.pixels)))
    if terms.steps is not None:
        parts.append(text(locale, "quota.steps", n=terms.steps))
    if terms.models is not None:
        parts.append(text(locale, "quota.models", known=", ".join(sorted(terms.models))))
    return _join(parts, locale)


def quota_card(status: QuotaStatus, locale: str, *, name: str = "") -> Card:
    """Return a person's quota status: what is left, the rules, and when more comes back.

    Args:
        status: The status.
        locale: The reader's language.
        name: The person's name if an admin asks about them; empty for the reader's own status.
    """
    waits = [a.returns_at for a in status.allowances if a.returns_at is not None]
    waits += [credit.expires_at for credit in status.credits]
    return Card(
        Tone.INFO,
        _left(status, locale, name),
        summary=_summary(status, locale),
        facts=_facts(locale, _status_facts(status, locale)),
        instants=tuple(instant(locale, max(0.0, at - status.now), status.now) for at in waits),
        private=True,
        final=True,
        locale=locale,
    )


def why_card(reasons: Sequence[Reason], locale: str, *, name: str = "", roles_known: bool = True) -> Card:
    """Return one line per dimension: the rule that applies, who set it, and the rules that it overrides."""
    if not reasons:
        return Card(Tone.INFO, text(locale, "card.quota.why_owner"), private=True, final=True)
    lines = [_why(reason, locale, name) for reason in reasons]
    sides = {reason.by_owner for reason in reasons if reason.dimension is Dimension.LIMITS}
    if len(sides) > 1:
        lines.append(text(locale, "quota.why_both"))
    if not roles_known:
        lines.append(text(locale, "quota.why_roles"))
    status = text(locale, "card.quota.why_of", name=name) if name else text(locale, "card.quota.why")
    return Card(Tone.INFO, status, notes=tuple(lines), private=True, final=True)


def quota_set_card(
    terms: RuleTerms, locale: str, *, role: str | None = None, channel: str | None = None, person: str | None = None
) -> Card:
    """Return the public answer to a new rule; names are the platform's."""
    facts = [*_target_facts(role, channel, person), ("fact.quota.limit", terms_text(terms, locale))]
    return Card(Tone.INFO, text(locale, _set_status(role, channel, person)), facts=_facts(locale, facts), final=True)


def ceiling_card(terms: RuleTerms | None, locale: str, *, person: str | None = None) -> Card:
    """Return the answer to a new owner's rule, or to its removal (None)."""
    status = text(locale, "card.quota.reset_ceiling") if terms is None else text(locale, "card.quota.set_ceiling")
    facts = [*_target_facts(None, None, person)]
    if terms is not None:
        facts.append(("fact.quota.limit", terms_text(terms, locale)))
    return Card(Tone.INFO, status, facts=_facts(locale, facts), final=True)


def quota_reset_card(
    terms: RuleTerms, locale: str, *, role: str | None = None, channel: str | None = None, person: str | None = None
) -> Card:
    """Return the public answer to a removed rule."""
    facts = [*_target_facts(role, channel, person), ("fact.quota.before", terms_text(terms, locale))]
    return Card(Tone.INFO, text(locale, "card.quota.reset"), facts=_facts(locale, facts), final=True)


def credits_card(pictures: int, kind: CreditKind, locale: str, *, wait: float, name: str, everywhere: bool) -> Card:
    """Return the answer to granted or lent credits: how many, to whom, and for how long (``wait``, in seconds)."""
    key = "card.quota.granted" if kind is CreditKind.BONUS else "card.quota.lent"
    status = text(locale, key, n=pictures, name=name, wait=wait)
    note = text(locale, "note.quota.everywhere") if everywhere else text(locale, "note.quota.here")
    return Card(Tone.INFO, status, notes=(note,), final=True)


def _left(status: QuotaStatus, locale: str, name: str) -> str:
    if status.left is None:
        return text(locale, "card.quota.unlimited_of", name=name) if name else text(locale, "card.quota.unlimited")
    if name:
        return text(locale, "card.quota.left_of", n=status.left, name=name)
    return text(locale, "card.quota.left", n=status.left)


def _summary(status: QuotaStatus, locale: str) -> tuple[str, ...]:
    """Return in one line what is used of each limit, when more comes back, credits, and what waits."""
    parts = []
    for allowance in status.allowances:
        limit, used = limit_text(allowance.limit, locale), _amount(allowance, allowance.used)
        if allowance.left is None:
            parts.append(limit)
            continue
        parts.append(
            text(locale, f"quota.used_{'here' if allowance.in_place else 'everywhere'}", used=used, limit=limit)
        )
        if allowance.returns_at is not None:
            returns = _amount(allowance, allowance.returns)
            parts.append(text(locale, "quota.more", amount=returns, wait=max(0.0, allowance.returns_at - status.now)))
    parts += [_credit(credit, status.now, locale) for credit in status.credits]
    if status.terms.at_once is not None:
        parts.append(text(locale, "quota.waiting", n=status.waiting, most=status.terms.at_once))
    return tuple(parts) or (text(locale, "quota.unlimited"),)


def _credit(credit: Credit, now: float, locale: str) -> str:
    key = "quota.credit" if credit.kind is CreditKind.BONUS else "quota.borrowed"
    return text(locale, key, n=credit.left, wait=max(0.0, credit.expires_at - now))


def _status_facts(status: QuotaStatus, locale: str) -> list[tuple[str, str]]:
    facts = []
    for allowance in status.allowances:
        facts += _allowance_facts(allowance, locale, status.now)
    if not status.allowances:
        facts.append(("fact.quota.limit", text(locale, "quota.unlimited")))
    for credit in status.credits:
        facts.append(("fact.quota.credit", _credit(credit, status.now, locale)))
    if status.terms != RuleTerms():
        facts.append(("fact.quota.each", terms_text(status.terms, locale)))
    if status.terms.at_once is not None:
        facts.append(("fact.quota.waiting", str(status.waiting)))
    return facts


def _allowance_facts(allowance: Allowance, locale: str, now: float) -> list[tuple[str, str]]:
    facts = [
        ("fact.quota.limit", limit_text(allowance.limit, locale)),
        ("fact.quota.counted", text(locale, f"quota.counted_{'here' if allowance.in_place else 'everywhere'}")),
        ("fact.quota.used", _amount(allowance, allowance.used)),
    ]
    if allowance.left is not None:
        facts.append(("fact.quota.left", _amount(allowance, allowance.left)))
        if allowance.returns_at is not None:
            wait = max(0.0, allowance.returns_at - now)
            if allowance.limit.unit is Unit.POINTS:
                returns = text(locale, "quota.returns_points", amount=format_points(allowance.returns), wait=wait)
            else:
                returns = text(locale, "quota.returns", n=allowance.returns, wait=wait)
            facts.append(("fact.quota.returns", returns))
    return facts


def _amount(allowance: Allowance, amount: int) -> str:
    return format_points(amount) if allowance.limit.unit is Unit.POINTS else str(amount)


def _why(reason: Reason, locale: str, name: str) -> str:
    first, *others = reason.rules
    what = _value(first, reason.dimension, locale)
    by = text(locale, "quota.by.owner" if first.by_owner else "quota.by.place")
    scope = _scope(first, locale, name)
    if not reason.overridden:
        line = text(locale, "quota.why", what=what, scope=scope, by=by)
    else:
        other = _join(
            [
                text(
                    locale,
                    "quota.of_scope",
                    what=_value(rule, reason.dimension, locale),
                    scope=_scope(rule, locale, name),
                )
                for rule in reason.overridden
            ],
            locale,
        )
        line = text(locale, "quota.why_instead", what=what, scope=scope, by=by, other=other)
    return f"{line} {text(locale, 'quota.why_generous')}" if others else line


def _value(rule: QuotaRule, dimension: Dimension, locale: str) -> str:
    """Return a rule's value in one dimension; an exempting rule allows anything there."""
    terms = rule.terms
    if not terms.sets(dimension):
        return text(locale, f"quota.any.{dimension}")
    return terms_text(
        replace(
            RuleTerms(),
            **{dimension.value: getattr(terms, dimension.value)},
        ),
        locale,
    )


def _scope(rule: QuotaRule, locale: str, name: str) -> str:
    scope = rule.scope
    if scope.person is not None:
        return name or text(locale, "quota.scope.you")
    if scope.role is not None:
        return text(locale, "quota.scope.role_of", name=name) if name else text(locale, "quota.scope.role")
    if scope.channel is not None:
        return text(locale, "quota.scope.channel")
    if scope.place is not None:
        return text(locale, "quota.scope.place")
    if scope.platform is not None:
        return text(locale, "quota.scope.platform", platform=scope.platform.capitalize())
    return text(locale, "quota.scope.everybody")


def _set_status(role: str | None, channel: str | None, person: str | None) -> str:
    if person is not None:
        return "card.quota.set_person"
    if role is not None:
        return "card.quota.set_role"
    return "card.quota.set" if channel is None else "card.quota.set_channel"


def _target_facts(role: str | None, channel: str | None, person: str | None) -> list[tuple[str, str]]:
    named = (("fact.quota.role", role), ("fact.quota.channel", channel), ("fact.quota.person", person))
    return [(label, value) for label, value in named if value]


def _join(parts: Sequence[str], locale: str) -> str:
    return text(locale, "quota.comma").join(parts)


def _facts(locale: str, facts: Sequence[tuple[str, str]]) -> tuple[Fact, ...]:
    return tuple(Fact(text(locale, label), value) for label, value in facts)
