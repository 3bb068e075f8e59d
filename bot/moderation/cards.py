"""Cards of moderation: notices of refusals and reports, and the answers of its commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bot.cards import durations
from bot.cards.i18n import text
from bot.cards.job_card import file_of
from bot.core.cards import Button, ButtonPress, Card, Fact, Tone
from bot.core.errors import Refusal
from bot.core.jobs import Job
from bot.core.people import Actor, Place
from bot.core.pictures import Picture
from bot.core.strictness import Strictness

HIDE = "hide"


def refused_card(refusal: Refusal, actor: Actor, place: Place, typed: str, locale: str) -> Card:
    """Return the log channel's notice of a refused request; the prompt is data."""
    return Card(
        Tone.PROBLEM,
        text(locale, "card.moderation.refused"),
        prompt=typed,
        asker=actor.name,
        notes=(text(locale, refusal.key, **refusal.params),),
        facts=_facts(locale, (("fact.person", _id(actor)), ("fact.channel", place.channel))),
        final=True,
    )


def withheld_card(job: Job, index: int, locale: str) -> Card:
    """Return the log channel's notice of a rejected picture."""
    return Card(
        Tone.PROBLEM,
        text(locale, "card.moderation.withheld"),
        prompt=job.request.typed,
        asker=job.asker,
        facts=_facts(locale, (("fact.picture", f"{job.id}-{index + 1}"),)),
        final=True,
    )


def report_card(
    job: Job, pictures: Sequence[Picture], reporter: Actor, place: Place, *, folder: Path, locale: str
) -> Card:
    """Return the notice of a report: the pictures behind spoilers, and a button that hides them everywhere."""
    index = pictures[0].index if len(pictures) == 1 else None
    hide = Button(text(locale, "button.hide"), ButtonPress(HIDE, job.id, index), danger=True)
    return Card(
        Tone.PROBLEM,
        text(locale, "card.report", n=len(pictures)),
        prompt=job.request.typed,
        asker=job.asker,
        job_id=job.id,
        facts=_facts(
            locale,
            (
                ("fact.asker", job.asker),
                ("fact.reporter", f"{reporter.name} ({_id(reporter)})" if reporter.name else _id(reporter)),
                ("fact.channel", place.channel),
            ),
        ),
        pictures=tuple(replace(file_of(job, picture, folder), spoiler=True) for picture in pictures),
        buttons=((hide,),),
        final=True,
    )


def words_card(level: Strictness, locale: str) -> Card:
    """Return the answer to a new strictness of a place."""
    match level:
        case Strictness.OFF:
            status = text(locale, "card.words.off")
        case Strictness.WARN:
            status = text(locale, "card.words.warn")
        case Strictness.REFUSE:
            status = text(locale, "card.words.refuse")
        case Strictness.SPOILER:
            status = text(locale, "card.words.spoiler")
    return Card(Tone.INFO, status, private=True, final=True)


def log_card(channel: str | None, locale: str) -> Card:
    """Return the answer to a new log channel: its name; empty for this channel, None for none."""
    if channel is None:
        status = text(locale, "card.log.off")
    elif channel:
        status = text(locale, "card.log.there", channel=channel)
    else:
        status = text(locale, "card.log.here")
    return Card(Tone.INFO, status, private=True, final=True)


def banned_card(who: str, seconds: float | None, cancelled: int, locale: str) -> Card:
    """Return who is banned now, for how long (None: for good), and how many of their jobs were cancelled."""
    if seconds is None:
        status = text(locale, "card.ban.for_good", person=who)
    else:
        status = text(locale, "card.ban", person=who, wait=seconds)
    notes = (text(locale, "card.ban.stopped", n=cancelled),) if cancelled else ()
    return Card(Tone.INFO, status, notes=notes, private=True, final=True)


def unbanned_card(who: str, locale: str) -> Card:
    """Return the answer to a lifted ban."""
    return Card(Tone.INFO, text(locale, "card.unban", person=who), private=True, final=True)


def bans_card(bans: Sequence[tuple[str, float | None, str]], locale: str) -> Card:
    """Return the list of bans: each person's name or id, the seconds left (None: for good), and the reason."""
    if not bans:
        return Card(Tone.INFO, text(locale, "card.bans.none"), private=True, final=True)
    facts = []
    for who, seconds, reason in bans:
        end = text(locale, "ban.for_good") if seconds is None else durations.spoken(seconds, locale)
        facts.append(Fact(who, f"{end} · {reason}" if reason else end))
    return Card(Tone.INFO, text(locale, "card.bans", n=len(bans)), facts=tuple(facts), private=True, final=True)


def _facts(locale: str, facts: Sequence[tuple[str, str]]) -> tuple[Fact, ...]:
    return tuple(Fact(text(locale, label), value) for label, value in facts if value)


def _id(actor: Actor) -> str:
    return f"{actor.platform}:{actor.user_id}"
