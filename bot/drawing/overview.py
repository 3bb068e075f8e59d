"""Commands that only tell: ``/queue``, one's own place in line; ``/info``, the models and limits that concern a member."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from bot.cards import job_card
from bot.cards.i18n import text
from bot.commands.model import Command, Invocation, Permission
from bot.context import AppContext
from bot.core.cards import Card, Fact, Tone
from bot.core.jobs import Job, JobState
from bot.core.texts import shown
from bot.drawing.defaults import rights_of
from bot.drawing.styles import list_names
from bot.storage import jobs, people
from engine.contract import Capability, Profile

MOST_JOBS = 10
"""Most of one's own jobs that are listed."""

_CARD_MODELS = 12


async def _queue(ctx: AppContext, invocation: Invocation) -> Card:
    """Tell how much there is to draw, and where one's own jobs stand. Of other people's it tells only how many."""
    actor, locale = invocation.actor, invocation.actor.locale
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        own = () if person is None else await jobs.open_of_person(tx, person.id, limit=MOST_JOBS)
    load = ctx.backlog.load()
    empty = not (own or load.waiting or load.drawing)
    return Card(
        Tone.INFO,
        text(locale, "card.queue.empty")
        if empty
        else text(locale, "card.queue", waiting=load.waiting, drawing=load.drawing),
        notes=() if own or empty else (text(locale, "note.queue.none"),),
        facts=tuple(Fact(f"#{job.id}", f"{shown(job.request.typed)} · {_standing(ctx, job, locale)}") for job in own),
        private=True,
        final=True,
        locale=locale,
    )


def _standing(ctx: AppContext, job: Job, locale: str) -> str:
    match job.state:
        case JobState.HELD:
            return text(locale, "card.held")
        case JobState.RUNNING:
            progress = ctx.backlog.progress(job.id)
            if not progress:
                return text(locale, "card.running", n=job.request.count)
            return text(locale, "card.running.percent", n=job.request.count, percent=int(100 * progress))
        case _:
            return job_card.in_line(locale, ctx.backlog.position(job.id))


async def _info(ctx: AppContext, invocation: Invocation) -> Card:
    """Tell which models the person may use here, and the limits of a request."""
    actor, locale = invocation.actor, invocation.actor.locale
    rights = await rights_of(ctx, actor, invocation.place)
    profiles = [profile for profile in ctx.profiles() if rights.may_use_model(profile, actor)]
    loras = [lora for lora in ctx.loras() if rights.may_use_lora(lora, actor)]
    facts = [Fact(profile.title, _model(profile, locale)) for profile in profiles[:_CARD_MODELS]]
    facts.append(Fact(text(locale, "fact.styles"), list_names(tuple(ctx.styles))))
    if loras:
        facts.append(Fact("LoRA", text(locale, "info.loras", n=len(loras))))
    return Card(
        Tone.INFO,
        text(locale, "card.info"),
        notes=(
            *_left_out(profiles, locale),
            text(locale, "note.info.count", n=ctx.max_count(actor.platform)),
            text(locale, "note.info.more", version=version("easel")),
        ),
        facts=tuple(facts),
        private=True,
        final=True,
        locale=locale,
    )


def _left_out(profiles: Sequence[Profile], locale: str) -> tuple[str, ...]:
    more = len(profiles) - _CARD_MODELS
    return (text(locale, "note.info.models", n=more),) if more > 0 else ()


def _model(profile: Profile, locale: str) -> str:
    low, high = profile.side.low, profile.side.high
    parts = [profile.name, text(locale, "info.sides", low=low, high=high, n=profile.steps.default)]
    if Capability.EDIT in profile.can:
        parts.append(text(locale, "info.edits", n=profile.references))
    return " · ".join(parts)


COMMANDS = (
    Command(name="queue", permission=Permission.ANYBODY, handler=_queue, personal=True),
    Command(name="info", permission=Permission.ANYBODY, handler=_info),
)
