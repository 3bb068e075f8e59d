"""At start: puts right what a kill or a stop has left half done."""

from __future__ import annotations

import logging
from pathlib import Path

from bot.dispatch.endings import LOST
from bot.dispatch.showing import Showing
from bot.model.errors import Unavailable
from bot.model.jobs import MAX_ATTEMPTS, Job, JobState
from bot.ports import Clock
from bot.store import blobs, inputs, jobs, messages, pictures, quotas
from bot.store.database import Database

log = logging.getLogger(__name__)


async def recover(db: Database, folder: Path, showing: Showing, clock: Clock) -> tuple[Job, ...]:
    """Put the rows right, remove files that no row knows, and return the jobs that wait, oldest first.

    Painted jobs and messages that are still to be shown are left to delivery. Nothing may be drawn or shown meanwhile.

    Raises:
        Unavailable: The database can't be written, or the pictures folder can't be read.
    """
    now = clock.now()
    async with db.write() as tx:
        for job in await jobs.in_state(tx, JobState.RUNNING):
            if job.attempts < MAX_ATTEMPTS:
                await jobs.requeue(tx, job.id, now=now, lost=True)
            elif await jobs.move(tx, job.id, JobState.RUNNING, JobState.FAILED, now=now, error=LOST):
                await quotas.refund(tx, job.id, now=now)
        await messages.opening_wanted(tx)
        begun = await messages.begun(tx)
        known = await pictures.paths(tx)
        waiting = await jobs.in_state(tx, JobState.QUEUED)
        try:
            # The page may take requests already; what they start from is kept in a transaction after this one.
            swept = await inputs.sweep(folder, await jobs.starts(tx))
        except OSError as e:
            raise Unavailable("unavailable.pictures.unwritable", path=str(inputs.data_folder(folder))) from e
    for message in begun:
        await showing.unclear(message)
    try:
        swept += await blobs.sweep(folder, known)
    except OSError as e:
        raise Unavailable("unavailable.pictures.unwritable", path=str(folder)) from e
    lost = await blobs.without_file(folder, known)
    if lost:
        # After a backup without pictures was restored, say: their jobs are there, and can be drawn again.
        log.warning("%d of %d pictures have no file, such as %s", len(lost), len(known), ", ".join(lost[:3]))
    if waiting or begun or swept:
        log.info("found %d waiting jobs, %d unclear messages, %d orphan files", len(waiting), len(begun), swept)
    return waiting
