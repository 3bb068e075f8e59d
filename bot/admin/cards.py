"""Cards about a place: what holds there, and what its admins have set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from bot.admin.effective_settings import EffectiveSettings
from bot.cards import durations
from bot.cards.i18n import text
from bot.core.access import AccessDecision, AccessMode
from bot.core.cards import Card, Fact, Tone
from bot.core.quotas import QuotaRule
from bot.core.service_state import ServiceState
from bot.core.strictness import Strictness
from bot.quotas.cards import terms_text, why_card
from bot.quotas.rules import zone_of


def limits_card(limits: EffectiveSettings, locale: str) -> Card:
    """Return what holds in a place, in plain words; for admins also how to go on."""
    notes = list(why_card(limits.reasons, locale).notes) if limits.reasons else [text(locale, "note.place.no_limits")]
    if limits.admin and limits.place:
        notes.append(text(locale, "note.place.first") if limits.untouched else text(locale, "note.place.next"))
    elif not limits.place:
        notes.append(text(locale, "note.place.alone"))
    return Card(
        Tone.INFO,
        _standing(limits, locale),
        notes=tuple(notes),
        facts=(*_special(limits, locale), *_options(limits, locale)),
        private=True,
        final=True,
    )


def preset_card(preset: str, locale: str, *, narrower: bool = False) -> Card:
    """Return what a preset has set; ``narrower`` when the owner's own rules give less than it promises."""
    match preset:
        case "open":
            card = _said(text(locale, "card.preset.open"))
        case "club":
            card = _said(text(locale, "card.preset.club"))
        case "strict":
            card = _said(text(locale, "card.preset.strict"))
        case _:
            card = paused_card(locale, paused=True)
    return replace(card, notes=(text(locale, "card.preset.narrower"),)) if narrower else card


def paused_card(locale: str, *, paused: bool) -> Card:
    """Return whether anything is drawn in a place from now on."""
    return _said(text(locale, "card.place.paused" if paused else "card.place.resumed"))


def admins_card(roles: Sequence[str], locale: str) -> Card:
    """Return which roles are admins of a place."""
    if not roles:
        return _said(text(locale, "card.admins.none"))
    facts = (Fact(text(locale, "fact.place.roles"), ", ".join(roles)),)
    return Card(Tone.INFO, text(locale, "card.admins.some", n=len(roles)), facts=facts, private=True, final=True)


def admin_role_card(role: str, locale: str, *, named: bool) -> Card:
    """Return that a role's members are admins now, or no longer."""
    facts = (Fact(text(locale, "fact.place.role"), role),)
    status = text(locale, "card.admins.named" if named else "card.admins.dropped")
    return Card(Tone.INFO, status, facts=facts, private=True, final=True)


def timezone_card(zone: str, now: float, locale: str) -> Card:
    """Return the time zone, and what time it is there now: a wrong one is seen by that."""
    time = f"{datetime.fromtimestamp(now, zone_of(zone)):%H:%M}"
    return _said(text(locale, "card.place.timezone", zone=zone, time=time))


def service_card(state: ServiceState, locale: str) -> Card:
    """Return what the whole service does from now on."""
    match state:
        case ServiceState.RUN:
            return _said(text(locale, "card.service.run"))
        case ServiceState.DRAIN:
            return _said(text(locale, "card.service.drain"))
        case ServiceState.PAUSE:
            return _said(text(locale, "card.service.pause"))


def words_text(level: Strictness, locale: str) -> str:
    """Return in a word what happens to words for adults."""
    match level:
        case Strictness.OFF:
            return text(locale, "choice.off")
        case Strictness.WARN:
            return text(locale, "choice.warn")
        case Strictness.REFUSE:
            return text(locale, "choice.refuse")
        case Strictness.SPOILER:
            return text(locale, "choice.spoiler")


def _standing(limits: EffectiveSettings, locale: str) -> str:
    if limits.state is ServiceState.DRAIN:
        return text(locale, "card.place.draining")
    if limits.state is ServiceState.PAUSE:
        return text(locale, "card.place.service_paused")
    if limits.paused:
        return text(locale, "card.place.paused")
    return text(locale, "card.place.limits" if limits.place else "card.place.limits_alone")


def _special(limits: EffectiveSettings, locale: str) -> list[Fact]:
    facts = []
    for policy in limits.special:
        said = terms_text(policy.terms, locale)
        facts.append(Fact(text(locale, _for_whom(policy)), f"{_name(policy, limits)}: {said}"))
    return facts


def _for_whom(policy: QuotaRule) -> str:
    if policy.scope.person is not None:
        return "fact.place.rule_person"
    return "fact.place.rule_channel" if policy.scope.role is None else "fact.place.rule_role"


def _name(policy: QuotaRule, limits: EffectiveSettings) -> str:
    scope = policy.scope
    return limits.names.get(scope.person or "") or scope.person or scope.role or scope.channel or ""


def _options(limits: EffectiveSettings, locale: str) -> list[Fact]:
    facts = [("fact.place.access", _access(limits, locale)), ("fact.place.words", words_text(limits.words, locale))]
    if limits.keep_days is None:
        facts.append(("fact.place.keep", text(locale, "place.kept_for_good")))
    else:
        days = durations.number(limits.keep_days, locale)
        facts.append(("fact.place.keep", text(locale, "duration.days", n=math.ceil(limits.keep_days), days=days)))
    if limits.place:
        facts.append(("fact.place.zone", limits.zone))
    if limits.place and limits.admin:
        facts.append(("fact.place.log", text(locale, "place.log_set" if limits.log else "place.log_none")))
        if limits.roles:
            facts.append(("fact.place.admins", text(locale, "place.roles", n=limits.roles)))
    return [Fact(text(locale, label), value) for label, value in facts]


def _access(limits: EffectiveSettings, locale: str) -> str:
    if limits.access is AccessMode.OPEN:
        return text(locale, "place.access_open")
    if limits.verdict is AccessDecision.ALLOWED:
        return text(locale, "place.access_allowed")
    if limits.verdict is AccessDecision.REFUSED:
        return text(locale, "place.access_refused")
    return text(locale, "place.access_ask" if limits.access is AccessMode.APPROVE else "place.access_list")


def _said(status: str) -> Card:
    return Card(Tone.INFO, status, private=True, final=True)
