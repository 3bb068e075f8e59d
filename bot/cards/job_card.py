"""The card of a job: how it stands, its facts, its pictures and its buttons, in the asker's language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bot.cards import durations
from bot.cards.i18n import instant, known, own_key, text
from bot.cards.job_buttons import FINISHED, STOPPABLE, JobButton, more_of, rows_of
from bot.core import requests
from bot.core.cards import Button, ButtonPress, Card, Fact, Instant, PendingImages, Tone
from bot.core.errors import Refusal
from bot.core.jobs import Job, JobState
from bot.core.pictures import Picture, PictureFile
from bot.core.ports import QueuePosition
from bot.core.requests import ABOUT_DEMO, DrawRequest, without_trigger
from bot.core.strictness import SPOILER
from bot.core.vocabulary import listed, unknown_words
from engine.contract import LoraInfo, Profile

ORIGINAL = "original"
"""The action that hands out original files."""

_SHORT_LIST = 4
"""Most seeds that are listed one by one; of more, the first and the last are shown."""

_TRIGGERS = 4
"""Most trigger words of a LoRA that are named."""

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
_FOR_OPERATORS = frozenset(
    {
        "unavailable.database.damaged",
        "unavailable.database.moved",
        "unavailable.database.unwritable",
        "unavailable.pictures.unwritable",
    }
)


def error_key(code: str) -> str:
    """Return the message that says why a job failed, for an ``EngineError.code``."""
    key = f"error.engine.{code}"
    return key if known(key) else _NO_REASON


def card_of(
    job: Job,
    pictures: Sequence[Picture],
    *,
    pictures_dir: Path,
    buttons: Mapping[str, JobButton],
    waiting: QueuePosition | None = None,
    progress: float | None = None,
    profile: Profile | None = None,
    loras: Sequence[LoraInfo] = (),
    notes: Sequence[str] = (),
    owned: bool = True,
    stalled: bool = False,
    preempted: bool = False,
) -> Card:
    """Return the card of a job as it is now.

    Args:
        job: The job; its locale is the card's language.
        pictures: Those that are stored, in order.
        pictures_dir: The folder that their paths are relative to.
        buttons: What buttons there are, by action.
        waiting: Where it stands in the queue, while it waits.
        progress: 0 to 1 while it is drawn.
        profile: The job's model; None when it is not there any more.
        loras: The engine's LoRAs, which have titles and trigger words.
        notes: Keys of further sentences, such as ``note.unclear``.
        owned: Whether anybody is known who can let newcomers in.
        stalled: What is drawn of it waits until it can be stored.
        preempted: It was begun and takes no steps while the engine draws others.
    """
    if job.forgotten:
        return _forgotten(job)
    finished = job.state in FINISHED
    # It was claimed ahead of time, or its first step is not done: the device may still draw what came before.
    begins_later = job.state is JobState.RUNNING and progress == 0 and not stalled
    # The share that is drawn stays in sight, and nothing says that it moves.
    rests = job.state is JobState.RUNNING and preempted and not stalled
    return Card(
        tone=Tone.WAITING if begins_later or rests else _TONES[job.state],
        status=_status(job, len(pictures), waiting, progress, owned=owned, stalled=stalled, preempted=preempted),
        prompt=job.request.typed,
        asker=job.asker,
        job_id=job.id,
        progress=progress if job.state is JobState.RUNNING and not begins_later else None,
        notes=(
            *_notes(job, pictures, profile, notes),
            *trigger_notes(job.request, loras, job.locale),
            *vocabulary_notes(job.request, profile, job.locale),
        ),
        summary=summary_of(job, pictures, profile, loras) if finished else (),
        facts=facts_of(job, pictures, profile, loras) if finished else (),
        pictures=tuple(file_of(job, picture, pictures_dir) for picture in pictures) if finished else (),
        buttons=rows_of(job, pictures, profile, buttons),
        more=more_of(job, pictures, profile, buttons),
        private=job.request.private,
        final=job.state not in STOPPABLE,
        coming=_coming(job, profile),
        locale=job.locale,
        quiet=finished and bool(pictures),
    )


def _forgotten(job: Job) -> Card:
    """Return what is left to say of a job whose person had it forgotten."""
    return Card(
        Tone.STOPPED,
        text(job.locale, "card.forgotten"),
        job_id=job.id,
        private=job.request.private,
        final=True,
        locale=job.locale,
    )


def unclear(job: Job) -> Card:
    """Return the card that says that nobody knows whether the pictures arrived; its button sends them."""
    button = Button(text(job.locale, "button.original"), ButtonPress(ORIGINAL, job.id))
    return Card(
        tone=Tone.PROBLEM,
        status=text(job.locale, "note.unclear"),
        prompt=job.request.typed,
        asker=job.asker,
        job_id=job.id,
        buttons=((button,),),
        private=job.request.private,
        final=True,
        locale=job.locale,
    )


def refused(refusal: Refusal, locale: str, surface: str = "", *, now: float | None = None) -> Card:
    """Return a refusal as a private card, in the wording of a surface where it has its own (``i18n.own_key``).

    With ``now``, in Unix seconds, the card also says when a wait is over.
    """
    if refusal.key in _FOR_OPERATORS:
        # Where the files of this machine lie is for its operator: the log and /readyz say it.
        return Card(Tone.PROBLEM, text(locale, "unavailable.storage"), private=True, final=True)
    key = own_key(surface, refusal.key)
    wait = refusal.params.get("wait")
    instants: tuple[Instant, ...] = ()
    if now is not None and isinstance(wait, int | float):
        instants = (instant(locale, wait, now),)
    status = text(locale, key, **refusal.params)
    return Card(Tone.PROBLEM, status, private=True, final=True, instants=instants, locale=locale)


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
        spoiler=picture.flag == SPOILER,
        digest=picture.digest,
    )


def trigger_notes(request: DrawRequest, loras: Sequence[LoraInfo], locale: str) -> tuple[str, ...]:
    """Return a note for each LoRA whose trigger words the prompt lacks."""
    return tuple(
        text(locale, "note.lora.triggers", lora=lora.title, triggers=", ".join(lora.triggers[:_TRIGGERS]))
        for lora in without_trigger(request, loras)
    )


def vocabulary_notes(request: DrawRequest, profile: Profile | None, locale: str) -> tuple[str, ...]:
    """Return a note with the words that the model was never taught, if it has a vocabulary and there are any."""
    words = unknown_words(request.typed, frozenset() if profile is None else profile.vocabulary)
    if profile is None or not words:
        return ()
    return (text(locale, "note.vocabulary", model=profile.title, words=listed(words)),)


def facts_of(
    job: Job, pictures: Sequence[Picture], profile: Profile | None, loras: Sequence[LoraInfo] = ()
) -> tuple[Fact, ...]:
    """Return what decided the pictures, and how long the device took for them."""
    request, locale = job.request, job.locale
    usual = profile is not None and request.negative == profile.negative_default
    variations = [requests.variation_seed_of(request, picture.index) for picture in pictures] or [
        request.variation_seed
    ]
    values = (
        ("fact.seed", _listed([picture.seed for picture in pictures] or [request.seed])),
        ("fact.variation", durations.number(request.variation, locale) if request.variation else ""),
        ("fact.variation_seed", _listed(variations) if request.variation else ""),
        ("fact.steps", str(request.steps)),
        ("fact.sampler", request.sampler),
        ("fact.clip_skip", str(request.clip_skip) if request.clip_skip else ""),
        ("fact.guidance", durations.number(request.guidance, locale)),
        ("fact.upscale", f"{durations.number(request.upscale, locale)}×" if request.upscale else ""),
        ("fact.control", _control(request, locale)),
        ("fact.strength", durations.number(request.strength, locale) if _has_strength(request) else ""),
        (
            "fact.references",
            text(locale, "fact.references.pictures", n=len(request.references)) if request.references else "",
        ),
        ("fact.size", f"{request.width}x{request.height}"),
        ("fact.model", request.model if profile is None else profile.title),
        ("fact.style", request.style),
        ("fact.loras", _loras(request, loras, locale)),
        ("fact.negative_default" if usual else "fact.negative", request.negative),
        ("fact.time", text(locale, "duration.seconds", seconds=durations.number(job.seconds, locale))),
    )
    return tuple(Fact(text(locale, label), value) for label, value in values if value)


def summary_of(
    job: Job, pictures: Sequence[Picture], profile: Profile | None, loras: Sequence[LoraInfo] = ()
) -> tuple[str, ...]:
    """Return the facts that people compare, each short enough for one line: always seed, steps, size, model and time.

    What is as usual for the model is left out, and so is the negative prompt.
    """
    request, locale = job.request, job.locale
    seeds = [picture.seed for picture in pictures] or [request.seed]
    usual_guidance = profile is not None and request.guidance == profile.guidance.default
    values = (
        ("summary.guidance", "" if usual_guidance else durations.number(request.guidance, locale)),
        ("summary.sampler", request.sampler),
        ("summary.strength", durations.number(request.strength, locale) if _has_strength(request) else ""),
        ("summary.control", _control(request, locale)),
        ("summary.variation", durations.number(request.variation, locale) if request.variation else ""),
        ("summary.upscale", durations.number(request.upscale, locale) if request.upscale else ""),
        ("summary.size", f"{request.width}×{request.height}"),
        ("summary.model", request.model if profile is None else profile.title),
        ("summary.style", request.style),
        ("summary.loras", _loras(request, loras, locale)),
        ("summary.time", durations.number(_short(job.seconds), locale)),
    )
    return (
        text(locale, "summary.seed", n=len(set(seeds)), value=_range(seeds)),
        text(locale, "summary.steps", n=request.steps),
        *((text(locale, "summary.references", n=len(request.references)),) if request.references else ()),
        *(text(locale, key, value=value) for key, value in values if value),
    )


def _short(seconds: float) -> float:
    """Return seconds with about two digits."""
    return round(seconds, 2 if seconds < 1 else 1 if seconds < 10 else 0)


def _has_strength(request: DrawRequest) -> bool:
    return bool(request.image) and not (request.control or request.references)


def _control(request: DrawRequest, locale: str) -> str:
    return f"{request.control} {durations.number(request.control_weight, locale)}" if request.control else ""


def _range(seeds: Sequence[int]) -> str:
    """Return seeds that count up as a range, others as a list."""
    first, last = seeds[0], seeds[-1]
    if len(seeds) > 1 and list(seeds) == list(range(first, first + len(seeds))):
        return f"{first}–{last}"
    return _listed(seeds)


def _loras(request: DrawRequest, known: Sequence[LoraInfo], locale: str) -> str:
    titles = {lora.name: lora.title for lora in known}
    return ", ".join(
        f"{titles.get(lora.name, lora.name)} {durations.number(lora.weight, locale)}" for lora in request.loras
    )


def _listed(seeds: Sequence[int]) -> str:
    known = [str(seed) for seed in dict.fromkeys(seeds)]
    return ", ".join(known) if len(known) <= _SHORT_LIST else f"{known[0]} … {known[-1]}"


def _coming(job: Job, profile: Profile | None) -> PendingImages | None:
    if job.state not in STOPPABLE:
        return None
    request, enlarge = job.request, 1 if profile is None else profile.enlarge
    return PendingImages(request.count, request.width, request.height, enlarge)


def _status(
    job: Job,
    drawn: int,
    waiting: QueuePosition | None,
    progress: float | None,
    *,
    owned: bool,
    stalled: bool,
    preempted: bool,
) -> str:
    locale, count = job.locale, job.request.count
    match job.state:
        case JobState.HELD:
            return text(locale, "card.held" if owned else "card.held.unowned")
        case JobState.QUEUED:
            return in_line(locale, waiting)
        case JobState.RUNNING:
            if stalled:
                return text(locale, "card.running.stalled")
            if progress is None:
                return text(locale, "card.running", n=count)
            if progress == 0:
                return text(locale, "card.running.next", n=count)
            percent = int(100 * min(max(progress, 0.0), 1.0))
            if preempted:
                return text(locale, "card.running.preempted", percent=percent)
            return text(locale, "card.running.percent", n=count, percent=percent)
        case JobState.PAINTED | JobState.DELIVERED:
            return text(locale, "card.done", n=drawn) if drawn else text(locale, "card.unkept")
        case JobState.CANCELLED:
            return text(locale, job.error if known(job.error) else "card.cancelled")
        case JobState.FAILED:
            return text(locale, job.error if known(job.error) else _NO_REASON)


def in_line(locale: str, waiting: QueuePosition | None) -> str:
    """Return a waiting job's position and expected wait in words."""
    if waiting is None:
        return text(locale, "card.queued.soon")
    if waiting.paused:
        return text(locale, "card.queued.paused", position=waiting.position)
    key = "card.queued.next" if waiting.position <= 1 else "card.queued.position"
    if waiting.eta is None:
        return text(locale, key, position=waiting.position)
    low, duration = durations.ends(waiting.eta.low, waiting.eta.high, locale)
    if low:
        between = "duration.between" if low.isdecimal() else "duration.between_units"
        duration = text(locale, between, low=low, high=duration)
    eta = text(locale, "duration.about", duration=duration)
    return text(locale, f"{key}_eta", position=waiting.position, eta=eta)


def _notes(job: Job, pictures: Sequence[Picture], profile: Profile | None, more: Sequence[str]) -> tuple[str, ...]:
    codes = dict.fromkeys(code for picture in pictures for code in picture.notes)
    # What a newer engine says and these catalogues don't know is left out.
    drawn = [key for code in codes if known(key := f"note.engine.{code}")]
    # Where the demo is not there any more, nobody needs to know of it.
    demo = profile is not None and profile.demo
    own = [key for key in job.request.notes if demo or key != ABOUT_DEMO]
    notes = [text(job.locale, key) for key in (*own, *drawn)]
    missing = job.request.count - len(pictures)
    if job.state in FINISHED and pictures and missing > 0:
        notes.append(text(job.locale, "note.partial", n=missing))
    if job.attempts and job.state in {JobState.QUEUED, JobState.RUNNING}:
        notes.append(text(job.locale, "note.attempt"))
    return (*notes, *(text(job.locale, key) for key in more))
