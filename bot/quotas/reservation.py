"""Decide whether a job fits the quotas, and reserve it."""

from __future__ import annotations

from dataclasses import dataclass

from bot.context import AppContext
from bot.core.jobs import Job
from bot.core.quotas import POINT, Credit, QuotaRule
from bot.places.admission_context import AdmissionContext
from bot.quotas import rules
from bot.quotas.quota_status import bound, dated, quota_usage
from bot.quotas.rules import Asker, CreditSplit, RequestedAmounts
from bot.quotas.rules.counting import cost_each
from bot.quotas.store import credits as credit_rows
from bot.quotas.store import ledger
from bot.storage.database import Tx


@dataclass(frozen=True, slots=True)
class QuotaGrant:
    """What a request is given.

    Attributes:
        asker: Whose it is, and where.
        share: What credits pay for of it.
        cost_each: What each of its pictures costs, in thousandths of a point.
        credits: What may be spent, the first to expire first.
    """

    asker: Asker
    share: CreditSplit
    cost_each: int = POINT
    credits: tuple[Credit, ...] = ()


async def check_quota(
    tx: Tx, ctx: AppContext, asking: AdmissionContext, job: Job, quota_rules: tuple[QuotaRule, ...]
) -> QuotaGrant:
    """Return what the request of a stored job is given, by the rules that may bind its person; owners are exempt.

    Raises:
        OverQuota: It does not fit; says what is left or allowed, and when more comes back.
    """
    request = job.request
    profile = next((p for p in ctx.profiles() if p.name == request.model), None)
    cost = cost_each(request, profile)
    asker = Asker(asking.person.id, asking.place_id, job.channel)
    if asking.actor.is_owner:
        return QuotaGrant(asker, CreditSplit(), cost)
    bindings = bound(ctx, asking.actor, asking.place, quota_rules)
    asked = RequestedAmounts(request.count, request.width, request.height, request.steps, request.model)
    rules.check_request(bindings, asked)
    if bindings.terms().at_once is not None:
        waiting = await ledger.waiting(tx, asker, but=job.id)
        rules.check_waiting(bindings, waiting, lambda job_id: _eta(ctx, job_id))
    books = await quota_usage(tx, asker, bindings, asking.options, now=asking.now, cost_each=cost)
    share = rules.share(books.owner, books.own, books.purse, request.count)
    if share is None:
        room = rules.tightest(books.owner, books.own, books.purse)
        left = int(rules.left(books.owner, books.own, books.purse))
        blamed = await dated(tx, books, room, 0)
        raise rules.over(blamed, left=left, wanted=request.count, cost_each=cost, now=asking.now)
    return QuotaGrant(asker, share, cost, books.credits)


def _eta(ctx: AppContext, job_id: int) -> float | None:
    waiting = ctx.backlog.waiting(job_id)
    # Nothing is promised too early.
    return None if waiting is None or waiting.eta is None else waiting.eta.high


async def reserve(
    tx: Tx, ctx: AppContext, asking: AdmissionContext, job: Job, quota_rules: tuple[QuotaRule, ...]
) -> None:
    """Decide on a stored job without a reservation, and reserve it; in the transaction that lets it into the queue.

    Owners are exempt from being refused, not from being counted: each job that is queued has one reservation.

    Args:
        tx: A writing transaction.
        ctx: What use cases work with.
        asking: Who asked for it where; their roles count as they are given here.
        job: Which.
        quota_rules: The rules that may bind the person (``rules.for_one``).

    Raises:
        OverQuota: It does not fit; says what is left or allowed, and when more comes back.
    """
    given = await check_quota(tx, ctx, asking, job, quota_rules)
    now, share = asking.now, given.share
    await credit_rows.spend(tx, given.credits, job.id, share.free, by_owner=True, now=now)
    await credit_rows.spend(tx, given.credits, job.id, share.free_here, by_owner=False, now=now)
    await ledger.reserve(
        tx,
        job_id=job.id,
        person_id=asking.person.id,
        place_id=asking.place_id,
        pictures=job.request.count,
        now=now,
        channel=given.asker.channel,
        cost_each=given.cost_each,
        free=share.free,
        free_here=share.free_here,
    )
