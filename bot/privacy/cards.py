"""Cards about one's own data: taking it away, having it forgotten, how long pictures are kept."""

from __future__ import annotations

import math

from bot.cards import durations
from bot.cards.i18n import text
from bot.core.cards import Card, Fact, Tone


def export_card(link: str | None, locale: str) -> Card:
    """Say that one's data is being put together: it comes by itself, or is fetched by the link."""
    if link is None:
        return Card(Tone.INFO, text(locale, "card.export.sent"), private=True, final=True)
    facts = (Fact(text(locale, "fact.export.link"), link),)
    return Card(Tone.INFO, text(locale, "card.export.link"), facts=facts, private=True, final=True)


def forget_asked_card(locale: str, *, jobs: int, waiting: int, pictures: int, favourites: int) -> Card:
    """Say exactly what would be lost, and how to go on."""
    counts = (
        ("fact.forget.jobs", jobs),
        ("fact.forget.waiting", waiting),
        ("fact.forget.pictures", pictures),
        ("fact.forget.favourites", favourites),
    )
    return Card(
        Tone.PROBLEM,
        text(locale, "card.forget.ask"),
        notes=(text(locale, "card.forget.stays"), text(locale, "card.forget.export")),
        facts=tuple(Fact(text(locale, label), str(n)) for label, n in counts),
        private=True,
        final=True,
    )


def forgotten_card(locale: str, *, jobs: int, pictures: int) -> Card:
    """Say that it is done."""
    return Card(
        Tone.STOPPED,
        text(locale, "card.forget.done", n=pictures, jobs=jobs),
        notes=(text(locale, "card.forget.messages"),),
        private=True,
        final=True,
    )


def kept_card(locale: str, *, days: float | None, everywhere: float | None, whole: bool) -> Card:
    """Say how long pictures are kept.

    Args:
        locale: The person's language.
        days: What holds; None is for good.
        everywhere: The owners' rule for the whole service.
        whole: It is said of the whole service.
    """
    if days is None:
        status = text(locale, "card.keep.everywhere_for_good" if whole else "card.keep.for_good")
    else:
        # As it was typed: Babel would make 4 weeks of 30 days.
        span = text(locale, "duration.days", n=math.ceil(days), days=durations.number(days, locale))
        status = text(locale, "card.keep.everywhere" if whole else "card.keep.here", span=span)
    notes = [text(locale, "card.keep.favourites")]
    if not whole and days is not None and days == everywhere:
        notes.append(text(locale, "card.keep.by_owner"))
    return Card(Tone.INFO, status, notes=tuple(notes), private=True, final=True)
