"""The card of a job: how it stands, its facts, its pictures and its buttons, in the asker's language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bot.model.actions import Action, Press
from bot.model.cards import Button, Card, Fact, Tone
from bot.model.errors import Refusal
from bot.model.jobs import Job, JobState
from bot.model.pictures import Picture, PictureFile
from bot.ports import Waiting
from bot.present import durations
from bot.present.i18n import known, text

Rows = tuple[tuple[Button, ...], ...]

SEEDS_IN_A_ROW = 4
"""Seed buttons in one row; rows hold at most 5 buttons on Discord, and 16 pictures need no more than 5 rows."""

_SHORT_LIST = 4
"""So many seeds are listed; of more, the first and the last."""

_TONES: Mapping[JobState, Tone] = {
    JobState.HELD: Tone.WAITING,
    JobState.QUEUED: Tone.WAITING,
    JobState.RUNNING: Tone.RUNNING,
    JobState.PAINTED: Tone.DONE,
    JobState.DELIVERED: Tone.DONE,
    JobState.CANCELLED: Tone.STOPPED,
    JobState.FAILED: Tone.PROBLEM,
}
_NO_REASON = "error.engine.failed"
_FINISHED = frozenset({JobState.PAINTED, JobState.DELIVERED})
_STOPPABLE = frozenset({JobState.HELD, JobState.QUEUED, JobState.RUNNING})


def error_key(code: str) -> str:
    """Return the message that says why a job failed, for an ``EngineError.code``."""
    key = f"error.engine.{code}"
    return key if known(key) else _NO_REASON


def card_of(
    job: Job,
    pictures: Sequence[Picture],
    *,
    pictures_dir: Path,
    waiting: Waiting | None = None,
    progress: float | None = None,
    titles: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Card:
    """Return the card of a job as it is now.

    Args:
        job: The job; its locale is the card's language.
        pictures: Those that are stored, in order.
        pictures_dir: The folder that their paths are relative to.
        waiting: Where it stands in the queue, while it waits.
        progress: 0 to 1 while it is drawn.
        titles: The models' proper names, by name.
        notes: Keys of further sentences, such as ``note.unclear``.
    """
    finished = job.state in _FINISHED
    return Card(
        tone=_TONES[job.state],
        status=_status(job, len(pictures), waiting, progress),
        prompt=job.request.typed,
        asker=job.asker,
        job_id=job.id,
        progress=progress if job.state is JobState.RUNNING else None,
        notes=_notes(job, len(pictures), notes),
        facts=facts_of(job, pictures, titles or {}) if finished else (),
        pictures=tuple(file_of(job, picture, pictures_dir) for picture in pictures) if finished else (),
        buttons=_buttons(job, pictures),
        private=job.request.private,
        final=job.state not in _STOPPABLE,
    )


def unclear(job: Job) -> Card:
    """Return the card that says that nobody knows whether the pictures arrived; its button sends them."""
    button = Button(text(job.locale, "button.original"), Press(Action.ORIGINAL, job.id))
    return Card(
        tone=Tone.PROBLEM,
        status=text(job.locale, "note.unclear"),
        prompt=job.request.typed,
        asker=job.asker,
        job_id=job.id,
        buttons=((button,),),
        private=job.request.private,
        final=True,
    )


def refused(refusal: Refusal, locale: str) -> Card:
    """Return a refusal as a private card."""
    return Card(Tone.PROBLEM, text(locale, refusal.key, **refusal.params), private=True, final=True)


def file_of(job: Job, picture: Picture, pictures_dir: Path) -> PictureFile:
    """Return the file behind a picture, under the name that people see."""
    return PictureFile(
        path=pictures_dir / picture.path,
        name=f"easel-{job.id}-{picture.index + 1}.png",
        mime="image/png",
        width=picture.width,
        height=picture.height,
        alt=job.request.typed,
        index=picture.index,
        seed=picture.seed,
    )


def facts_of(job: Job, pictures: Sequence[Picture], titles: Mapping[str, str]) -> tuple[Fact, ...]:
    """Return what decided the pictures, and how long the device took for them."""
    request, locale = job.request, job.locale
    seeds = [str(picture.seed) for picture in pictures] or [str(request.seed)]
    values = (
        ("fact.seed", ", ".join(seeds) if len(seeds) <= _SHORT_LIST else f"{seeds[0]} … {seeds[-1]}"),
        ("fact.steps", str(request.steps)),
        ("fact.guidance", durations.number(request.guidance, locale)),
        ("fact.size", f"{request.width}x{request.height}"),
        ("fact.model", titles.get(request.model, request.model)),
        ("fact.style", request.style),
        ("fact.negative", request.negative),
        ("fact.time", text(locale, "duration.seconds", seconds=durations.number(job.seconds, locale))),
    )
    return tuple(Fact(text(locale, label), value) for label, value in values if value)


def _status(job: Job, drawn: int, waiting: Waiting | None, progress: float | None) -> str:
    locale, count = job.locale, job.request.count
    match job.state:
        case JobState.HELD:
            return text(locale, "card.held")
        case JobState.QUEUED:
            return _in_line(locale, waiting)
        case JobState.RUNNING:
            if progress is None:
                return text(locale, "card.running", n=count)
            return text(locale, "card.running.percent", n=count, percent=int(100 * min(max(progress, 0.0), 1.0)))
        case JobState.PAINTED | JobState.DELIVERED:
            return text(locale, "card.done", n=drawn) if drawn else text(locale, "card.unkept")
        case JobState.CANCELLED:
            return text(locale, "card.cancelled")
        case JobState.FAILED:
            return text(locale, job.error if known(job.error) else _NO_REASON)


def _in_line(locale: str, waiting: Waiting | None) -> str:
    if waiting is None:
        return text(locale, "card.queued.soon")
    key = "card.queued.next" if waiting.position <= 1 else "card.queued.position"
    if waiting.eta is None:
        return text(locale, key, position=waiting.position)
    eta = text(locale, "duration.about", duration=durations.spoken(waiting.eta, locale))
    return text(locale, f"{key}_eta", position=waiting.position, eta=eta)


def _notes(job: Job, drawn: int, more: Sequence[str]) -> tuple[str, ...]:
    notes = [text(job.locale, key) for key in job.request.notes]
    missing = job.request.count - drawn
    if job.state in _FINISHED and drawn > 0 and missing > 0:
        notes.append(text(job.locale, "note.partial", n=missing))
    if job.attempts and job.state in {JobState.QUEUED, JobState.RUNNING}:
        notes.append(text(job.locale, "note.attempt"))
    return (*notes, *(text(job.locale, key) for key in more))


def _buttons(job: Job, pictures: Sequence[Picture]) -> Rows:
    locale = job.locale
    if job.state in _STOPPABLE:
        return ((Button(text(locale, "button.cancel"), Press(Action.CANCEL, job.id), danger=True),),)
    reroll = Button(text(locale, "button.reroll"), Press(Action.REROLL, job.id))
    if job.state not in _FINISHED:
        return ((reroll,),)
    seeds = [
        Button(
            text(locale, "button.seed") if len(pictures) == 1 else text(locale, "button.seed_of", index=p.index + 1),
            Press(Action.SEED, job.id, p.index),
        )
        for p in pictures
    ]
    rows = [tuple(seeds[i : i + SEEDS_IN_A_ROW]) for i in range(0, len(seeds), SEEDS_IN_A_ROW)]
    if len(seeds) == 1:
        return ((reroll, *seeds),)
    return ((reroll,), *rows)
