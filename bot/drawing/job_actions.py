"""Actions on a job: reroll, draw from a seed, vary, upscale, draw again, original files, cancel.

The command runner has checked the actor's rights and access to the job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, replace

from bot.cards.i18n import text
from bot.context import AppContext
from bot.core import requests
from bot.core.cards import ButtonPress, Card, Tone
from bot.core.errors import BadInput, NotFound, OverQuota
from bot.core.jobs import Job, JobState
from bot.core.messages import EventRef, Message, MessageKind
from bot.core.people import Actor, Place
from bot.core.pictures import Picture
from bot.core.preferences import narrower
from bot.core.requests import ABOUT_DEMO, DrawForm, DrawRequest, PictureUse
from bot.delivery import store as delivery
from bot.drawing import flags
from bot.drawing.admission import PressedButton, admit, draw
from bot.drawing.defaults import defaults_of
from bot.drawing.picture_requests import choose_use
from bot.drawing.start_picture import find_picture
from bot.quotas.store import ledger
from bot.storage import data_files, inputs, jobs, messages, people, pictures
from bot.storage.database import Tx
from bot.storage.sql import dump_card
from engine.contract import Capability, ImageInfo, Profile

REPEATED = "note.again"
"""Note of a request that repeats a job: it should draw identical pictures."""

OTHER_REVISION = "other_revision"
OTHER_SETUP = "other_setup"
OTHER_PRECISION = "other_precision"
OTHER_DEVICE = "other_device"
"""Notes of a repeated picture whose setup differs from the first time."""

_STOPPABLE = (JobState.HELD, JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class OriginalFiles:
    """The requested original files; ``sent`` if delivery sends them on its own."""

    job: Job
    pictures: tuple[Picture, ...]
    sent: bool


async def reroll(ctx: AppContext, actor: Actor, place: Place, press: ButtonPress, ref: EventRef) -> Job:
    """Admit the same request with a new seed. Raises Refusal or RepeatedPress."""
    pressed = _pressed(ctx, press)
    job = await get_job(ctx, press.job_id)
    request = requests.reroll(job.request, ctx.rng)
    return await admit_child(ctx, actor, place, ref, parent=job, request=request, pressed=pressed)


async def draw_from_seed(ctx: AppContext, actor: Actor, place: Place, press: ButtonPress, ref: EventRef) -> Job:
    """Admit the request that starts at this picture's seed and counts up. Raises Refusal or RepeatedPress."""
    pressed = _pressed(ctx, press)
    job = await get_job(ctx, press.job_id)
    index = press.index or 0
    if index >= job.request.count:
        raise NotFound("refusal.picture.not_found")
    request = requests.from_seed(job.request, index)
    return await admit_child(ctx, actor, place, ref, parent=job, request=request, pressed=pressed)


async def vary(ctx: AppContext, actor: Actor, place: Place, press: ButtonPress, ref: EventRef) -> Job:
    """Admit variations of this picture, around its seed. Raises Refusal or RepeatedPress."""
    pressed = _pressed(ctx, press)
    job = await get_job(ctx, press.job_id)
    index = press.index or 0
    if index >= job.request.count:
        raise NotFound("refusal.picture.not_found")
    profile = _profile(ctx, job.request.model)
    if Capability.VARY not in profile.can:
        raise BadInput("refusal.vary.model", model=profile.title)
    request = requests.vary(job.request, index, ctx.rng)
    return await admit_child(ctx, actor, place, ref, parent=job, request=request, pressed=pressed)


async def upscale(ctx: AppContext, actor: Actor, place: Place, press: ButtonPress, ref: EventRef) -> Job:
    """Admit an upscaling of this picture, to twice its size or the largest that the model allows.

    Raises Refusal or RepeatedPress.
    """
    pressed = _pressed(ctx, press)
    async with ctx.db.read() as tx:
        job = await _job(tx, press.job_id)
        found = await pictures.of_job(tx, job.id)
    picture = next((p for p in found if p.index == (press.index or 0)), None)
    if picture is None or not await data_files.exists(ctx.pictures, picture.path):
        raise NotFound("refusal.picture.not_found")
    profile = _profile(ctx, job.request.model)
    if Capability.IMAGE not in profile.can:
        raise BadInput("refusal.upscale.model", model=profile.title)
    size = requests.upscaled(picture.width, picture.height, profile)
    if size is None:
        raise BadInput("refusal.upscale.largest", value=f"{picture.width}x{picture.height}", high=profile.side.high)
    image = inputs.from_picture(ctx.pictures, picture.path)
    request = requests.upscale(job.request, picture.index, image, size)
    return await admit_child(ctx, actor, place, ref, parent=job, request=request, pressed=pressed)


async def draw_again(ctx: AppContext, actor: Actor, place: Place, job_id: int, ref: EventRef) -> Job:
    """Admit a job's request again with the same seed. The pictures are identical if model, precision and device are.

    Raises Refusal.
    """
    job = await get_job(ctx, job_id)
    request = job.request
    if not request.prompt:
        raise NotFound("refusal.job.not_found")
    return await admit_child(ctx, actor, place, ref, parent=job, request=request, note=REPEATED)


async def admit_child(
    ctx: AppContext,
    actor: Actor,
    place: Place,
    ref: EventRef,
    *,
    parent: Job,
    request: DrawRequest,
    note: str = "",
    pressed: PressedButton | None = None,
) -> Job:
    """Admit a request that was derived from a job's. Raises Refusal or RepeatedPress."""
    _profile(ctx, request.model)
    for name in (request.image, request.mask, *request.references):
        if name and await asyncio.to_thread(data_files.locate, ctx.pictures, name) is None:
            raise NotFound("refusal.again.start_gone")
    # The parent's own notes of these do not apply to its child.
    notes = (*(n for n in request.notes if n not in {REPEATED, ABOUT_DEMO}), *((note,) if note else ()))
    # A job of the web page may have more pictures than a chat allows.
    request = replace(
        request,
        count=min(request.count, ctx.max_count(actor.platform)),
        notes=notes,
        # A form makes a request of its own of the parent's, which has the parent's prompt.
        recipe_rule=narrower(request.recipe_rule, parent.request.recipe_rule),
    )
    return await admit(ctx, actor, place, request, ref, parent_id=parent.id, pressed=pressed)


async def originals(ctx: AppContext, actor: Actor, place: Place, press: ButtonPress, ref: EventRef) -> OriginalFiles:
    """Return the files of a job or of one of its pictures; if the adapter can't answer itself, delivery sends them.

    A file that delivery already sends to the same place is not sent twice.

    Raises:
        NotFound: There is no such picture, or its file is gone.
        OverQuota: The person downloaded many files recently; says when they may press again.
    """
    async with ctx.db.read() as tx:
        job = await _job(tx, press.job_id)
        found = await pictures.of_job(tx, job.id)
        person = await people.find(tx, actor.platform, actor.user_id)
    if press.index is not None:
        found = tuple(p for p in found if p.index == press.index)
    found = tuple([p for p in found if await data_files.exists(ctx.pictures, p.path)])
    if not found:
        raise NotFound("refusal.picture.not_found")
    person_key = (actor.platform, actor.user_id) if person is None else person.id
    file_key = (job.id, press.index, place)
    if ref.address is None or ref.answered:
        if ctx.download_limits.is_repeated(person_key, file_key, ctx.clock.monotonic()):
            return OriginalFiles(job, (), sent=True)
        _count_download(ctx, person_key, file_key)
        return OriginalFiles(job, found, sent=False)
    async with ctx.db.write() as tx:
        if await messages.by_event(tx, ref.event) is not None:
            return OriginalFiles(job, found, sent=True)
        pending = await messages.pending_files(tx, job.id, ref.address)
        found = tuple(p for p in found if p.index not in pending) if pending is not messages.ALL else ()
        if found:
            _count_download(ctx, person_key, file_key)
            indexes = [p.index for p in found] if pending or press.index is not None else []
            await messages.add_files(tx, ref.event, job.id, ref.address, MessageKind.DOCUMENT, indexes=indexes)
    if found:
        ctx.backlog.messages_added()
    return OriginalFiles(job, found, sent=True)


def _count_download(ctx: AppContext, person_key: Hashable, file_key: Hashable) -> None:
    wait = ctx.download_limits.take(person_key, file_key, ctx.clock.monotonic())
    if wait > 0:
        raise OverQuota("refusal.originals.often", wait=wait)


async def edit_drawn(ctx: AppContext, actor: Actor, place: Place, form: DrawForm, ref: EventRef) -> Job:
    """Admit a request whose picture was drawn before; its prompt says what to change.

    The picture is the one that ``form.start`` or ``--from`` names, else the actor's last one in this channel. Raises
    NotFound if there is no such picture or the actor may not see it here, or Refusal.
    """
    picture: Picture | None
    parsed = flags.parse(form)
    if parsed.start is not None:
        picture = await find_picture(ctx, actor, place, parsed.start)
        form = replace(parsed, start=None)
    else:
        async with ctx.db.read() as tx:
            picture = await pictures.last_of(tx, actor, place)
    path = None if picture is None else data_files.regular_file(ctx.pictures, picture.path)
    if path is None:
        raise NotFound("refusal.edit.none")
    data = await asyncio.to_thread(path.read_bytes)
    edits = choose_use(ctx, form, await defaults_of(ctx, actor, place)) is PictureUse.EDIT
    form = replace(form, references=(data,)) if edits else replace(form, image=data)
    return await draw(ctx, actor, place, form, ref)


async def cancel(ctx: AppContext, job_id: int) -> tuple[Job, bool]:
    """Cancel a job.

    Returns:
        The job as it is now, and whether this call cancelled it (False: it had ended, or was painted already).

    Raises:
        NotFound: There is no such job.
    """
    async with ctx.db.write() as tx:
        job = await _job(tx, job_id)
        now = ctx.clock.now()
        cancelled = False
        if job.state in _STOPPABLE:
            cancelled = await jobs.move(tx, job.id, job.state, JobState.CANCELLED, now=now)
        if cancelled:
            await ledger.refund(tx, job.id, now=now)
        after = await _job(tx, job_id)
    if cancelled:
        ctx.backlog.job_cancelled(job_id)
        ctx.backlog.job_changed(job_id)
    return after, cancelled


LEFT_CHAT = "card.left_chat"
"""Why the jobs of a chat were cancelled that the bot was removed from: a key of the catalogue."""


async def cancel_in_chat(ctx: AppContext, platform: str, chat: str) -> int:
    """The bot was removed from a chat: cancel and refund the jobs that wait there, and tell each person in private.

    People who can't be told in private are told at their next command. Returns how many jobs were cancelled.
    """
    return await _cancel_waiting(ctx, lambda tx: messages.of_waiting_jobs(tx, platform, chat))


async def cancel_in_place(ctx: AppContext, place: Place) -> int:
    """The bot was removed from a server or group: as ``cancel_in_chat``, for all of its chats."""

    async def waiting(tx: Tx) -> tuple[Message, ...]:
        place_id = await people.find_place(tx, place)
        return () if place_id is None else await messages.of_waiting_jobs_in_place(tx, place_id)

    return await _cancel_waiting(ctx, waiting)


async def _cancel_waiting(ctx: AppContext, waiting: Callable[[Tx], Awaitable[tuple[Message, ...]]]) -> int:
    cancelled: list[int] = []
    async with ctx.db.write() as tx:
        now = ctx.clock.now()
        for message in await waiting(tx):
            job = None if message.job_id is None else await jobs.get(tx, message.job_id)
            if job is None or job.state not in {JobState.HELD, JobState.QUEUED}:
                continue
            await jobs.move(tx, job.id, job.state, JobState.CANCELLED, now=now, error=LEFT_CHAT)
            await ledger.refund(tx, job.id, now=now)
            cancelled.append(job.id)
            address = delivery.private_address(message.address)
            if address is None:
                await delivery.mark_missed(tx, job.id)
            else:
                card = Card(Tone.STOPPED, text(job.locale, LEFT_CHAT), job.request.typed, final=True, locale=job.locale)
                await messages.add_notice(tx, f"left:{message.id}", address, dump_card(card), job.id)
    for job_id in cancelled:
        ctx.backlog.job_cancelled(job_id)
        ctx.backlog.job_changed(job_id)
    if cancelled:
        ctx.backlog.messages_added()
    return len(cancelled)


def setup_changes(then: ImageInfo, now: ImageInfo) -> tuple[str, ...]:
    """Return the notes for what differs between two setups. Values that an older Easel did not record count as equal."""
    found = []
    # A model that is not from the hub has no revision, so a move to or from the hub is a change.
    if then.precision and then.revision != now.revision:
        found.append(OTHER_REVISION)
    pairs = (
        (OTHER_SETUP, then.setup, now.setup),
        (OTHER_PRECISION, then.precision, now.precision),
        (OTHER_DEVICE, then.device, now.device),
    )
    found += [code for code, was, is_now in pairs if was and was != is_now]
    return tuple(found)


async def get_job(ctx: AppContext, job_id: int) -> Job:
    """Return a job. Raises NotFound."""
    async with ctx.db.read() as tx:
        return await _job(tx, job_id)


async def _job(tx: Tx, job_id: int) -> Job:
    job = await jobs.get(tx, job_id)
    if job is None:
        raise NotFound("refusal.job.not_found")
    return job


def line_of(ctx: AppContext, request: DrawRequest) -> str:
    """Return a request as its author could type it here; see ``flags.prompt_line``."""
    style = ctx.styles.get(request.style)
    return flags.prompt_line(request, ctx.profile(request.model), style, ctx.profiles()[0], ctx.loras())


def _profile(ctx: AppContext, model: str) -> Profile:
    profile = ctx.profile(model)
    if profile is None:
        raise BadInput("refusal.model.unknown", value=model, known=", ".join(one.name for one in ctx.profiles()))
    return profile


def _pressed(ctx: AppContext, press: ButtonPress) -> PressedButton:
    return PressedButton(f"{press.action}:{press.index or 0}", ctx.clock.now())
