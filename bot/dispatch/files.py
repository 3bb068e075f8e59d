"""Keeps what the engine has drawn: looked at by moderation, with its metadata inside, whole on the disk or not at all."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from bot.dispatch.metadata import Metadata
from bot.dispatch.review import UNFIT, Review, Unfit
from bot.dispatch.runs import Done, Run
from bot.model.errors import Unavailable
from bot.observe.metrics import Metrics
from bot.store import blobs
from engine.contract import Image

NO_SPACE = "error.store.no_space"
"""Catalogue key: the picture was drawn, but the disk is full."""

UNSTORED = "error.store.failed"
"""Catalogue key: the picture was drawn, but it can't be kept."""

log = logging.getLogger(__name__)


class Files:
    """Writes pictures.

    Args:
        folder: Where they are written.
        metadata: Written into each of them.
        review: Says whether a picture is shown, covered or not kept.
        metrics: Counts pictures.
    """

    def __init__(self, folder: Path, metadata: Metadata, review: Review, metrics: Metrics) -> None:
        self._folder = folder
        self._metadata = metadata
        self._review = review
        self._metrics = metrics

    async def keep(self, run: Run, index: int, image: Image) -> None:
        """Write one picture's file and note in its run what became of it; never raises for what is wrong with one."""
        job, recipe = run.job, run.recipes[index]
        self._metrics.painted(recipe.model, image.seconds)
        path = blobs.name(job.id, index, job.created_at)
        try:
            flag = await self._review.flag(job, index, image.data)
            data = await asyncio.to_thread(self._metadata.embed, image, job, recipe)
            await blobs.write(self._folder, path, data)
        except Unfit:
            run.failed[index] = UNFIT
        except Unavailable as e:
            log.error("picture %s can't be stored: %s", recipe.id, e.key)
            run.failed[index] = NO_SPACE if e.key == "unavailable.disk_full" else UNSTORED
        except Exception:
            log.exception("picture %s can't be stored", recipe.id)
            run.failed[index] = UNSTORED
        else:
            run.done[index] = Done.of(index, recipe, image, path=path, size=len(data), flag=flag)
        finally:
            run.writing.discard(index)
