"""At start: puts right what a kill or a stop has left half done."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection
from pathlib import Path

from bot.core.errors import Unavailable
from bot.core.jobs import MAX_ATTEMPTS, Job, JobState
from bot.core.ports import Clock
from bot.delivery.message_sync import MessageSync
from bot.dispatch.completion import LOST
from bot.quotas.store import ledger
from bot.storage import blobs, inputs, jobs, messages, orphans, pictures
from bot.storage.database import Database
from bot.storage.orphans import OrphanScan

log = logging.getLogger(__name__)


async def recover(db: Database, folder: Path, showing: MessageSync, clock: Clock) -> tuple[Job, ...]:
    """Put the rows right, put aside files that no row knows, and return the jobs that wait, oldest first.

    Painted jobs and messages that are still to be shown are left to delivery. Nothing may be drawn or shown meanwhile.

    Raises:
        Unavailable: The database can't be written, or the pictures folder can't be read.
    """
    now = clock.now()
    try:
        found = await asyncio.to_thread(orphans.scan, folder)
        given = await inputs.scan(folder)
    except OSError as e:
        raise Unavailable("unavailable.pictures.unwritable", path=str(inputs.data_folder(folder))) from e
    async with db.write(alone=True) as tx:
        for job in await jobs.in_state(tx, JobState.RUNNING):
            if job.attempts < MAX_ATTEMPTS:
                await jobs.requeue(tx, job.id, now=now, lost=True)
            elif await jobs.move(tx, job.id, JobState.RUNNING, JobState.FAILED, now=now, error=LOST):
                await ledger.refund(tx, job.id, now=now)
        await messages.opening_wanted(tx)
        begun = await messages.begun(tx)
        edited = await messages.stale(tx)
        known = await pictures.paths(tx)
        waiting = await jobs.in_state(tx, JobState.QUEUED)
        # The files' times are the disk's, so they are compared with the machine's clock.
        arrived = await orphans.arrived(tx, found, inputs=bool(given.whole), now=time.time())
        unknown = found.pictures.keys() - known
        own, forgotten = await orphans.own(tx, found, unknown)
        # The page may take requests already; what they start from is kept in a transaction after this one.
        first, named = await orphans.since(tx), await jobs.starts(tx)
        loose = [
            path for path, made in given.whole.items() if f"{inputs.FOLDER}/{path.name}" not in named and made >= first
        ]
        half = [*found.half, *given.half]
        if orphans.too_many(len(own - forgotten), len(found.pictures)):
            own = forgotten
        if orphans.too_many(len(loose), len(given.whole)):
            loose = []
        aside = [(f"{folder.name}/{path}", folder / path) for path in own]
        aside += [(f"{inputs.FOLDER}/{path.name}", path) for path in loose]
        try:
            await asyncio.to_thread(blobs.unlink, half)
            moved = await asyncio.to_thread(orphans.put_aside, inputs.data_folder(folder), aside, now)
        except OSError as e:
            raise Unavailable("unavailable.pictures.unwritable", path=str(inputs.data_folder(folder))) from e
    for message in begun:
        await showing.interrupted(message)
    showing.may_be_edited(message.id for message in edited)
    _tell_of_files(found, known, left=unknown - own, moved=moved, arrived=arrived)
    if waiting or begun or half:
        log.info(
            "found %d waiting jobs, %d interrupted sends, %d half-written files", len(waiting), len(begun), len(half)
        )
    return waiting


def _tell_of_files(
    found: OrphanScan, known: Collection[str], *, left: Collection[str], moved: int, arrived: bool
) -> None:
    """Say in the log what does not fit between rows and files."""
    if arrived:
        log.warning(
            "THE DATABASE IS NEW OR RESTORED: %d of the %d picture files are unknown to it. Nothing was removed. If it is"
            " not the database that you meant, stop Easel and put the right one in its place.",
            len(left),
            len(found.pictures),
        )
    elif left:
        log.warning(
            "%d of the %d picture files are unknown to the database and stay where they are, such as %s: they are older"
            " than it, or too many to be what a kill has left",
            len(left),
            len(found.pictures),
            ", ".join(sorted(left)[:3]),
        )
    if moved:
        log.warning(
            "%d files that no row knows were moved into the folder %s; they are removed from there after %d days",
            moved,
            orphans.FOLDER,
            orphans.KEPT_SECONDS // 86400,
        )
    lost = sorted(set(known) - found.pictures.keys())
    if lost:
        # After a backup without pictures was restored, say: their jobs are there, and can be drawn again.
        log.warning("%d of %d pictures have no file, such as %s", len(lost), len(known), ", ".join(lost[:3]))
