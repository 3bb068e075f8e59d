"""Cards of admins: settings of a place, and the audit log."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bot.admin.service import EffectiveSettings
from bot.audit.changes import AuditLine
from bot.cards import durations
from bot.cards.i18n import text
from bot.core.access import AccessDecision, AccessMode
from bot.core.cards import Card, Fact, Tone
from bot.core.jobs import ServiceState
from bot.core.quotas import QuotaRule
from bot.core.strictness import Strictness
from bot.quotas.cards import terms_text, why_card
from bot.quotas.rules.limits import time_zone
from bot.quotas.rules.terms import format_terms, load_terms

Value = Mapping[str, object] | str | None


def changes_card(lines: Sequence[AuditLine], locale: str, *, now: float, everywhere: bool) -> Card:
    """Return the last changes, newest first.

    Args:
        lines: The changes.
        locale: The person's language.
        now: Unix seconds.
        everywhere: They are those of all places, not of one.
    """
    if not lines:
        return Card(Tone.INFO, text(locale, "card.changes.none"), private=True, final=True)
    facts = tuple(Fact(_label(line), _told(line, locale, now, everywhere=everywhere)) for line in lines)
    notes = (
        text(locale, "card.changes.how", n=next((x.number for x in lines if x.kind and not x.undone), lines[0].number)),
    )
    return Card(Tone.INFO, text(locale, "card.changes"), notes=notes, facts=facts, private=True, final=True)


def undone_card(line: AuditLine, locale: str) -> Card:
    """Return what holds again since a change was taken back."""
    said = f"{_value(line, line.after, locale)} → {_value(line, line.before, locale)}"
    return Card(
        Tone.INFO,
        text(locale, "card.changes.undone", n=line.number),
        facts=(Fact(_label(line), said),),
        private=True,
        final=True,
    )


@dataclass(frozen=True, slots=True)
class ChangeWords:
    """A change in words: whom it concerns, who made it, and what was there before and after; each may be empty."""

    whom: str
    who: str
    before: str
    after: str


def change_words(line: AuditLine, locale: str) -> ChangeWords:
    """Return a change in words."""
    return ChangeWords(
        _whom(line, locale), _who(line, locale), _value(line, line.before, locale), _value(line, line.after, locale)
    )


def _who(line: AuditLine, locale: str) -> str:
    return text(locale, "change.operator") if line.who == "operator" else line.who


def _label(line: AuditLine) -> str:
    return f"#{line.number} {line.action}"


def _told(line: AuditLine, locale: str, now: float, *, everywhere: bool) -> str:
    ago = text(locale, "change.ago", age=durations.spoken(max(1.0, now - line.at), locale))
    words = change_words(line, locale)
    said = f"{words.before} → {words.after}"
    if line.undone:
        said = f"{text(locale, 'change.undone')} {said}"
    place = line.place if everywhere else ""
    return " · ".join(part for part in (said, words.whom, words.who, place, ago) if part)


def _whom(line: AuditLine, locale: str) -> str:
    if line.whom:
        return line.whom
    for name in ("role", "channel", "number"):
        if line.subject.get(name) is not None:
            argument = text(locale, f"argument.{name}").lower()
            return f"{argument} {line.subject[name]}"
    return ""


def _value(line: AuditLine, value: Value, locale: str) -> str:
    """Return one side of a change in words."""
    if isinstance(value, str):
        return value
    match line.kind:
        case "":
            return text(locale, "change.deleted")
        case "policy":
            return _terms(value, locale)
        case "ban":
            return _ban(value, locale)
        case "credit":
            pictures = None if value is None else value.get("pictures")
            return (
                text(locale, "change.none") if pictures is None else text(locale, "change.credit", n=int(str(pictures)))
            )
        case "access":
            return _verdict(value, locale)
        case _:
            return _option(value, locale)


def _terms(value: Mapping[str, object] | None, locale: str) -> str:
    said = None if value is None else value.get("terms")
    return format_terms(load_terms(said)) if isinstance(said, Mapping) else text(locale, "change.no_rule")


def _ban(value: Mapping[str, object] | None, locale: str) -> str:
    if value is None:
        return text(locale, "change.not_banned")
    until, reason = value.get("until"), value.get("reason")
    if isinstance(until, int | float):
        said = text(locale, "change.banned_until", date=f"{datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M} UTC")
    else:
        said = text(locale, "change.banned")
    return f"{said} ({reason})" if reason else said


def _verdict(value: Mapping[str, object] | None, locale: str) -> str:
    match None if value is None else value.get("verdict"):
        case "allowed":
            return text(locale, "change.allowed")
        case "refused":
            return text(locale, "change.refused")
        case _:
            return text(locale, "change.asked")


def _option(value: Mapping[str, object] | None, locale: str) -> str:
    said = None if value is None else value.get("value")
    match said:
        case None:
            return text(locale, "change.none")
        case bool():
            return text(locale, "change.yes" if said else "change.no")
        case int() | float():
            # The only number among the options is that of days.
            return text(locale, "duration.days", n=math.ceil(said), days=durations.number(said, locale))
        case list():
            return ", ".join(str(each) for each in said)
        case {"chat": chat}:
            return str(chat)
        case dict():
            return ", ".join(f"{key} {_joined(each)}" for key, each in said.items())
        case _:
            return str(said)


def _joined(value: object) -> str:
    return " + ".join(str(each) for each in value) if isinstance(value, list) else str(value)


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
        # Who has a rule of their own is for admins to know.
        facts=(*(_special(limits, locale) if limits.admin else ()), *_options(limits, locale)),
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
    # A place without roles has no such card, so this concerns Discord alone.
    notes = (text(locale, "note.admins.discord"),) if named else ()
    return Card(Tone.INFO, status, notes=notes, facts=facts, private=True, final=True)


def timezone_card(zone: str, now: float, locale: str) -> Card:
    """Return the time zone, and what time it is there now: a wrong one is seen by that."""
    time = f"{datetime.fromtimestamp(now, time_zone(zone)):%H:%M}"
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
