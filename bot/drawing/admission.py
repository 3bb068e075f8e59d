"""Admit a request: checked, reserved, stored and queued in one transaction, once for each event."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from bot.access import newcomers
from bot.context import AppContext
from bot.core.errors import Conflict, Moderated, Unavailable, Uninvited
from bot.core.jobs import Job, JobState, ticket_of
from bot.core.messages import EventRef, MessageState
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm, DrawRequest
from bot.drawing.request_rules import check
from bot.drawing.source_image import staged_source
from bot.moderation import bans, word_check
from bot.moderation import store as moderation_rows
from bot.places import admission_context
from bot.places import options as place_options
from bot.quotas.quota_status import channel_of
from bot.quotas.reservation import reserve
from bot.quotas.store import rules as rule_rows
from bot.storage import blobs, inputs, jobs, messages, people
from bot.storage.database import Tx
from bot.storage.inputs import Staged

AT_ONCE = 2.0
"""Seconds within which presses of the same button by the same person are one press."""


class Repeated(Exception):
    """The same person pressed the same button a moment ago; ``job`` is what that press has made."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"job {job.id} was just made by this button")
        self.job = job


@dataclass(frozen=True, slots=True)
class Pressing:
    """The press that asks for a job.

    Attributes:
        button: Which button of the parent's card, such as ``vary:0``.
        at: When it was pressed, in Unix seconds.
    """

    button: str
    at: float


async def draw(ctx: AppContext, actor: Actor, place: Place, form: DrawForm, ref: EventRef) -> Job:
    """Admit a request as typed; the same event again returns its job. Raises Refusal, and then nothing is stored."""
    most = ctx.max_count(actor.platform)
    if form.image is None and form.mask is None:
        return await admit(ctx, actor, place, check(form, ctx.profiles(), most, ctx.rng, ctx.styles), ref)
    async with staged_source(ctx, form.image, form.mask) as (start, files):
        request = check(form, ctx.profiles(), most, ctx.rng, ctx.styles, start=start)
        return await admit(ctx, actor, place, request, ref, files=files)


async def admit(
    ctx: AppContext,
    actor: Actor,
    place: Place,
    request: DrawRequest,
    ref: EventRef,
    *,
    parent_id: int | None = None,
    files: Sequence[Staged] = (),
    pressing: Pressing | None = None,
) -> Job:
    """Admit a checked request.

    Args:
        ctx: What use cases work with.
        actor: Who asks.
        place: Where.
        request: What for; its seed is fixed.
        ref: The event behind it, and where its card belongs.
        parent_id: The job that it was made from by a button.
        files: What it starts from, kept with it.
        pressing: The press of a button of ``parent_id``, if it was one.

    Returns:
        The stored job; the one that is there already when the same event came before.

    Raises:
        OverQuota: Says how many are left and when more come back.
        Uninvited: No owner has let them in.
        Moderated: Its words are not drawn here.
        NotAllowed: They are banned, or were refused too often of late.
        Repeated: They pressed the same button less than ``AT_ONCE`` ago; nothing is stored.
        Conflict: The same event came before with another request (only where ``ref`` has a digest).
        Unavailable: No disk space, the queue is full, or the database can't be written.
    """
    if await blobs.free_bytes(ctx.pictures) < blobs.MIN_FREE_BYTES:
        raise Unavailable("unavailable.disk_full")
    try:
        return await _admit(ctx, actor, place, request, ref, parent_id=parent_id, files=files, pressing=pressing)
    except Moderated as refusal:
        # What was refused was undone with its transaction.
        await word_check.record_refusal(ctx, actor, place, ref, request=request, refusal=refusal)
        raise
    except Uninvited as refusal:
        # What was refused was undone with its transaction.
        if refusal.key == newcomers.UNLISTED:
            await newcomers.record_request(ctx, actor, place)
        raise


async def _admit(
    ctx: AppContext,
    actor: Actor,
    place: Place,
    request: DrawRequest,
    ref: EventRef,
    *,
    parent_id: int | None,
    files: Sequence[Staged],
    pressing: Pressing | None,
) -> Job:
    with ExitStack() as seat:
        async with ctx.db.write() as tx:
            job = await jobs.by_event(tx, ref.event)
            if job is not None:
                if ref.digest and await jobs.digest_of(tx, job.id) not in {"", ref.digest}:
                    raise Conflict("refusal.event.other")
                return job
            job = await _store(tx, ctx, actor, place, request=request, ref=ref, parent_id=parent_id, pressing=pressing)
            if job.state is JobState.QUEUED:
                # The next one's body may run before this one is committed and in the queue.
                seat.enter_context(ctx.backlog.seat())
            for file in files:
                await inputs.keep(file)
        if job.state is JobState.QUEUED:
            ctx.backlog.put(ticket_of(job))
        else:
            ctx.backlog.changed(job.id)
            if job.state is JobState.HELD:
                ctx.backlog.asked()
    return job


def _room(ctx: AppContext) -> None:
    """Raises Unavailable when as many wait as may; asked while nobody else can be admitted, so the bound is exact."""
    seconds = ctx.backlog.full()
    if seconds is not None:
        raise Unavailable("unavailable.queue_full", wait=seconds)


async def _store(
    tx: Tx,
    ctx: AppContext,
    actor: Actor,
    place: Place,
    *,
    request: DrawRequest,
    ref: EventRef,
    parent_id: int | None,
    pressing: Pressing | None,
) -> Job:
    now = ctx.clock.now()
    person = await people.remember(tx, actor, now=now)
    if pressing is not None and parent_id is not None:
        # The earlier press may have waited for its turn: its job is then younger than this press.
        since, until = pressing.at - AT_ONCE, max(now, pressing.at) + AT_ONCE
        job = await jobs.pressed(tx, person.id, parent_id, pressing.button, since=since, until=until)
        if job is not None:
            raise Repeated(job)
    place_id = await people.remember_place(tx, place, now=now)
    # Concurrently: each waits longer for the database's thread than it works there.
    asking, ban, strikes, quota_rules = await asyncio.gather(
        admission_context.load(tx, actor, place, person, place_id=place_id, now=now),
        moderation_rows.binding_ban(tx, person.id, place_id, now=now),
        moderation_rows.strikes_of(tx, person.id),
        rule_rows.for_one(tx, actor, place.guild, person.id),
    )
    bans.check_ban(asking, ban)
    place_options.check_not_paused(asking)
    held = await newcomers.check_access(tx, ctx, asking)
    request, strictness = word_check.check_words(ctx, asking, request, strikes)
    job = await jobs.add(
        tx,
        jobs.NewJob(
            event=ref.event,
            state=JobState.HELD if held else JobState.QUEUED,
            person_id=person.id,
            account_id=person.account_id,
            place_id=place_id,
            request=request,
            locale=actor.locale,
            asker=actor.name,
            created_at=now,
            parent_id=parent_id,
            channel=channel_of(place),
            strictness=strictness,
            # A held one is decided on later, when nobody is there to ask for them.
            roles=actor.roles if held else (),
            pressed="" if pressing is None else pressing.button,
            digest=ref.digest,
        ),
    )
    if not held:
        await reserve(tx, ctx, asking, job, quota_rules)
        _room(ctx)
    if ref.address is not None:
        state = MessageState.OPENING if ref.answered else MessageState.WANTED
        await messages.add_card(tx, ref.event, job.id, ref.address, state)
    return job
