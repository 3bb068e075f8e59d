"""Admit a request: checked, reserved, stored and queued in one transaction, once for each event."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from bot.model.errors import Conflict, Moderated, Unavailable, Uninvited
from bot.model.jobs import Job, JobState
from bot.model.messages import MessageState, Ref
from bot.model.people import Actor, Place
from bot.model.requests import DrawForm, DrawRequest
from bot.policy.requests import check
from bot.policy.tickets import ticket_of
from bot.store import blobs, inputs, jobs, messages, people
from bot.store.database import Tx
from bot.store.inputs import Staged
from bot.usecases.asking import look
from bot.usecases.gates import access, bans, paused, words
from bot.usecases.given import given
from bot.usecases.house import House
from bot.usecases.reserve import reserve
from bot.usecases.standing import channel_of

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


async def draw(house: House, actor: Actor, place: Place, form: DrawForm, ref: Ref) -> Job:
    """Admit a request as typed; the same event again returns its job. Raises Refusal, and then nothing is stored."""
    most = house.max_count(actor.platform)
    if form.image is None and form.mask is None:
        return await admit(house, actor, place, check(form, house.profiles(), most, house.rng, house.styles), ref)
    async with given(house, form.image, form.mask) as (start, files):
        request = check(form, house.profiles(), most, house.rng, house.styles, start=start)
        return await admit(house, actor, place, request, ref, files=files)


async def admit(
    house: House,
    actor: Actor,
    place: Place,
    request: DrawRequest,
    ref: Ref,
    *,
    parent_id: int | None = None,
    files: Sequence[Staged] = (),
    pressing: Pressing | None = None,
) -> Job:
    """Admit a checked request.

    Args:
        house: What use cases work with.
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
    if await blobs.free_bytes(house.pictures) < blobs.MIN_FREE_BYTES:
        raise Unavailable("unavailable.disk_full")
    try:
        return await _admit(house, actor, place, request, ref, parent_id=parent_id, files=files, pressing=pressing)
    except Moderated as refusal:
        # What was refused was undone with its transaction.
        await words.refused(house, actor, place, ref, request=request, refusal=refusal)
        raise
    except Uninvited as refusal:
        # What was refused was undone with its transaction.
        if refusal.key == access.UNLISTED:
            await access.write_down(house, actor, place)
        raise


async def _admit(
    house: House,
    actor: Actor,
    place: Place,
    request: DrawRequest,
    ref: Ref,
    *,
    parent_id: int | None,
    files: Sequence[Staged],
    pressing: Pressing | None,
) -> Job:
    with ExitStack() as seat:
        async with house.db.write() as tx:
            job = await jobs.by_event(tx, ref.event)
            if job is not None:
                if ref.digest and await jobs.digest_of(tx, job.id) not in {"", ref.digest}:
                    raise Conflict("refusal.event.other")
                return job
            job = await _store(
                tx, house, actor, place, request=request, ref=ref, parent_id=parent_id, pressing=pressing
            )
            if job.state is JobState.QUEUED:
                # The next one's body may run before this one is committed and in the queue.
                seat.enter_context(house.backlog.seat())
            for file in files:
                await inputs.keep(file)
        if job.state is JobState.QUEUED:
            house.backlog.put(ticket_of(job))
        else:
            house.backlog.changed(job.id)
            if job.state is JobState.HELD:
                house.backlog.asked()
    return job


def _room(house: House) -> None:
    """Raises Unavailable when as many wait as may; asked while nobody else can be admitted, so the bound is exact."""
    seconds = house.backlog.full()
    if seconds is not None:
        raise Unavailable("unavailable.queue_full", wait=seconds)


async def _store(
    tx: Tx,
    house: House,
    actor: Actor,
    place: Place,
    *,
    request: DrawRequest,
    ref: Ref,
    parent_id: int | None,
    pressing: Pressing | None,
) -> Job:
    now = house.clock.now()
    person = await people.remember(tx, actor, now=now)
    if pressing is not None and parent_id is not None:
        # The earlier press may have waited for its turn: its job is then younger than this press.
        since, until = pressing.at - AT_ONCE, max(now, pressing.at) + AT_ONCE
        job = await jobs.pressed(tx, person.id, parent_id, pressing.button, since=since, until=until)
        if job is not None:
            raise Repeated(job)
    place_id = await people.remember_place(tx, place, now=now)
    asking = await look(tx, actor, place, person, place_id=place_id, now=now)
    bans.check(asking)
    paused.check(asking)
    held = await access.check(tx, house, asking)
    request, strictness = words.check(house, asking, request)
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
        await reserve(tx, house, asking, job)
        _room(house)
    if ref.address is not None:
        state = MessageState.OPENING if ref.answered else MessageState.WANTED
        await messages.add_card(tx, ref.event, job.id, ref.address, state)
    return job
