"""Reserve what a job asks for, where it fits: when it is asked for, or when it was held and is allowed."""

from __future__ import annotations

from bot.model.jobs import Job
from bot.store import credits as credit_rows
from bot.store import quotas
from bot.store.database import Tx
from bot.usecases.asking import Asking
from bot.usecases.gates import quotas as quota_gate
from bot.usecases.house import House


async def reserve(tx: Tx, house: House, asking: Asking, job: Job) -> None:
    """Decide on a stored job without a reservation, and reserve it; in the transaction that lets it into the queue.

    Owners are exempt from being refused, not from being counted: each job that is queued has one reservation.

    Args:
        tx: A writing transaction.
        house: What use cases work with.
        asking: Who asked for it where; their roles count as they are given here.
        job: Which.

    Raises:
        OverQuota: It does not fit; says what is left or allowed, and when more comes back.
    """
    given = await quota_gate.check(tx, house, asking, job)
    now, share = asking.now, given.share
    await credit_rows.spend(tx, given.credits, job.id, share.free, by_owner=True, now=now)
    await credit_rows.spend(tx, given.credits, job.id, share.free_here, by_owner=False, now=now)
    await quotas.reserve(
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
