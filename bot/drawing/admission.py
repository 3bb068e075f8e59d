"""Admission of a request: checks it, reserves quota, stores the job and queues it, once for each event."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from bot.access import newcomers
from bot.commands import permissions
from bot.context import AdmissionContext, AppContext, load_admission_context
from bot.core.errors import AdminsOnly, BadInput, Conflict, Moderated, NotAllowed, Unavailable, Uninvited
from bot.core.jobs import Job, JobState, ServiceState, ticket_of
from bot.core.messages import EventRef, Message, MessageKind, MessageState
from bot.core.people import Actor, Person, Place
from bot.core.preferences import RIGHTS, narrower
from bot.core.quotas import QuotaRule
from bot.core.requests import DrawForm, DrawRequest
from bot.core.strictness import Strictness
from bot.drawing import flags, model_rules
from bot.drawing.defaults import UseRights, defaults_of, read_rights, restricted
from bot.drawing.request_rules import MAX_TYPED, check_form
from bot.drawing.source_image import staged_sources
from bot.drawing.start_picture import find_parent, find_start
from bot.moderation import checks
from bot.moderation import store as moderation_rows
from bot.observability.log_context import job_context
from bot.places.options import PAUSED
from bot.quotas import usage
from bot.quotas.store import ledger
from bot.quotas.store import rules as rule_rows
from bot.storage import data_files, inputs, jobs, messages, people
from bot.storage.database import Tx
from bot.storage.inputs import Staged

log = logging.getLogger(__name__)

_REVISABLE = 20
"""Most jobs of a person, newest first, that are searched for the one of an edited message."""

DOUBLE_PRESS_SECONDS = 2.0
"""Two presses of the same button by the same person within this time are one press."""


_NOT_FOR_THEM: Mapping[str, tuple[str, str]] = {
    "model": ("refusal.model.admins", "refusal.model.roles"),
    "lora": ("refusal.lora.admins", "refusal.lora.roles"),
}
"""The refusals of what is for admins, and of what is for other roles."""


class RepeatedPress(Exception):
    """The same person pressed the same button a moment ago; ``job`` is the job of that press."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"job {job.id} was just made by this button")
        self.job = job


@dataclass(frozen=True, slots=True)
class PressedButton:
    """The button press that requests a job.

    Attributes:
        button: The button of the parent's card, such as ``vary:0``.
        at: When it was pressed, in Unix seconds.
    """

    button: str
    at: float


@dataclass(frozen=True, slots=True)
class _Admission:
    """The arguments of ``admit``, passed on together."""

    actor: Actor
    place: Place
    request: DrawRequest
    ref: EventRef
    parent_id: int | None = None
    files: Sequence[Staged] = ()
    pressed: PressedButton | None = None
    made_by: str = ""
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class _Checked:
    """A request that may be stored.

    Attributes:
        context: Who requests it, and where.
        request: The request, with notes about its words.
        strictness: By which its pictures are judged.
        held: It waits until an owner has admitted its person.
        quota_rules: Candidate rules of the person.
    """

    context: AdmissionContext
    request: DrawRequest
    strictness: Strictness
    held: bool
    quota_rules: Sequence[QuotaRule]


async def draw(ctx: AppContext, actor: Actor, place: Place, form: DrawForm, ref: EventRef) -> Job:
    """Admit a request as typed. The same event again returns its job. Raises Refusal; then nothing is stored."""
    async with checked_form(ctx, actor, place, form) as (request, files):
        parent = await find_parent(ctx, actor, place, form)
        if parent is None:
            return await admit(ctx, actor, place, request, ref, files=files)
        made_by = f"{'edit' if request.references else 'start'}:{parent.index}"
        return await admit(ctx, actor, place, request, ref, files=files, parent_id=parent.job_id, made_by=made_by)


@asynccontextmanager
async def checked_form(
    ctx: AppContext, actor: Actor, place: Place, form: DrawForm
) -> AsyncIterator[tuple[DrawRequest, Sequence[Staged]]]:
    """Yield the request of a form, with what holds here where nothing is typed, and the files of its pictures."""
    defaults = await defaults_of(ctx, actor, place)
    # A text that is too long is not parsed; check_form refuses it.
    start = await find_start(ctx, actor, place, flags.parse(form) if len(form.prompt) <= MAX_TYPED else form)
    async with staged_sources(ctx, form) as sources:
        request = check_form(
            form,
            ctx.profiles(),
            ctx.max_count(actor.platform),
            ctx.rng,
            ctx.styles,
            loras=ctx.loras(),
            source=sources.source or start,
            references=sources.references,
            edit_model=ctx.edit_model,
            defaults=defaults,
        )
        yield request, sources.files


async def revise(ctx: AppContext, actor: Actor, place: Place, form: DrawForm, ref: EventRef) -> Job | None:
    """Replace the request of the actor's waiting job whose card answers the same message as ``ref.address``.

    The job is cancelled and refunded, and the new one gets its card, in one transaction.

    Returns:
        The new job, or the old one if nothing has changed; None if no job of the actor answers that message.

    Raises:
        Refusal: The job does not wait in the queue any more, or the new request is refused; then the old one stays.
    """
    async with ctx.db.read() as tx:
        found = await _answering(tx, actor, ref)
    if found is None:
        return None
    if found[0].request.image or found[0].request.references:
        raise Conflict("refusal.revise.pictures")
    async with checked_form(ctx, actor, place, form) as (request, files):
        return await admit(ctx, actor, place, request, ref, files=files, replaces=True)


async def _answering(tx: Tx, actor: Actor, ref: EventRef) -> tuple[Job, Message] | None:
    """Return the actor's newest job whose card answers the message of ``ref.address``, with that card."""
    at, person = ref.address, await people.find(tx, actor.platform, actor.user_id)
    if at is None or at.reply_to is None or person is None:
        return None
    for job in await jobs.of_person(tx, person.id, limit=_REVISABLE):
        for message in await messages.of_job(tx, job.id):
            near = message.address
            if message.kind is MessageKind.CARD and (near.platform, near.chat, near.reply_to) == (
                at.platform,
                at.chat,
                at.reply_to,
            ):
                return job, message
    return None


async def admit(
    ctx: AppContext,
    actor: Actor,
    place: Place,
    request: DrawRequest,
    ref: EventRef,
    *,
    parent_id: int | None = None,
    files: Sequence[Staged] = (),
    pressed: PressedButton | None = None,
    made_by: str = "",
    replaces: bool = False,
) -> Job:
    """Admit a checked request.

    Args:
        ctx: The use cases' context.
        actor: Who requests it.
        place: Where.
        request: The request; its seed is fixed.
        ref: The event behind it, and the address of its card.
        parent_id: The job whose button or command made it.
        files: The files of its pictures, kept with the job.
        pressed: The press of a button of ``parent_id``, if it was one.
        made_by: What a form made of a picture of ``parent_id``, as a button such as ``start:0``; nothing was pressed.
        replaces: It takes the place of the actor's waiting job whose card answers the same message.

    Returns:
        The stored job; the existing one if the same event came before.

    Raises:
        OverQuota: The quota does not allow it; says how many are left and when more come back.
        Uninvited: No owner has allowed the person or the place.
        Moderated: The prompt has words that are refused here.
        NotAllowed: The place is paused, the person is banned or was refused too often recently, or a LoRA is for others.
        RepeatedPress: The person pressed the same button within ``DOUBLE_PRESS_SECONDS``; nothing is stored.
        BadInput: A LoRA of the older request that this one repeats is not here any more.
        Conflict: The same event came before with another request (only if ``ref`` has a digest), or the job to replace
            does not wait any more.
        Unavailable: The disk is full, the queue is full or drained, or the database can't be written.
    """
    if await data_files.free_bytes(ctx.pictures) < data_files.MIN_FREE_BYTES:
        raise Unavailable("unavailable.disk_full")
    # What a button makes of another's request keeps their choice too: it has their prompt.
    rule = narrower(request.recipe_rule, ctx.preferences.recipe_rule(actor))
    request = replace(request, recipe_rule=rule)
    async with recorded_refusals(ctx, actor, place, ref, request):
        return await _store_and_queue(
            ctx, _Admission(actor, place, request, ref, parent_id, files, pressed, made_by, replaces)
        )


@asynccontextmanager
async def recorded_refusals(
    ctx: AppContext, actor: Actor, place: Place, ref: EventRef, request: DrawRequest
) -> AsyncIterator[None]:
    """Record a refusal of the block that has to be kept: its own transaction was rolled back with it."""
    try:
        yield
    except Moderated as refusal:
        await checks.record_refusal(ctx, actor, place, ref, request=request, refusal=refusal)
        raise
    except Uninvited as refusal:
        if refusal.key in {newcomers.UNLISTED, newcomers.WITH_PICTURES}:
            await newcomers.record_request(ctx, actor, place)
        if refusal.key == newcomers.WITH_PICTURES:
            ctx.backlog.access_requested()
        raise


async def check(tx: Tx, ctx: AppContext, actor: Actor, place: Place, request: DrawRequest) -> Person:
    """Check a request as ``admit`` does, without storing it: before its pictures are fetched or its prompt is written.

    Returns:
        The person who requests it.

    Raises:
        Refusal: As ``admit``. Uninvited also for a newcomer's first request: nothing is fetched or written for strangers.
    """
    checked = await _check(tx, ctx, _Admission(actor, place, request, EventRef("")))
    if checked.held:
        raise Uninvited(newcomers.WITH_PICTURES)
    await usage.check_quota(tx, ctx, checked.context, checked.request, checked.quota_rules)
    _check_queue_room(ctx)
    return checked.context.person


async def _store_and_queue(ctx: AppContext, admission: _Admission) -> Job:
    ref = admission.ref
    with ExitStack() as reserved:
        async with ctx.db.write() as tx:
            job = await jobs.by_event(tx, ref.event)
            if job is not None:
                if ref.digest and await jobs.digest_of(tx, job.id) not in {"", ref.digest}:
                    raise Conflict("refusal.event.other")
                return job
            replaced = await _withdraw(tx, ctx, admission) if admission.replaces else None
            if replaced is not None and _is_same(replaced[0].request, admission.request):
                return replaced[0]
            job = await _check_and_store(tx, ctx, admission)
            if replaced is not None:
                await messages.hand_over(tx, replaced[1].id, job.id)
            if job.state is JobState.QUEUED:
                # The next transaction may start before this job is committed and queued: keep its room.
                reserved.enter_context(ctx.backlog.reserve())
            for file in admission.files:
                await inputs.commit(file)
        if replaced is not None:
            ctx.backlog.job_cancelled(replaced[0].id)
            ctx.backlog.job_changed(job.id)
        with job_context(job.id):
            log.debug("admitted: %d pictures of %s, %s", job.request.count, job.request.model, job.state)
        if job.state is JobState.QUEUED:
            ctx.backlog.enqueue(ticket_of(job))
        else:
            ctx.backlog.job_changed(job.id)
            if job.state is JobState.HELD:
                ctx.backlog.access_requested()
    return job


async def _withdraw(tx: Tx, ctx: AppContext, admission: _Admission) -> tuple[Job, Message]:
    """Cancel and refund the job that is to be replaced, unless its request stays the same.

    Raises Conflict if it does not wait in the queue.
    """
    found = await _answering(tx, admission.actor, admission.ref)
    if found is None or found[0].state is not JobState.QUEUED:
        raise Conflict("refusal.revise.late")
    if not _is_same(found[0].request, admission.request):
        now = ctx.clock.now()
        await jobs.move(tx, found[0].id, JobState.QUEUED, JobState.CANCELLED, now=now)
        await ledger.refund(tx, found[0].id, now=now)
    return found


def _is_same(old: DrawRequest, new: DrawRequest) -> bool:
    """Whether only the seed differs, which is another one each time where none is typed."""
    return replace(new, seed=old.seed, variation_seed=old.variation_seed) == old


async def _check(tx: Tx, ctx: AppContext, admission: _Admission) -> _Checked:
    """Check ban, pause, access, LoRAs and words, in this order; the quota is checked when it is reserved."""
    actor, place, pressed = admission.actor, admission.place, admission.pressed
    now = ctx.clock.now()
    person = await people.remember(tx, actor, now=now)
    if pressed is not None and admission.parent_id is not None:
        await _check_not_repeated(tx, person.id, admission.parent_id, pressed, now=now)
    place_id = await people.remember_place(tx, place, now=now)
    # Concurrently: each statement waits longer for the database's thread than it runs there.
    context, ban, strikes, quota_rules = await asyncio.gather(
        load_admission_context(tx, actor, place, person, place_id=place_id, now=now),
        moderation_rows.active_ban(tx, person.id, place_id, now=now),
        moderation_rows.get_strikes(tx, person.id),
        rule_rows.rules_of_person(tx, actor, place.guild, person.id),
    )
    checks.check_ban(context, ban)
    _check_not_paused(context)
    held = await newcomers.check_access(tx, ctx, context)
    await _check_rights(tx, ctx, admission, read_rights(context.options.here.get(RIGHTS)))
    request, strictness = checks.check_words(ctx, context, admission.request, strikes)
    return _Checked(context, request, strictness, held, quota_rules)


async def _check_and_store(tx: Tx, ctx: AppContext, admission: _Admission) -> Job:
    """Check a request; store the job, its reservation and its card's message."""
    actor, ref, pressed = admission.actor, admission.ref, admission.pressed
    checked = await _check(tx, ctx, admission)
    context, held = checked.context, checked.held
    job = await jobs.add(
        tx,
        jobs.NewJob(
            event=ref.event,
            state=JobState.HELD if held else JobState.QUEUED,
            person_id=context.person.id,
            account_id=context.person.account_id,
            place_id=context.place_id,
            request=checked.request,
            locale=actor.locale,
            asker=actor.name,
            created_at=context.now,
            parent_id=admission.parent_id,
            channel=usage.channel_of(admission.place),
            strictness=checked.strictness,
            # A held job is decided on later, when the platform can't be asked for the roles.
            roles=actor.roles if held else (),
            pressed=admission.made_by if pressed is None else pressed.button,
            digest=ref.digest,
        ),
    )
    if not held:
        await usage.reserve(tx, ctx, context, job, checked.quota_rules)
        _check_queue_room(ctx)
    if ref.address is not None and not admission.replaces:
        state = MessageState.OPENING if ref.answered else MessageState.WANTED
        await messages.add_card(tx, ref.event, job.id, ref.address, state)
    return job


async def _check_not_repeated(tx: Tx, person_id: int, parent_id: int, pressed: PressedButton, *, now: float) -> None:
    """Raise RepeatedPress if the person pressed this button a moment ago."""
    # The earlier press may have waited for its transaction: then its job is younger than this press.
    since, until = pressed.at - DOUBLE_PRESS_SECONDS, max(now, pressed.at) + DOUBLE_PRESS_SECONDS
    job = await jobs.find_pressed(tx, person_id, parent_id, pressed.button, since=since, until=until)
    if job is not None:
        raise RepeatedPress(job)


def _check_not_paused(context: AdmissionContext) -> None:
    """Raise Unavailable while the service is drained, NotAllowed in a paused place. Owners are not exempt."""
    if context.options.state is ServiceState.DRAIN:
        raise Unavailable("refusal.paused.drain")
    if context.options.here.get(PAUSED) is True:
        raise NotAllowed("refusal.paused.place")


async def _check_rights(tx: Tx, ctx: AppContext, admission: _Admission, here: Mapping[str, Sequence[str]]) -> None:
    """Raise NotAllowed if the model or a LoRA is for others, BadInput if a LoRA is not here any more."""
    request, actor, known = admission.request, admission.actor, ctx.loras()
    profiles = ctx.profiles()
    loras = [(lora.name, model_rules.find_lora(lora.name, known)) for lora in request.loras]
    used = [profile for profile in profiles if profile.name == request.model]
    if not restricted(used, [info for _, info in loras if info is not None], here) and all(info for _, info in loras):
        return
    rights = UseRights(here, await permissions.is_admin(tx, actor, admission.place))
    for profile in used:
        refusing = rights.refusing(f"model:{profile.name}", profile.who, actor)
        if refusing is not None:
            allowed = ", ".join(one.name for one in profiles if rights.may_use_model(one, actor))
            raise _not_for_them(refusing, "model", model=profile.title, known=allowed or "-")
    for name, info in loras:
        if info is None:
            raise BadInput("refusal.lora.gone", lora=name)
        refusing = rights.refusing(f"lora:{info.name}", info.who, actor)
        if refusing is not None:
            raise _not_for_them(refusing, "lora", lora=info.title)


def _not_for_them(allowed: Sequence[str], what: str, **params: str) -> NotAllowed:
    """Return the refusal of something that only some may use."""
    admins_only, others_only = _NOT_FOR_THEM[what]
    if model_rules.ADMINS in allowed:
        return AdminsOnly(admins_only, **params)
    return NotAllowed(others_only, **params)


def _check_queue_room(ctx: AppContext) -> None:
    """Raise Unavailable if the queue is full. Inside the transaction no other job is admitted, so the limit is exact."""
    seconds = ctx.backlog.retry_after()
    if seconds is not None:
        raise Unavailable("unavailable.queue_full", wait=seconds)
