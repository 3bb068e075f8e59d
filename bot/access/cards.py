"""What owners are shown of those who ask to come in, and what newcomers are told. Names and prompts are data."""

from __future__ import annotations

from collections.abc import Sequence

from bot.cards.i18n import text
from bot.core.access import FEW, AccessDecision, AccessRequest, Newcomer, SubjectKind
from bot.core.cards import Button, ButtonPress, Card, Fact, Tone

ALLOW = "allow"
ALLOW_FEW = "allowfew"
REFUSE = "refuse"

MAX_SHOWN = 5
"""So many are shown with their buttons: Discord has five rows."""

_NAME_CHARS, _PROMPT_CHARS = 32, 60


def requests_card(
    knocks: Sequence[AccessRequest], total: int, locale: str, *, said: str = "", about: Newcomer | None = None
) -> Card:
    """Return the list of those who wait, for an owner's eyes alone.

    Args:
        knocks: Some of them, oldest first; the first SHOWN are shown.
        total: How many wait in all.
        locale: The owner's language.
        said: A sentence to begin with instead of how many wait: what came of an answer.
        about: Whom that answer was about.
    """
    shown = knocks[:MAX_SHOWN]
    count = text(locale, "card.newcomers", n=total) if total else text(locale, "card.newcomers.none")
    notes = [count] if said else []
    if shown:
        notes.append(text(locale, "note.newcomers.how", few=FEW))
    if total > len(shown):
        notes.append(text(locale, "note.newcomers.more", n=total - len(shown)))
    return Card(
        Tone.INFO,
        said or count,
        notes=tuple(notes),
        facts=tuple(_fact(knock, locale) for knock in (*([AccessRequest(about)] if about else []), *shown)),
        buttons=tuple(_row(knock.newcomer, locale) for knock in shown),
        private=True,
        final=True,
    )


def answer_text(newcomer: Newcomer, jobs: int, locale: str, *, rule: str = "") -> str:
    """Return what came of an owner's answer, and how many requests are drawn now."""
    # By the number alone: a name is data, and belongs where surfaces show data.
    number = newcomer.id
    if newcomer.verdict is AccessDecision.REFUSED:
        return text(locale, "card.newcomer.refused", number=number)
    if rule:
        return text(locale, "card.newcomer.allowed_few", number=number, rule=rule, n=jobs)
    return text(locale, "card.newcomer.allowed", number=number, n=jobs)


def decision_card(newcomer: Newcomer, verdict: AccessDecision, locale: str) -> Card:
    """Return what the newcomer is told of an owner's answer. To a person it is said in private."""
    allowed = verdict is AccessDecision.ALLOWED
    sentence = text(locale, "card.welcome" if allowed else "card.unwelcome")
    return Card(
        Tone.INFO if allowed else Tone.STOPPED, sentence, private=newcomer.kind is SubjectKind.PERSON, final=True
    )


def newcomer_name(newcomer: Newcomer, locale: str) -> str:
    """Return what a newcomer is called; names may be empty or borrowed, so the id stands beside it."""
    name = _clip(newcomer.name, _NAME_CHARS) or "?"
    if newcomer.kind is SubjectKind.PLACE:
        return text(locale, "newcomer.place", name=name, id=newcomer.subject)
    return text(locale, "newcomer.person", name=name, id=newcomer.subject)


def _fact(knock: AccessRequest, locale: str) -> Fact:
    newcomer = knock.newcomer
    parts = [newcomer_name(newcomer, locale)]
    if newcomer.kind is SubjectKind.PLACE and knock.asker:
        parts.append(_clip(knock.asker, _NAME_CHARS))
    if knock.prompt:
        parts.append(_clip(knock.prompt, _PROMPT_CHARS))
    return Fact(f"{newcomer.id} · {newcomer.platform.capitalize()}", " · ".join(parts))


def _row(newcomer: Newcomer, locale: str) -> tuple[Button, ...]:
    number = newcomer.id
    return (
        Button(text(locale, "button.allow", number=number), ButtonPress(ALLOW, number)),
        Button(text(locale, "button.allowfew", number=number, few=FEW), ButtonPress(ALLOW_FEW, number)),
        Button(text(locale, "button.refuse", number=number), ButtonPress(REFUSE, number), danger=True),
    )


def _clip(typed: str, limit: int) -> str:
    line = " ".join(typed.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
