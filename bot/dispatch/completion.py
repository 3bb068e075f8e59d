"""Stores results: each picture as a file, and the outcome of a job in one transaction."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bot.core.errors import Unavailable
from bot.core.jobs import MAX_ATTEMPTS, Job, JobState
from bot.core.pictures import DrawnPicture, Picture
from bot.core.ports import Clock
from bot.core.requests import ABOUT_DEMO
from bot.core.waits import ExponentialBackoff, persist
from bot.delivery.live import Live
from bot.dispatch.active_job import ActiveJob
from bot.drawing import job_actions
from bot.history import store as history_rows
from bot.moderation.image_moderation import IMAGE_REJECTED, ImageModeration, ImageRejected
from bot.observability.metrics import Metrics
from bot.provenance.marks import Marker
from bot.quotas.store import ledger
from bot.storage import data_files, jobs, people, pictures
from bot.storage.database import Database, Tx
from bot.storage.thumbnails import Thumbnails
from engine.contract import Image, Profile, Recipe

UNSTORED = "error.store.failed"
"""Catalogue key: the picture was drawn but could not be stored."""

_FULL = "unavailable.disk_full"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0
"""Seconds between two tries on a full disk."""

LOST = "error.engine.lost"
"""Catalogue key: the engine was lost too often while it drew this job."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _MarkedFile:
    """A picture's file with its marks.

    Attributes:
        data: Its content.
        digest: The beginning of its SHA-256.
        document: The random id that the marks name.
        written: Whether it is on the disk.
    """

    data: bytes
    digest: str
    document: str
    written: bool


class ImageFiles:
    """Writes picture files. On a full disk it waits for room."""

    def __init__(
        self,
        folder: Path,
        marker: Marker,
        moderation: ImageModeration,
        live: Live,
        *,
        thumbnails: Thumbnails,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        """Args:
        folder: Where pictures are written.
        marker: Marks each file.
        moderation: Says whether a picture is shown, covered or rejected.
        live: Told while a picture waits for room on the disk.
        thumbnails: Told of each stored picture.
        clock: Time.
        metrics: Counts pictures.
        """
        self._folder = folder
        self._marker = marker
        self._moderation = moderation
        self._live = live
        self._thumbnails = thumbnails
        self._metrics = metrics
        self._clock = clock
        self._waiting = 0
        self._free = asyncio.Event()
        self._free.set()
        self._stop = asyncio.Event()

    @property
    def waits_for_room(self) -> bool:
        """Whether pictures wait for room on the disk."""
        return not self._free.is_set()

    async def wait_for_room(self) -> None:
        """Return once no picture waits for room on the disk."""
        await self._free.wait()

    def stop(self) -> None:
        """Stop waiting for room: pictures that could not be stored are drawn again after the next start."""
        self._stop.set()

    async def store(self, active: ActiveJob, index: int, image: Image) -> None:
        """Write the file of one picture and note in its job whether it is done or has failed.

        Never raises for a fault of the picture. On a full disk the job is stalled until there is room; the picture is
        neither done nor failed when the job is cancelled or the service stops meanwhile.
        """
        job, recipe = active.job, active.recipes[index]
        self._metrics.painted(recipe.model, image.seconds)
        path = data_files.picture_path(job.id, index, job.created_at)
        try:
            flag = await self._moderation.flag(job, index, image.data)
            file = await asyncio.to_thread(self._write_marked, image, job, recipe, path)
            stored = file.written or await self._write_later(active, path, file.data)
        except ImageRejected:
            active.failed[index] = IMAGE_REJECTED
        except Unavailable as e:
            log.error("picture %s can't be stored: %s", recipe.id, e.key)
            active.failed[index] = UNSTORED
        except Exception:
            log.exception("picture %s can't be stored", recipe.id)
            active.failed[index] = UNSTORED
        else:
            if not stored:
                return
            active.done[index] = DrawnPicture(
                job_id=job.id,
                index=index,
                seed=recipe.seed,
                path=path,
                bytes=len(file.data),
                info=replace(image, data=b""),  # the file holds them
                flag=flag,
                digest=file.digest,
                document=file.document,
            )
            self._thumbnails.picture_stored(file.digest, path)
        finally:
            active.writing.discard(index)

    def _write_marked(self, image: Image, job: Job, recipe: Recipe, path: str) -> _MarkedFile:
        """Write a picture's file with its marks, if the disk has room. Blocks: run in a thread.

        Raises:
            Unavailable: It can't be written for another reason.
        """
        data, document = self._marker.mark(image, job.request, recipe, drawn_at=self._clock.now(), locale=job.locale)
        digest = hashlib.sha256(data).hexdigest()[: data_files.DIGEST_CHARS]
        return _MarkedFile(data, digest, document, written=self._try_write(path, data))

    async def _write_later(self, active: ActiveJob, path: str, data: bytes) -> bool:
        """Write a file as soon as the disk has room; returns whether it was written."""
        self._count_waiting(1)
        self._live.set_stalled(active.job.id, True)
        try:
            return await self._write_when_room(active, path, data)
        finally:
            self._live.set_stalled(active.job.id, False)
            self._count_waiting(-1)

    async def _write_when_room(self, active: ActiveJob, path: str, data: bytes) -> bool:
        backoff = ExponentialBackoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        while not (active.cancelled or self._stop.is_set()):
            await self._clock.wait(self._stop, backoff.fail())
            if active.cancelled or self._stop.is_set():
                break
            if await asyncio.to_thread(self._try_write, path, data):
                return True
        return False

    def _try_write(self, path: str, data: bytes) -> bool:
        """Write a file; returns False when the disk is full. Raises Unavailable for any other fault. Blocks."""
        try:
            data_files.write_now(self._folder, path, data)
        except Unavailable as e:
            if e.key != _FULL:
                raise
            return False
        return True

    def _count_waiting(self, by: int) -> None:
        before, self._waiting = self._waiting, self._waiting + by
        if not before:
            self._free.clear()
            log.error("THE DISK IS FULL: pictures that are drawn wait for room, and nothing more is drawn until then")
        elif not self._waiting:
            self._free.set()
            log.warning("no picture waits for room on the disk any more")


class Completion:
    """Stores outcomes. The call that moves a job's state does all that belongs to it, in the same transaction."""

    def __init__(
        self,
        db: Database,
        folder: Path,
        live: Live,
        clock: Clock,
        metrics: Metrics,
        *,
        profiles: Callable[[], Sequence[Profile]],
    ) -> None:
        """Args:
        db: Where the rows are.
        folder: Where pictures are kept.
        live: Told while an outcome waits for the database.
        clock: Time.
        metrics: Counts outcomes.
        profiles: The models: a person's first picture of the demo gets a note on what it knows.
        """
        self._db = db
        self._folder = folder
        self._live = live
        self._clock = clock
        self._metrics = metrics
        self._profiles = profiles

    async def complete(self, active: ActiveJob) -> None:
        """All pictures have ended: the job is painted, and failed pictures are refunded; failed when no picture is done.

        While the database can't be written, the job is stalled.
        """
        state = JobState.PAINTED if active.done else JobState.FAILED
        why = Counter(active.failed.values()).most_common(1)
        error = why[0][0] if why and not active.done else ""
        seconds = sum(done.info.seconds for done in active.done.values())

        async def write() -> bool:
            return await self._db.run_write(partial(outcome, self._clock.now()))

        async def outcome(now: float, tx: Tx) -> bool:
            moved = await jobs.move(
                tx, active.job.id, JobState.RUNNING, state, now=now, error=error, seconds=seconds or None
            )
            if not moved:
                return False
            repeated = await _repeated(tx, active)
            for index, done in sorted(active.done.items()):
                changes = job_actions.setup_changes(repeated[index], done.info) if index in repeated else ()
                info = replace(done.info, notes=(*done.info.notes, *changes))
                await pictures.add(tx, replace(done, info=info), now=now)
            if active.done:
                await history_rows.add_job(tx, active.job)
                await self._tell_of_demo(tx, active.job, now)
            await ledger.settle(tx, active.job.id, painted=len(active.done), now=now)
            return True

        if await persist(write, self._clock, partial(self._live.set_stalled, active.job.id)):
            self._metrics.jobs.labels(state.value).inc()
            if active.failed:
                log.warning(
                    "job %d: %d of %d pictures failed (%s)",
                    active.job.id,
                    len(active.failed),
                    len(active.recipes),
                    why[0][0],
                )
        else:
            await self.discard(active)

    async def _tell_of_demo(self, tx: Tx, job: Job, now: float) -> None:
        """Add a note on what the demo knows to the first job that it has drawn for a person."""
        demo = any(profile.demo for profile in self._profiles() if profile.name == job.request.model)
        if demo and await people.show_once(tx, job.person_id, ABOUT_DEMO, now=now):
            await jobs.add_note(tx, job.id, ABOUT_DEMO)

    async def requeue_lost(self, active: ActiveJob, *, partly: bool) -> bool:
        """A slot was lost with pictures of the job: requeue it, unless that has happened MAX_ATTEMPTS times.

        Args:
            active: The job.
            partly: Another slot draws a part of it, so that it goes on running and only the attempt is counted.

        Returns:
            Whether the lost pictures may be drawn again. If not, it was cancelled, or those have failed.
        """
        if active.job.attempts >= MAX_ATTEMPTS:
            active.failed.update(dict.fromkeys(active.lost, LOST))
            return False

        async def write() -> bool:
            async with self._db.write() as tx:
                if partly:
                    return await jobs.count_loss(tx, active.job.id)
                return await jobs.requeue(tx, active.job.id, now=self._clock.now(), lost=True)

        counted = await persist(write, self._clock)
        if counted and partly:
            active.job = replace(active.job, attempts=active.job.attempts + 1)
        return counted

    async def requeue_running(self) -> None:
        """At a graceful stop: requeue every running job; the attempt does not count."""

        async def write() -> None:
            async with self._db.write() as tx:
                for job in await jobs.in_state(tx, JobState.RUNNING):
                    await jobs.requeue(tx, job.id, now=self._clock.now(), lost=False)

        await persist(write, self._clock)

    async def discard(self, active: ActiveJob) -> None:
        """Remove the files of the job's pictures, which get no rows."""
        for done in active.done.values():
            try:
                await data_files.remove(self._folder, done.path)
            except OSError:
                log.warning("an orphan file of job %d stays until the next start", active.job.id, exc_info=True)
        active.done.clear()


async def _repeated(tx: Tx, active: ActiveJob) -> dict[int, Picture]:
    """Return the pictures that this job repeats, by index; none where it is no repetition."""
    job = active.job
    if job.parent_id is None or job_actions.REPEATED not in job.request.notes:
        return {}
    return {picture.index: picture for picture in await pictures.of_job(tx, job.parent_id)}
