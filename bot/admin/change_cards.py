"""The log of changes, in words: who, what, from what to what."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from bot.audit.model import AuditLine
from bot.cards import durations
from bot.cards.i18n import text
from bot.core.cards import Card, Fact, Tone
from bot.quotas.rules import format_terms, load_terms

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
    notes = (text(locale, "card.changes.how", n=next((x.number for x in lines if not x.undone), lines[0].number)),)
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


def _label(line: AuditLine) -> str:
    return f"#{line.number} {line.action}"


def _told(line: AuditLine, locale: str, now: float, *, everywhere: bool) -> str:
    ago = text(locale, "change.ago", age=durations.spoken(max(1.0, now - line.at), locale))
    who = text(locale, "change.operator") if line.who == "operator" else line.who
    said = f"{_value(line, line.before, locale)} → {_value(line, line.after, locale)}"
    if line.undone:
        said = f"{text(locale, 'change.undone')} {said}"
    place = line.place if everywhere else ""
    return " · ".join(part for part in (said, _whom(line, locale), who, place, ago) if part)


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
        case _:
            return str(said)
