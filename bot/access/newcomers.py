"""Owners' answers to those who ask to come in: allowed, allowed with a small quota, or refused."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bot.access import cards as present
from bot.access import held_jobs
from bot.access.held_jobs import ReleasedJobs
from bot.access.store import requests as access_rows
from bot.audit import changes
from bot.audit.changes import Change, Subject, Undoable, Value
from bot.context import AppContext
from bot.core.access import AccessDecision, AccessMode, AccessRequest, Newcomer, SubjectKind, guarded
from bot.core.errors import BadInput, NotAllowed, NotFound
from bot.core.messages import MessageKind
from bot.core.people import Actor
from bot.core.quotas import Scope
from bot.quotas import rule_changes, rules
from bot.storage import jobs, messages
from bot.storage.codec import dump_card
from bot.storage.database import Tx


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of an answer.

    Attributes:
        newcomer: Whom it was about, as they stand now.
        moved: What became of their requests.
        rule: The rule that was set for them, in words; empty for none.
    """

    newcomer: Newcomer
    moved: ReleasedJobs
    rule: str = ""


async def _get(tx: Tx, subject: Subject) -> Value:
    found = await access_rows.get(tx, int(subject["number"] or 0))
    return None if found is None else {"verdict": found.verdict.value}


async def _put(tx: Tx, subject: Subject, value: Value, set_by: str, now: float) -> None:
    # Nobody who has come is forgotten by an undo: without a value they wait for an answer.
    verdict = AccessDecision.ASKED if value is None else AccessDecision(str(value["verdict"]))
    await access_rows.decide(tx, int(subject["number"] or 0), verdict, by=set_by, now=now)


ACCESS = Undoable("access", _get, _put)
"""Subject: ``number``, the newcomer's. Value: ``{"verdict": "asked" | "allowed" | "refused"}``. Requests that were
drawn or ended by an answer stay as they are when it is undone.
"""


async def waiting(ctx: AppContext) -> tuple[tuple[AccessRequest, ...], int]:
    """Return the first who wait for an answer, oldest first, and how many wait in all."""
    async with ctx.db.read() as tx:
        found = await access_rows.open_requests(tx, guarded(ctx.access))
        return tuple([await access_rows.knock(tx, newcomer) for newcomer in found[: present.SHOWN]]), len(found)


async def allow(
    ctx: AppContext, actor: Actor, number: int, rule: str | None = None, *, first: bool = False
) -> Answered:
    """Let a newcomer in, and queue what they have asked for meanwhile, in one transaction.

    Args:
        ctx: What use cases work with.
        actor: An owner.
        number: The newcomer's.
        rule: A quota of their own, such as ``5/day``; the usual ones hold without it.
        first: Only where nobody has answered yet: a button may be old.

    Raises:
        NotAllowed: Who asks is no owner.
        NotFound: There is no such newcomer.
        BadInput: The rule can't be read, or an answer was given already.
    """
    terms = None if rule is None else rules.parse_terms(rule)
    async with ctx.db.write() as tx:
        newcomer = await _asked(tx, actor, number, first=first)
        now = ctx.clock.now()
        by = changes.by_of(actor)
        await changes.make(tx, _change("easel allow", newcomer, AccessDecision.ALLOWED), by=by, now=now)
        if terms is not None:
            place, person = (newcomer.subject, None) if newcomer.kind is SubjectKind.PLACE else (None, newcomer.subject)
            scope = Scope(platform=newcomer.platform, place=place, person=person)
            await rule_changes.change(tx, scope, terms, by_owner=True, by=by, now=now, action="easel allow")
        held = await access_rows.held(tx, newcomer)
        # After the rule: it holds for these requests too.
        moved = await held_jobs.release(tx, ctx, held, now=now)
        await _tell(tx, newcomer, AccessDecision.ALLOWED, held)
    held_jobs.tell(ctx, moved)
    ctx.backlog.posted()
    newcomer = replace(newcomer, verdict=AccessDecision.ALLOWED, decided_by=by)
    return Answered(newcomer, moved, "" if terms is None else rules.format_terms(terms))


async def refuse(ctx: AppContext, actor: Actor, number: int, *, first: bool = False) -> Answered:
    """Leave a newcomer outside, and end what they have asked for. Raises as ``allow`` does."""
    async with ctx.db.write() as tx:
        newcomer = await _asked(tx, actor, number, first=first)
        now = ctx.clock.now()
        by = changes.by_of(actor)
        await changes.make(tx, _change("easel refuse", newcomer, AccessDecision.REFUSED), by=by, now=now)
        held = await access_rows.held(tx, newcomer)
        moved = await held_jobs.dismiss(tx, held, now=now)
        await _tell(tx, newcomer, AccessDecision.REFUSED, held)
    held_jobs.tell(ctx, moved)
    ctx.backlog.posted()
    return Answered(replace(newcomer, verdict=AccessDecision.REFUSED, decided_by=by), moved)


async def let_in(ctx: AppContext) -> None:
    """Queue what waits for an answer that nobody has to give any more: a platform was opened to all. At start."""
    opened = [platform for platform, rule in ctx.access.items() if rule is AccessMode.OPEN]
    async with ctx.db.read() as tx:
        if not (found := await access_rows.open_requests(tx, opened)):
            return
    async with ctx.db.write() as tx:
        held = [job_id for newcomer in found for job_id in await access_rows.held(tx, newcomer)]
        moved = await held_jobs.release(tx, ctx, held, now=ctx.clock.now())
    held_jobs.tell(ctx, moved)


async def _asked(tx: Tx, actor: Actor, number: int, *, first: bool) -> Newcomer:
    if not actor.is_owner:
        raise NotAllowed("refusal.rights.owner")
    newcomer = await access_rows.get(tx, number)
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


def _change(action: str, newcomer: Newcomer, verdict: AccessDecision) -> Change:
    return Change(ACCESS, action, {"number": newcomer.id}, {"verdict": verdict.value}, None)


async def _tell(tx: Tx, newcomer: Newcomer, verdict: AccessDecision, held: tuple[int, ...]) -> None:
    """Tell whoever has asked first: a card that changes hours later is easily missed. Others see it on their cards."""
    for job_id in held[:1]:
        job = await jobs.get(tx, job_id)
        cards = [m for m in await messages.of_job(tx, job_id) if m.kind is MessageKind.CARD]
        if job is None or not cards:
            continue
        # Beside the card, not in its place: without the card's own message, and without the right to edit it.
        near = replace(cards[0].address, message=None, token=None, expires=None)
        card = present.told(newcomer, verdict, job.locale)
        await messages.add_notice(tx, f"access:{job_id}", near, dump_card(card))
