"""Brings memory in line with the rows: recovery at start, and changes by other processes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from bot.access.claims import refresh_owners
from bot.access.digest import AccessDigest
from bot.core.access import Owners
from bot.core.errors import Unavailable
from bot.core.jobs import MAX_ATTEMPTS, Job, JobState, ServiceState, ticket_of
from bot.core.ports import Clock
from bot.core.preferences import Preferences
from bot.delivery.message_sync import MessageSync
from bot.delivery.service import Delivery
from bot.dispatch.active_job import ActiveJobs
from bot.dispatch.completion import LOST
from bot.dispatch.dispatcher import Dispatcher
from bot.queue.job_queue import JobQueue
from bot.quotas.store import ledger
from bot.storage import data_files, inputs, jobs, messages, orphans, people, pictures, thumbnails
from bot.storage import preferences as preference_rows
from bot.storage.database import Database, Tx
from bot.storage.orphans import OrphanScan

CHECK_EVERY = 1.0
"""Seconds between two checks whether another process has written."""

JOBS_AT_ONCE = 200
"""Most new jobs that one transaction reads, so that others get their turn at the database."""

log = logging.getLogger(__name__)


async def recover(db: Database, folder: Path, sync: MessageSync, clock: Clock) -> tuple[Job, ...]:
    """Repair the rows after a kill, move files without a row aside, and return the waiting jobs, oldest first.

    Painted jobs and messages that are still to be shown are left to delivery. Nothing may be drawn or shown meanwhile.

    Raises:
        Unavailable: The database can't be written, or the pictures folder can't be read.
    """
    now = clock.now()
    try:
        found = await asyncio.to_thread(orphans.scan, folder)
        sources = await inputs.scan(folder)
    except OSError as e:
        raise Unavailable("unavailable.pictures.unwritable", path=str(inputs.data_folder(folder))) from e
    partial_files = [*found.half, *sources.half]
    async with db.write(alone=True) as tx:
        await _requeue_running(tx, now=now)
        await messages.reset_opening(tx)
        interrupted = await messages.sending(tx)
        stale = await messages.stale_cards(tx)
        known, digests = await pictures.all_paths(tx), await pictures.all_digests(tx)
        waiting = await jobs.in_state(tx, JobState.QUEUED)
        # File times are the disk's, so they are compared with the machine's clock.
        arrived = await orphans.note_arrival(tx, found, inputs=bool(sources.whole), now=time.time())
        unknown = found.pictures.keys() - known
        orphaned = await _orphaned_pictures(tx, found, unknown)
        aside = [(f"{folder.name}/{path}", folder / path) for path in orphaned]
        aside += [(f"{inputs.FOLDER}/{path.name}", path) for path in await _orphaned_sources(tx, sources.whole)]
        try:
            await asyncio.to_thread(data_files.unlink, partial_files)
            moved = await asyncio.to_thread(orphans.quarantine, inputs.data_folder(folder), aside, now)
        except OSError as e:
            raise Unavailable("unavailable.pictures.unwritable", path=str(inputs.data_folder(folder))) from e
    await asyncio.to_thread(thumbnails.remove_unknown, folder, digests)
    for message in interrupted:
        await sync.recover_interrupted(message)
    sync.mark_maybe_final(message.id for message in stale)
    _log_mismatches(found, known, left=unknown - orphaned, moved=moved, arrived=arrived)
    if waiting or interrupted or partial_files:
        log.info(
            "found %d waiting jobs, %d interrupted sends, %d half-written files",
            len(waiting),
            len(interrupted),
            len(partial_files),
        )
    return waiting


async def _requeue_running(tx: Tx, *, now: float) -> None:
    """Requeue the jobs that were being drawn; those that were lost MAX_ATTEMPTS times fail."""
    for job in await jobs.in_state(tx, JobState.RUNNING):
        if job.attempts < MAX_ATTEMPTS:
            await jobs.requeue(tx, job.id, now=now, lost=True)
        elif await jobs.move(tx, job.id, JobState.RUNNING, JobState.FAILED, now=now, error=LOST):
            await ledger.refund(tx, job.id, now=now)


async def _orphaned_pictures(tx: Tx, found: OrphanScan, unknown: Collection[str]) -> frozenset[str]:
    """Return those of the unknown pictures that this database has made: only forgotten ones where they are too many."""
    made_here, forgotten = await orphans.made_here(tx, found, unknown)
    return forgotten if orphans.too_many(len(made_here - forgotten), len(found.pictures)) else made_here


async def _orphaned_sources(tx: Tx, sources: Mapping[Path, float]) -> Collection[Path]:
    """Return the source images without a job, of all by the time they were written; none where they are too many."""
    # The web page may accept requests already; their source images get rows in a later transaction.
    since, known = await orphans.trusted_since(tx), await jobs.source_files(tx)
    orphaned = [
        path for path, written in sources.items() if f"{inputs.FOLDER}/{path.name}" not in known and written >= since
    ]
    return () if orphans.too_many(len(orphaned), len(sources)) else orphaned


def _log_mismatches(
    found: OrphanScan, known: Collection[str], *, left: Collection[str], moved: int, arrived: bool
) -> None:
    """Log where rows and files do not match."""
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
            orphans.QUARANTINE_SECONDS // 86400,
        )
    lost = sorted(set(known) - found.pictures.keys())
    if lost:
        # For example after a backup without pictures was restored; their jobs can be drawn again.
        log.warning("%d of %d pictures have no file, such as %s", len(lost), len(known), ", ".join(lost[:3]))


class ExternalChanges:
    """Takes up what other processes have written, such as the command line next to the running service."""

    def __init__(
        self,
        db: Database,
        *,
        queue: JobQueue,
        active: ActiveJobs,
        dispatcher: Dispatcher,
        delivery: Delivery,
        owners: Owners,
        preferences: Preferences,
        digest: AccessDigest,
        clock: Clock,
    ) -> None:
        """Args:
        db: An open database.
        queue: The waiting jobs that this process knows.
        active: The jobs that are being drawn.
        dispatcher: Gets new jobs, drops cancelled ones, and is told whether the service is paused.
        delivery: Looks for new messages after a change.
        owners: Read again after a change.
        preferences: Loaded again after a change.
        digest: Told that the owners may have changed.
        clock: Time.
        """
        self._db = db
        self._queue = queue
        self._active = active
        self._dispatcher = dispatcher
        self._delivery = delivery
        self._owners = owners
        self._preferences = preferences
        self._digest = digest
        self._clock = clock
        self._seen: int | None = None

    async def start(self) -> None:
        """Everything written up to now is known. Raises Unavailable."""
        self._seen = await self._db.foreign_version()

    async def run(self) -> None:
        """Check every CHECK_EVERY seconds until cancelled."""
        while True:
            await self._clock.sleep(CHECK_EVERY)
            try:
                await self.check()
            except Unavailable as e:
                # The database logs its own fault once; this may go on for hours.
                log.debug("what another process has written can't be read (%s); again in %g s", e.key, CHECK_EVERY)
            except Exception:
                log.exception("what another process has written can't be taken up; again in %g s", CHECK_EVERY)

    async def check(self) -> None:
        """Take up what another process has written since the last check, if it has. Raises Unavailable."""
        version = await self._db.foreign_version()
        if version == self._seen:
            return
        # Known jobs are read before the rows, so that a job that is added meanwhile is not taken for a removed one.
        known, begun = set(self._queue), tuple(self._active)
        async with self._db.read() as tx:
            waiting = await jobs.waiting_ids(tx)
            paused = await people.get_service_state(tx) is ServiceState.PAUSE
        self._dispatcher.set_paused(paused)
        for job_id in sorted(known - waiting) + [i for i in begun if i not in waiting]:
            await self._cancel_if_gone(job_id)
        missing = sorted(waiting - known)
        for i in range(0, len(missing), JOBS_AT_ONCE):
            await self._enqueue(missing[i : i + JOBS_AT_ONCE])
        await self._delivery.scan()
        await refresh_owners(self._db, self._owners)
        await preference_rows.refresh(self._db, self._preferences)
        self._digest.wake()
        # Only after all of it has succeeded, so that the next check repeats one that failed.
        self._seen = version

    async def _cancel_if_gone(self, job_id: int) -> None:
        """Cancel a job that waits or is drawn here if its row is cancelled or gone; it may just have begun or ended."""
        async with self._db.read() as tx:
            job = await jobs.get(tx, job_id)
        if (job is None or job.state is JobState.CANCELLED) and (job_id in self._queue or self._active.owns(job_id)):
            self._dispatcher.cancel(job_id)

    async def _enqueue(self, job_ids: Sequence[int]) -> None:
        async with self._db.read() as tx:
            found = [await jobs.get(tx, job_id) for job_id in job_ids]
        for job in found:
            # A job that was taken out of the queue meanwhile is being begun; its row may have been read before that.
            if job is not None and job.state is JobState.QUEUED and not self._active.owns(job.id):
                self._dispatcher.enqueue(ticket_of(job))
        await asyncio.sleep(0)
