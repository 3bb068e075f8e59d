"""Reserve what a job asks for, where it fits: when it is asked for, or when it was held and is allowed."""

from __future__ import annotations

from bot.context import AppContext
from bot.core.jobs import Job
from bot.core.quotas import QuotaRule
from bot.places.admission_context import AdmissionContext
from bot.quotas import quota_check as quota_gate
from bot.quotas.store import credits as credit_rows
from bot.quotas.store import ledger
from bot.storage.database import Tx


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
    given = await quota_gate.check(tx, ctx, asking, job, quota_rules)
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
