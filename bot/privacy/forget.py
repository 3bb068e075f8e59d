"""Everything that a person has drawn, forgotten: rows in one transaction, files after it, messages as platforms allow."""

from __future__ import annotations

from bot.context import AppContext
from bot.core.errors import NotFound
from bot.core.jobs import JobState
from bot.core.people import Actor
from bot.privacy.store import exports, forgetting
from bot.privacy.store.forgetting import Forgotten, Losses
from bot.quotas.store import ledger
from bot.storage import blobs, inputs, jobs, people


async def losses(ctx: AppContext, actor: Actor) -> Losses:
    """Return what forgetting would take away. Raises NotFound for somebody who has never drawn anything."""
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            raise NotFound("refusal.forget.nothing")
        return await forgetting.losses(tx, person.id)


async def forget(ctx: AppContext, actor: Actor) -> Losses:
    """Forget a person's pictures, prompts and history, on all of their accounts; returns what was lost.

    What waits or is being drawn is cancelled and refunded first. Killed after the commit, the files that are left are
    swept at the next start, and messages are still taken away.

    Raises:
        NotFound: They have never drawn anything.
    """
    now = ctx.clock.now()
    stopped: list[int] = []
    async with ctx.db.write() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            raise NotFound("refusal.forget.nothing")
        lost = await forgetting.losses(tx, person.id)
        for job_id, state in await forgetting.waiting(tx, person.id):
            if await jobs.move(tx, job_id, state, JobState.CANCELLED, now=now):
                await ledger.refund(tx, job_id, now=now)
                stopped.append(job_id)
        gone = await forgetting.forget(tx, person.id)
    for job_id in stopped:
        ctx.backlog.forget(job_id)
    for job_id in gone.jobs:
        ctx.backlog.changed(job_id)
    await _remove_files(ctx, gone)
    return lost


async def _remove_files(ctx: AppContext, gone: Forgotten) -> None:
    await blobs.remove_all(ctx.pictures, gone.pictures)
    await exports.remove_files(ctx.pictures, gone.exports)
    if not gone.inputs:
        return
    # In a writing transaction, so that no job that names one of them comes in meanwhile.
    async with ctx.db.write(alone=True) as tx:
        named = await jobs.starts(tx)
        await inputs.remove(ctx.pictures, [name for name in gone.inputs if name not in named])
