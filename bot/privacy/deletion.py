"""Deletion: of a person's data or of one job on request, and of old pictures by the retention of each place or on a full disk."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.audit import changes
from bot.audit import store as audit_rows
from bot.audit.store import AuditEntry
from bot.context import AppContext
from bot.core.durations import is_for_good, parse_span
from bot.core.errors import BadInput, NotFound, Unavailable
from bot.core.events import EventBus, JobChanged
from bot.core.jobs import JobState
from bot.core.people import Actor, Place
from bot.core.ports import Clock
from bot.drawing import store as drafts
from bot.maintenance.checks import CONFIRMED_AFTER, ClockTrust, TrustedTime
from bot.places.options import set_option
from bot.privacy.store import deletion, exports
from bot.privacy.store.deletion import DeletedFiles, Forgotten, Losses, OldPicture
from bot.quotas.store import ledger
from bot.storage import data_files, inputs, jobs, orphans, people, preferences, thumbnails
from bot.storage.database import Database, Transactions, Tx

DAYS = "keep_days"
"""Option of a place or of the whole service: retention in days; unlimited if not set."""

INTERVAL = 3600.0
"""Seconds between two sweeps."""

DAY = 86400.0
"""Minimum age of a deleted picture in seconds, whatever the rules say."""

BATCH = 100
"""Pictures that are deleted in one transaction."""

MAX_DOUBTED = 10
MAX_DOUBTED_SHARE = 0.1
"""While the clock is doubted, at most this many pictures, or this share of all, are deleted by age."""

_PAGE = 500

OPEN = frozenset({JobState.HELD, JobState.QUEUED, JobState.RUNNING})
"""States of a job that has to be cancelled before it can be deleted."""

Disk = Callable[[Path], Awaitable[tuple[int, int]]]
"""Returns the size and the free space of a folder's file system, in bytes."""

log = logging.getLogger(__name__)


async def losses(ctx: AppContext, actor: Actor) -> Losses:
    """Count what ``forget`` would delete. Raises NotFound if the actor has never drawn anything."""
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            raise NotFound("refusal.forget.nothing")
        return await deletion.losses(tx, person.id)


async def forget(ctx: AppContext, actor: Actor) -> Losses:
    """Delete a person's pictures, prompts and history, of all their accounts; return the counts.

    Unfinished jobs are cancelled and refunded first. After a crash behind the commit, the next start removes the
    remaining files and messages.

    Raises:
        NotFound: The actor has never drawn anything.
    """
    now = ctx.clock.now()
    stopped: list[int] = []
    async with ctx.db.write() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            raise NotFound("refusal.forget.nothing")
        lost = await deletion.losses(tx, person.id)
        for job_id, state in await deletion.open_jobs(tx, person.id):
            if await jobs.move(tx, job_id, state, JobState.CANCELLED, now=now):
                await ledger.refund(tx, job_id, now=now)
                stopped.append(job_id)
        removed = await deletion.forget(tx, person.id)
    await preferences.refresh(ctx.db, ctx.preferences)
    for job_id in stopped:
        ctx.backlog.job_cancelled(job_id)
    for job_id in removed.jobs:
        ctx.backlog.job_changed(job_id)
    ctx.backlog.messages_added()
    await _remove_files(ctx, removed)
    return lost


async def _remove_files(ctx: AppContext, removed: Forgotten) -> None:
    await exports.remove_files(ctx.pictures, removed.exports)
    await remove_files(ctx.db, ctx.pictures, removed)


async def remove_files(db: Transactions, pictures: Path, removed: DeletedFiles | Forgotten) -> None:
    """Remove the files of deleted rows. After a crash before this, the next start removes them."""
    await data_files.remove_pictures(pictures, removed.pictures)
    await thumbnails.remove(pictures, removed.digests)
    await deletion.remove_source_files(db, pictures, removed.inputs)


async def delete_job(ctx: AppContext, actor: Actor, place: Place, job_id: int) -> None:
    """Delete an ended job: from the chats that show it, from the history and from the disk. Nothing is refunded.

    The command runner has checked that the actor is its author or an admin of its place; what an admin deletes is in the
    audit log. After a crash behind the commit, the next start removes the remaining files and messages.

    Raises:
        NotFound: There is no such job, or it was deleted already.
        BadInput: It is not ended; it can be cancelled.
    """
    async with ctx.db.write() as tx:
        job = await jobs.get(tx, job_id)
        if job is None or job.forgotten:
            raise NotFound("refusal.job.not_found")
        if job.state in OPEN:
            raise BadInput("refusal.delete.open")
        removed = await deletion.delete_job(tx, job.id)
        if not await jobs.is_own(tx, actor, job):
            await audit_rows.add(
                tx,
                AuditEntry(
                    at=ctx.clock.now(),
                    actor=changes.actor_label(actor),
                    action="delete",
                    platform=None if place.guild is None else place.platform,
                    place=place.guild,
                    before=f"{job.id}",
                ),
            )
    ctx.backlog.job_changed(job_id)
    ctx.backlog.messages_added()
    await remove_files(ctx.db, ctx.pictures, removed)


@dataclass(frozen=True, slots=True)
class Retention:
    """Retention of pictures in days; None is unlimited.

    Attributes:
        here: The place's rule.
        everywhere: The owners' rule.
        whole: Whether this is the retention of the whole service, not of a place.
    """

    here: float | None
    everywhere: float | None
    whole: bool

    @property
    def days(self) -> float | None:
        """The effective retention: the shorter one."""
        rules = [days for days in (self.here, self.everywhere) if days is not None]
        return min(rules) if rules else None


async def show_retention(ctx: AppContext, place: Place) -> Retention:
    """Return the retention of this place; in a direct message, that of the whole service."""
    async with ctx.db.read() as tx:
        return await _retention(tx, place, await people.find_place(tx, place))


async def set_retention(ctx: AppContext, actor: Actor, place: Place, typed: str) -> Retention:
    """Set the retention of this place; in a direct message, of the whole service. The caller has checked permissions.

    Raises:
        BadInput: It is no duration, or less than a day.
    """
    days: float | None = None
    if not is_for_good(typed):
        days = parse_span(typed) / DAY
        if days < 1:
            raise BadInput("refusal.keep.short")
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        place_id = await people.remember_place(tx, place, now=now)
        by = changes.actor_label(actor)
        await set_option(tx, place_id, DAYS, days, action="easel keep", place=place, by=by, now=now)
        return await _retention(tx, place, place_id)


async def _retention(tx: Tx, place: Place, place_id: int | None) -> Retention:
    found = await people.read_options(tx, place_id)
    return Retention(_days(found.here.get(DAYS)), _days(found.everywhere.get(DAYS)), whole=place.guild is None)


def _days(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


class RetentionWorker:
    """Sweeps pictures and drafts of requests, at the start and every hour. Rows are deleted before their files."""

    def __init__(
        self,
        db: Database,
        folder: Path,
        clock: Clock,
        *,
        bus: EventBus | None = None,
        free_percent: float = 0.0,
        disk: Disk = data_files.disk_usage,
    ) -> None:
        """Args:
        db: The database.
        folder: The pictures folder.
        clock: Time source.
        bus: Told which jobs have lost their pictures; nobody is told without it.
        free_percent: Share of the disk to keep free, 0 to 100; 0: no limit.
        disk: Measures the disk.
        """
        self._db = db
        self._folder = folder
        self._clock = clock
        self._bus = bus or EventBus()
        self._free_percent = free_percent
        self._disk = disk
        self._clock_trust = ClockTrust(db, clock)
        self._warned = False

    async def run(self) -> None:
        """Sweep until cancelled."""
        ran = 0.0
        while True:
            try:
                await self.sweep(ran)
            except Unavailable as e:
                log.warning("old pictures could not be deleted (%s); trying again in an hour", e.key)
            except Exception:  # the service goes on
                log.exception("old pictures could not be deleted; trying again in an hour")
            await self._clock.sleep(INTERVAL)
            ran = INTERVAL

    async def sweep(self, ran: float = 0.0) -> int:
        """Sweep once; return the number of deleted pictures.

        Args:
            ran: Seconds since the last sweep; 0 for the first one.

        Raises:
            Unavailable: The database can't be used.
            OSError: The disk can't be measured.
        """
        trusted = await self._clock_trust.check(ran)
        by_rule = await self._by_rule(trusted)
        by_disk = await self._by_disk(trusted)
        if not trusted.paused:
            async with self._db.write() as tx:
                await drafts.drop_old_drafts(tx, now=trusted.now)
            await asyncio.to_thread(orphans.purge_quarantine, inputs.data_folder(self._folder), trusted.now)
        if by_rule or by_disk:
            log.info(
                "deleted %d pictures by the places' retention, %d because the disk is nearly full", by_rule, by_disk
            )
        return by_rule + by_disk

    async def _by_rule(self, trusted: TrustedTime) -> int:
        async with self._db.read() as tx:
            rules = await deletion.retention_days(tx)
        if not rules:
            return 0
        if trusted.paused:
            self._warn(trusted)
            return 0
        deleted, doubtful = 0, list[OldPicture]()
        before = trusted.now - max(DAY, min(rules.values()) * DAY)
        cursor = (0.0, 0)
        # One pass for all rules, page by page, so that other readers are not blocked.
        while page := await self._page(before, cursor, _PAGE):
            cursor = (page[-1].created_at, page[-1].id)
            over = [
                old for old in page if old.created_at < trusted.now - max(DAY, _retention_of(rules, old.place_id) * DAY)
            ]
            if trusted.doubted:
                doubtful += over
                continue
            deleted += await self._delete_all(over)
        if doubtful and await self._is_unusual(len(doubtful)):
            self._warn(trusted)
            return 0
        self._warned = self._warned and trusted.doubted
        return deleted + await self._delete_all(doubtful)

    async def _delete_all(self, over: Sequence[OldPicture]) -> int:
        return sum([await self._delete(over[start : start + BATCH]) for start in range(0, len(over), BATCH)])

    async def _is_unusual(self, over: int) -> bool:
        """Whether this is more than is usually deleted in a day."""
        async with self._db.read() as tx:
            return over > max(MAX_DOUBTED, MAX_DOUBTED_SHARE * await deletion.count_pictures(tx))

    def _warn(self, trusted: TrustedTime) -> None:
        """Log once that nothing is deleted by age."""
        if not self._warned:
            self._warned = True
            log.warning(
                "THE CLOCK IS %.1f DAYS AHEAD of the last known time and may be wrong: no picture is deleted by age until"
                " the service has run for %d hours",
                trusted.ahead / DAY,
                CONFIRMED_AFTER // 3600,
            )

    async def _by_disk(self, trusted: TrustedTime) -> int:
        if not self._free_percent:
            return 0
        deleted, cursor = 0, (0.0, 0)
        before = trusted.now - DAY
        if await self._is_full():
            # Orphans go before pictures that people can still see.
            await asyncio.to_thread(orphans.purge_quarantine, inputs.data_folder(self._folder), trusted.now, after=DAY)
        while await self._is_full():
            page = await self._page(before, cursor, BATCH)
            if not page:
                log.warning(
                    "less than %g %% of the disk is free, and no picture is old enough to be deleted",
                    self._free_percent,
                )
                break
            cursor = (page[-1].created_at, page[-1].id)
            deleted += await self._delete(page)
        return deleted

    async def _is_full(self) -> bool:
        try:
            total, free = await self._disk(self._folder)
        except FileNotFoundError:
            return False  # no picture was drawn yet
        return free < total * self._free_percent / 100

    async def _page(self, before: float, after: tuple[float, int], limit: int) -> tuple[OldPicture, ...]:
        async with self._db.read() as tx:
            return await deletion.old_pictures(tx, before=before, after=after, limit=limit)

    async def _delete(self, over: Iterable[OldPicture]) -> int:
        async with self._db.write() as tx:
            removed = await deletion.delete_pictures(
                tx, self._folder.name, list(dict.fromkeys(old.job_id for old in over))
            )
        await remove_files(self._db, self._folder, removed)
        for job_id in removed.jobs:
            self._bus.publish(JobChanged(job_id))
        return len(removed.pictures)


def _retention_of(rules: Mapping[int, float], place_id: int | None) -> float:
    """Return a place's retention in days: its own rule can only shorten the service's."""
    service = rules.get(0, math.inf)
    return service if place_id is None else min(service, rules.get(place_id, math.inf))
