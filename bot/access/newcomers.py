"""Access of newcomers: the check at a request, owners' answers, and the jobs that are held until then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bot.access import cards as access_cards
from bot.access.store import newcomers as access_rows
from bot.audit import changes
from bot.audit.changes import Change, Subject, Undoable, Value
from bot.context import AdmissionContext, AppContext, load_admission_context
from bot.core.access import AccessDecision, AccessMode, AccessRequest, Newcomer, SubjectKind, guarded
from bot.core.errors import BadInput, NotAllowed, NotFound, OverQuota, Refusal, Uninvited
from bot.core.jobs import Job, JobState, ticket_of
from bot.core.messages import MessageKind
from bot.core.people import Actor, Person, Place
from bot.core.quotas import Scope
from bot.moderation import checks
from bot.moderation import store as moderation_rows
from bot.quotas import changes as rule_changes
from bot.quotas.rules.terms import format_terms, parse_terms
from bot.quotas.store import rules as rule_rows
from bot.quotas.usage import reserve
from bot.storage import jobs, messages, people
from bot.storage.database import Tx
from bot.storage.sql import dump_card

UNLISTED = "refusal.access.list"
"""Catalogue key: only people whom an owner has allowed may draw."""

WITH_PICTURES = "refusal.access.pictures"
"""Catalogue key: no picture is fetched and no prompt is written for people whom no owner has admitted yet."""

REFUSED = "error.access.refused"
"""Catalogue key: an owner has refused the newcomer."""


@dataclass(frozen=True, slots=True)
class ReleasedJobs:
    """Jobs that are no longer held.

    Attributes:
        queued: Jobs that will be drawn.
        ended: Jobs that will not; their cards say why.
    """

    queued: Sequence[Job] = ()
    ended: Sequence[Job] = ()


@dataclass(frozen=True, slots=True)
class AnswerResult:
    """The result of an owner's answer.

    Attributes:
        newcomer: The newcomer, with the decision.
        moved: Their jobs that were held.
        rule: The rule that was set for them, as typed; empty for none.
    """

    newcomer: Newcomer
    moved: ReleasedJobs
    rule: str = ""


def access_subject(actor: Actor, place: Place) -> tuple[SubjectKind, str, str]:
    """Return kind, id and name of the newcomer that an owner decides on: the server or group, else the person."""
    if place.guild is not None:
        return SubjectKind.PLACE, place.guild, place.name
    return SubjectKind.PERSON, actor.user_id, actor.name


async def check_access(tx: Tx, ctx: AppContext, context: AdmissionContext) -> bool:
    """Return whether the request is held until an owner answers.

    Where owners are asked, the first request of each person is held and drawn once they are allowed. Nothing else is
    stored of strangers.

    Raises:
        Uninvited: An owner has refused them, a request of theirs is held already, or they are not on the list.
    """
    actor, place = context.actor, context.place
    mode = ctx.access_modes.get(actor.platform, AccessMode.OPEN)
    if actor.is_owner or mode is AccessMode.OPEN:
        return False
    kind, subject, name = access_subject(actor, place)
    known = await access_rows.find_newcomer(tx, actor.platform, kind, subject)
    if known is not None and known.verdict is AccessDecision.ALLOWED:
        return False
    if known is not None and known.verdict is AccessDecision.REFUSED:
        raise Uninvited("refusal.access.refused")
    if mode is AccessMode.LIST:
        raise Uninvited(UNLISTED)
    if known is None:
        await access_rows.add_newcomer(tx, actor.platform, kind, subject, name=name, now=context.now)
    elif await access_rows.has_asked(tx, context.person.id, context.place_id, since=known.asked_at):
        raise Uninvited("refusal.access.waiting" if ctx.owners.everybody() else "refusal.access.unowned")
    return True


async def is_stranger(ctx: AppContext, actor: Actor, place: Place) -> bool:
    """Return whether the person or place still needs an owner's permission."""
    if actor.is_owner or ctx.access_modes.get(actor.platform, AccessMode.OPEN) is AccessMode.OPEN:
        return False
    kind, subject, _ = access_subject(actor, place)
    async with ctx.db.read() as tx:
        known = await access_rows.find_newcomer(tx, actor.platform, kind, subject)
    return known is None or known.verdict is not AccessDecision.ALLOWED


async def record_request(ctx: AppContext, actor: Actor, place: Place) -> None:
    """Store a newcomer who is not on the list, once, so that owners can find and allow them."""
    kind, subject, name = access_subject(actor, place)
    async with ctx.db.read() as tx:
        if await access_rows.find_newcomer(tx, actor.platform, kind, subject) is not None:
            return
    async with ctx.db.write() as tx:
        await access_rows.add_newcomer(tx, actor.platform, kind, subject, name=name, now=ctx.clock.now())


async def list_requests(ctx: AppContext) -> tuple[tuple[AccessRequest, ...], int]:
    """Return the first newcomers that wait for an answer, oldest first, and how many wait in all."""
    async with ctx.db.read() as tx:
        found = await access_rows.open_requests(tx, guarded(ctx.access_modes))
        shown = [await access_rows.access_request(tx, newcomer) for newcomer in found[: access_cards.MAX_SHOWN]]
        return tuple(shown), len(found)


async def allow(
    ctx: AppContext, actor: Actor, number: int, rule: str | None = None, *, first: bool = False
) -> AnswerResult:
    """Allow a newcomer and queue their held jobs, in one transaction.

    Args:
        ctx: The use cases' context.
        actor: An owner.
        number: The newcomer's number.
        rule: A quota of their own, such as ``5/day``; None: the usual rules apply.
        first: Fail if an owner has answered already: the button's card may be old.

    Raises:
        NotFound: There is no such newcomer.
        BadInput: The rule can't be read, or an answer was given already.
    """
    terms = None if rule is None else parse_terms(rule)
    async with ctx.db.write() as tx:
        newcomer = await _get_newcomer(tx, number, first=first)
        now = ctx.clock.now()
        by = changes.actor_label(actor)
        await changes.apply_change(tx, _change("owner allow", newcomer, AccessDecision.ALLOWED), by=by, now=now)
        if terms is not None:
            place, person = (newcomer.subject, None) if newcomer.kind is SubjectKind.PLACE else (None, newcomer.subject)
            scope = Scope(platform=newcomer.platform, place=place, person=person)
            await rule_changes.change_rule(tx, scope, terms, by_owner=True, by=by, now=now, action="owner allow")
        held = await access_rows.held_jobs(tx, newcomer)
        # After the rule, which applies to these jobs too.
        moved = await release_held_jobs(tx, ctx, held, now=now)
        await _notify(tx, newcomer, AccessDecision.ALLOWED, held)
    publish(ctx, moved)
    ctx.backlog.messages_added()
    newcomer = replace(newcomer, verdict=AccessDecision.ALLOWED, decided_by=by)
    return AnswerResult(newcomer, moved, "" if terms is None else format_terms(terms))


async def refuse(ctx: AppContext, actor: Actor, number: int, *, first: bool = False) -> AnswerResult:
    """Refuse a newcomer and cancel their held jobs. Raises as ``allow`` does."""
    async with ctx.db.write() as tx:
        newcomer = await _get_newcomer(tx, number, first=first)
        now = ctx.clock.now()
        by = changes.actor_label(actor)
        await changes.apply_change(tx, _change("owner refuse", newcomer, AccessDecision.REFUSED), by=by, now=now)
        held = await access_rows.held_jobs(tx, newcomer)
        moved = await dismiss_held_jobs(tx, held, now=now)
        await _notify(tx, newcomer, AccessDecision.REFUSED, held)
    publish(ctx, moved)
    ctx.backlog.messages_added()
    return AnswerResult(replace(newcomer, verdict=AccessDecision.REFUSED, decided_by=by), moved)


async def _get_newcomer(tx: Tx, number: int, *, first: bool) -> Newcomer:
    newcomer = await access_rows.get_newcomer(tx, number)
    if newcomer is None:
        raise NotFound("refusal.access.not_found", number=number)
    if first and newcomer.verdict is not AccessDecision.ASKED:
        raise BadInput(
            "refusal.access.allowed_already"
            if newcomer.verdict is AccessDecision.ALLOWED
            else "refusal.access.refused_already",
            number=number,
        )
    return newcomer


async def _notify(tx: Tx, newcomer: Newcomer, verdict: AccessDecision, held: tuple[int, ...]) -> None:
    """Send a notice for the first held job, since a card that changes hours later is easily missed."""
    for job_id in held[:1]:
        job = await jobs.get(tx, job_id)
        cards = [m for m in await messages.of_job(tx, job_id) if m.kind is MessageKind.CARD]
        if job is None or not cards:
            continue
        # A new message in the card's chat: without the card's message id and without its edit token.
        address = replace(cards[0].address, message=None, token=None, expires=None)
        card = access_cards.decision_card(newcomer, verdict, job.locale)
        await messages.add_notice(tx, f"access:{job_id}", address, dump_card(card))


async def admit_held_at_start(ctx: AppContext) -> None:
    """At start: queue the jobs that are held on platforms that are open to everybody now."""
    opened = [platform for platform, mode in ctx.access_modes.items() if mode is AccessMode.OPEN]
    async with ctx.db.read() as tx:
        if not (found := await access_rows.open_requests(tx, opened)):
            return
    async with ctx.db.write() as tx:
        held = [job_id for newcomer in found for job_id in await access_rows.held_jobs(tx, newcomer)]
        moved = await release_held_jobs(tx, ctx, held, now=ctx.clock.now())
    publish(ctx, moved)


async def release_held_jobs(tx: Tx, ctx: AppContext, job_ids: Sequence[int], *, now: float) -> ReleasedJobs:
    """Queue held jobs, each with its reservation. A job that is refused now is cancelled with the reason."""
    queued, ended = [], []
    for job_id in job_ids:
        job = await jobs.get(tx, job_id)
        if job is None or job.state is not JobState.HELD:
            continue
        try:
            context = await _context_of_job(tx, job, now)
            checks.check_ban(context, await moderation_rows.active_ban(tx, job.person_id, job.place_id, now=now))
            quota_rules = await rule_rows.rules_of_person(tx, context.actor, context.place.guild, job.person_id)
            await reserve(tx, ctx, context, job, quota_rules)
        except Refusal as refusal:
            await jobs.move(tx, job.id, JobState.HELD, JobState.CANCELLED, now=now, error=_reason(refusal))
            ended.append(job)
        else:
            await jobs.move(tx, job.id, JobState.HELD, JobState.QUEUED, now=now)
            queued.append(job)
    return ReleasedJobs(queued, ended)


async def dismiss_held_jobs(tx: Tx, job_ids: Sequence[int], *, now: float) -> ReleasedJobs:
    """Cancel the held jobs of a refused newcomer. They have no reservation, so nothing is refunded."""
    ended = []
    for job_id in job_ids:
        job = await jobs.get(tx, job_id)
        if job is not None and await jobs.move(tx, job_id, JobState.HELD, JobState.CANCELLED, now=now, error=REFUSED):
            ended.append(job)
    return ReleasedJobs(ended=ended)


def publish(ctx: AppContext, moved: ReleasedJobs) -> None:
    """Tell the queue and delivery about committed changes."""
    for job in moved.queued:
        ctx.backlog.enqueue(ticket_of(job))
    for job in moved.ended:
        ctx.backlog.job_cancelled(job.id)


async def _context_of_job(tx: Tx, job: Job, now: float) -> AdmissionContext:
    """Return the context of a stored job."""
    account = await people.get_account(tx, job.account_id)
    place = Place(account.platform, None, "")
    if job.place_id is not None:
        place = replace(await people.get_place(tx, job.place_id), channel=job.channel)
    roles = await jobs.roles_of(tx, job.id)
    actor = Actor(account.platform, account.user_id, job.asker, locale=job.locale, roles=roles)
    person = Person(job.person_id, job.account_id, account.name)
    return await load_admission_context(tx, actor, place, person, place_id=job.place_id, now=now)


def _reason(refusal: Refusal) -> str:
    if isinstance(refusal, OverQuota):
        return "error.access.over_quota"
    if isinstance(refusal, NotAllowed):
        return "error.access.not_allowed"
    return "error.access.not_now"


async def _get(tx: Tx, subject: Subject) -> Value:
    found = await access_rows.get_newcomer(tx, int(subject["number"] or 0))
    return None if found is None else {"verdict": found.verdict.value}


async def _put(tx: Tx, subject: Subject, value: Value, set_by: str, now: float) -> None:
    # An undo does not delete a newcomer: without a value, they wait for an answer again.
    verdict = AccessDecision.ASKED if value is None else AccessDecision(str(value["verdict"]))
    await access_rows.set_decision(tx, int(subject["number"] or 0), verdict, by=set_by, now=now)


ACCESS = Undoable("access", _get, _put)
"""Subject: the newcomer's ``number``. Value: ``{"verdict": "asked" | "allowed" | "refused"}``. An undo does not change
jobs that the answer queued or cancelled.
"""


def _change(action: str, newcomer: Newcomer, verdict: AccessDecision) -> Change:
    return Change(ACCESS, action, {"number": newcomer.id}, {"verdict": verdict.value}, None)
