"""Cards of access: owners' list of newcomers, and the answers that newcomers get."""

from __future__ import annotations

from collections.abc import Sequence

from bot.cards.i18n import text
from bot.core.access import FEW, AccessDecision, AccessRequest, Newcomer, SubjectKind
from bot.core.cards import Button, ButtonPress, Card, Fact, Tone
from bot.core.texts import clip

ALLOW = "allow"
ALLOW_FEW = "allowfew"
REFUSE = "refuse"

MAX_SHOWN = 5
"""Newcomers on one card, each with a row of buttons: Discord allows five rows."""

_NAME_CHARS, _PROMPT_CHARS = 32, 60


def requests_card(
    requests: Sequence[AccessRequest], total: int, locale: str, *, result: str = "", about: Newcomer | None = None
) -> Card:
    """Return the private list of waiting newcomers for an owner.

    Args:
        requests: Their requests, oldest first; the first ``MAX_SHOWN`` are shown.
        total: How many wait in all.
        locale: The owner's language.
        result: The result of an answer, which replaces the count as the first sentence.
        about: The newcomer of that answer.
    """
    shown = requests[:MAX_SHOWN]
    count = text(locale, "card.newcomers", n=total) if total else text(locale, "card.newcomers.none")
    notes = [count] if result else []
    if shown:
        notes.append(text(locale, "note.newcomers.how", few=FEW))
    if total > len(shown):
        notes.append(text(locale, "note.newcomers.more", n=total - len(shown)))
    return Card(
        Tone.INFO,
        result or count,
        notes=tuple(notes),
        facts=tuple(_fact(request, locale) for request in (*([AccessRequest(about)] if about else []), *shown)),
        buttons=tuple(_row(request.newcomer, locale) for request in shown),
        private=True,
        final=True,
    )


def answer_text(newcomer: Newcomer, jobs: int, locale: str, *, rule: str = "") -> str:
    """Return the result of an owner's answer, and how many requests are drawn now."""
    # The number without the name: names are data, and only facts show data.
    number = newcomer.id
    if newcomer.verdict is AccessDecision.REFUSED:
        return text(locale, "card.newcomer.refused", number=number)
    if rule:
        return text(locale, "card.newcomer.allowed_few", number=number, rule=rule, n=jobs)
    return text(locale, "card.newcomer.allowed", number=number, n=jobs)


def decision_card(newcomer: Newcomer, verdict: AccessDecision, locale: str) -> Card:
    """Return the notice to a newcomer about an owner's answer; private for a person."""
    allowed = verdict is AccessDecision.ALLOWED
    sentence = text(locale, "card.welcome" if allowed else "card.unwelcome")
    return Card(
        Tone.INFO if allowed else Tone.STOPPED, sentence, private=newcomer.kind is SubjectKind.PERSON, final=True
    )


def newcomer_name(newcomer: Newcomer, locale: str) -> str:
    """Return a newcomer's name and id. Names alone may be empty or not unique."""
    name = _clip(newcomer.name, _NAME_CHARS) or "?"
    if newcomer.kind is SubjectKind.PLACE:
        return text(locale, "newcomer.place", name=name, id=newcomer.subject)
    return text(locale, "newcomer.person", name=name, id=newcomer.subject)


def _fact(request: AccessRequest, locale: str) -> Fact:
    newcomer = request.newcomer
    parts = [newcomer_name(newcomer, locale)]
    if newcomer.kind is SubjectKind.PLACE and request.asker:
        parts.append(_clip(request.asker, _NAME_CHARS))
    if request.prompt:
        parts.append(_clip(request.prompt, _PROMPT_CHARS))
    return Fact(f"{newcomer.id} · {newcomer.platform.capitalize()}", " · ".join(parts))


def _row(newcomer: Newcomer, locale: str) -> tuple[Button, ...]:
    number = newcomer.id
    return (
        Button(text(locale, "button.allow", number=number), ButtonPress(ALLOW, number)),
        Button(text(locale, "button.allowfew", number=number, few=FEW), ButtonPress(ALLOW_FEW, number)),
        Button(text(locale, "button.refuse", number=number), ButtonPress(REFUSE, number), danger=True),
    )


def _clip(typed: str, limit: int) -> str:
    return clip(" ".join(typed.split()), limit)
