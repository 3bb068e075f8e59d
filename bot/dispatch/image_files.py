"""Keeps what the engine has drawn: looked at by moderation, with its metadata inside, whole on the disk or not at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bot.core.errors import Unavailable
from bot.core.pictures import DrawnPicture
from bot.core.ports import Clock
from bot.core.waits import until
from bot.dispatch.active_job import ActiveJob
from bot.moderation.image_moderation import UNFIT, ImageModeration, Unfit
from bot.observability.metrics import Metrics
from bot.provenance.metadata import MetadataWriter
from bot.storage import blobs
from engine.contract import Image

UNSTORED = "error.store.failed"
"""Catalogue key: the picture was drawn, but it can't be kept."""

_FULL = "unavailable.disk_full"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0
"""Seconds between two tries on a full disk."""

log = logging.getLogger(__name__)


class ImageFiles:
    """Writes pictures.

    Args:
        folder: Where they are written.
        metadata: Written into each of them.
        review: Says whether a picture is shown, covered or not kept.
        metrics: Counts pictures.
        clock: Time.
    """

    def __init__(
        self, folder: Path, metadata: MetadataWriter, review: ImageModeration, metrics: Metrics, clock: Clock
    ) -> None:
        self._folder = folder
        self._metadata = metadata
        self._review = review
        self._metrics = metrics
        self._clock = clock
        self._waiting = 0
        self._free = asyncio.Event()
        self._free.set()
        self._stop = asyncio.Event()

    async def room(self) -> None:
        """Return once no picture waits for room on the disk."""
        await self._free.wait()

    def stop(self) -> None:
        """Wait for room no longer: what could not be stored is drawn again after the next start."""
        self._stop.set()

    async def keep(self, run: ActiveJob, index: int, image: Image, waits: Callable[[bool], None]) -> None:
        """Write one picture's file and note in its run what became of it; never raises for what is wrong with one.

        On a full disk it waits for room. It is noted neither as done nor as failed when the job is cancelled or
        everything stops meanwhile.

        Args:
            run: Its job.
            index: Which of its pictures.
            image: What the engine has drawn.
            waits: Called with True when it has to wait for room, and with False when that is over.
        """
        job, recipe = run.job, run.recipes[index]
        self._metrics.painted(recipe.model, image.seconds)
        path = blobs.name(job.id, index, job.created_at)
        try:
            flag = await self._review.flag(job, index, image.data)
            data = await asyncio.to_thread(self._metadata.embed, image, job, recipe)
            stored = await self._write(run, path, data, waits)
        except Unfit:
            run.failed[index] = UNFIT
        except Unavailable as e:
            log.error("picture %s can't be stored: %s", recipe.id, e.key)
            run.failed[index] = UNSTORED
        except Exception:
            log.exception("picture %s can't be stored", recipe.id)
            run.failed[index] = UNSTORED
        else:
            if not stored:
                return
            run.done[index] = DrawnPicture(
                job_id=job.id,
                index=index,
                seed=recipe.seed,
                path=path,
                bytes=len(data),
                info=replace(image, data=b""),  # the file holds them
                flag=flag,
            )
        finally:
            run.writing.discard(index)

    async def _write(self, run: ActiveJob, path: str, data: bytes, waits: Callable[[bool], None]) -> bool:
        """Write a file, as soon as the disk has room; returns whether it is there."""
        if await self._try_write(path, data):
            return True
        self._wait(1)
        waits(True)
        try:
            return await self._write_later(run, path, data)
        finally:
            waits(False)
            self._wait(-1)

    async def _write_later(self, run: ActiveJob, path: str, data: bytes) -> bool:
        pause = _FIRST_PAUSE
        while not (run.cancelled or self._stop.is_set()):
            await until(self._stop, pause, self._clock)
            pause = min(_LONGEST_PAUSE, 2 * pause)
            if run.cancelled or self._stop.is_set():
                break
            if await self._try_write(path, data):
                return True
        return False

    async def _try_write(self, path: str, data: bytes) -> bool:
        """Write a file; returns False where the disk is full. Raises Unavailable where it can't be written at all."""
        try:
            await blobs.write(self._folder, path, data)
        except Unavailable as e:
            if e.key != _FULL:
                raise
            return False
        return True

    def _wait(self, by: int) -> None:
        before, self._waiting = self._waiting, self._waiting + by
        if not before:
            self._free.clear()
            log.error("THE DISK IS FULL: pictures that are drawn wait for room, and nothing more is drawn until then")
        elif not self._waiting:
            self._free.set()
            log.warning("no picture waits for room on the disk any more")
