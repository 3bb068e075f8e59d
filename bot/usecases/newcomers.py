"""Owners' answers to those who ask to come in: allowed, allowed with a small quota, or refused."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bot.model.access import Access, Guest, Knock, Newcomer, Verdict, guarded
from bot.model.errors import BadInput, NotAllowed, NotFound
from bot.model.messages import MessageKind
from bot.model.people import Actor
from bot.model.quotas import Scope
from bot.policy import quotas as rules
from bot.present import newcomers as present
from bot.store import access, jobs, messages
from bot.store.codec import dump_card
from bot.store.database import Tx
from bot.usecases import changes, policies, release
from bot.usecases.changes import Change, Kind, Subject, Value
from bot.usecases.house import House
from bot.usecases.release import Moved


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of an answer.

    Attributes:
        newcomer: Whom it was about, as they stand now.
        moved: What became of their requests.
        rule: The rule that was set for them, in words; empty for none.
    """

    newcomer: Newcomer
    moved: Moved
    rule: str = ""


async def _get(tx: Tx, subject: Subject) -> Value:
    found = await access.get(tx, int(subject["number"] or 0))
    return None if found is None else {"verdict": found.verdict.value}


async def _put(tx: Tx, subject: Subject, value: Value, set_by: str, now: float) -> None:
    # Nobody who has come is forgotten by an undo: without a value they wait for an answer.
    verdict = Verdict.ASKED if value is None else Verdict(str(value["verdict"]))
    await access.decide(tx, int(subject["number"] or 0), verdict, by=set_by, now=now)


ACCESS = Kind("access", _get, _put)
"""Subject: ``number``, the newcomer's. Value: ``{"verdict": "asked" | "allowed" | "refused"}``. Requests that were
drawn or ended by an answer stay as they are when it is undone.
"""


async def waiting(house: House) -> tuple[tuple[Knock, ...], int]:
    """Return the first who wait for an answer, oldest first, and how many wait in all."""
    async with house.db.read() as tx:
        found = await access.open_requests(tx, guarded(house.access))
        return tuple([await access.knock(tx, newcomer) for newcomer in found[: present.SHOWN]]), len(found)


async def allow(house: House, actor: Actor, number: int, rule: str | None = None, *, first: bool = False) -> Answered:
    """Let a newcomer in, and queue what they have asked for meanwhile, in one transaction.

    Args:
        house: What use cases work with.
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
    async with house.db.write() as tx:
        newcomer = await _asked(tx, actor, number, first=first)
        now = house.clock.now()
        by = changes.by_of(actor)
        await changes.make(tx, _change("easel allow", newcomer, Verdict.ALLOWED), by=by, now=now)
        if terms is not None:
            place, person = (newcomer.subject, None) if newcomer.kind is Guest.PLACE else (None, newcomer.subject)
            scope = Scope(platform=newcomer.platform, place=place, person=person)
            await policies.change(tx, scope, terms, by_owner=True, by=by, now=now, action="easel allow")
        held = await access.held(tx, newcomer)
        # After the rule: it holds for these requests too.
        moved = await release.release(tx, house, held, now=now)
        await _tell(tx, newcomer, Verdict.ALLOWED, held)
    release.tell(house, moved)
    house.backlog.posted()
    newcomer = replace(newcomer, verdict=Verdict.ALLOWED, decided_by=by)
    return Answered(newcomer, moved, "" if terms is None else rules.format_terms(terms))


async def refuse(house: House, actor: Actor, number: int, *, first: bool = False) -> Answered:
    """Leave a newcomer outside, and end what they have asked for. Raises as ``allow`` does."""
    async with house.db.write() as tx:
        newcomer = await _asked(tx, actor, number, first=first)
        now = house.clock.now()
        by = changes.by_of(actor)
        await changes.make(tx, _change("easel refuse", newcomer, Verdict.REFUSED), by=by, now=now)
        held = await access.held(tx, newcomer)
        moved = await release.dismiss(tx, held, now=now)
        await _tell(tx, newcomer, Verdict.REFUSED, held)
    release.tell(house, moved)
    house.backlog.posted()
    return Answered(replace(newcomer, verdict=Verdict.REFUSED, decided_by=by), moved)


async def let_in(house: House) -> None:
    """Queue what waits for an answer that nobody has to give any more: a platform was opened to all. At start."""
    opened = [platform for platform, rule in house.access.items() if rule is Access.OPEN]
    async with house.db.read() as tx:
        if not (found := await access.open_requests(tx, opened)):
            return
    async with house.db.write() as tx:
        held = [job_id for newcomer in found for job_id in await access.held(tx, newcomer)]
        moved = await release.release(tx, house, held, now=house.clock.now())
    release.tell(house, moved)


async def _asked(tx: Tx, actor: Actor, number: int, *, first: bool) -> Newcomer:
    if not actor.is_owner:
        raise NotAllowed("refusal.rights.owner")
    newcomer = await access.get(tx, number)
    if newcomer is None:
        raise NotFound("refusal.access.not_found", number=number)
    if first and newcomer.verdict is not Verdict.ASKED:
        raise BadInput(
            "refusal.access.allowed_already"
            if newcomer.verdict is Verdict.ALLOWED
            else "refusal.access.refused_already",
            number=number,
        )
    return newcomer


def _change(action: str, newcomer: Newcomer, verdict: Verdict) -> Change:
    return Change(ACCESS, action, {"number": newcomer.id}, {"verdict": verdict.value}, None)


async def _tell(tx: Tx, newcomer: Newcomer, verdict: Verdict, held: tuple[int, ...]) -> None:
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
