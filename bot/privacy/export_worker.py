"""Makes the exports that people have asked for, one after another, and hands them to delivery."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from bot.cards import job_card
from bot.core.cards import Card, Tone
from bot.core.errors import Refusal, Unavailable
from bot.core.messages import Address
from bot.core.pictures import PictureFile
from bot.core.ports import Clock, Surface
from bot.core.waits import until
from bot.privacy.export_zip import ZipParts
from bot.privacy.store import exports
from bot.privacy.store.exports import Export
from bot.storage import blobs, inputs, messages, paths
from bot.storage.codec import dump_card
from bot.storage.database import Database

SWEEP_EVERY = 3600.0
"""Seconds between two looks at what is too old."""

_JOBS = 200
"""Jobs that are read at once; nobody else can read meanwhile."""

log = logging.getLogger(__name__)


class ExportWorker:
    """Rows say which exports are wanted; one that a kill has broken off is made anew at the next start."""

    def __init__(
        self,
        db: Database,
        pictures: Path,
        surfaces: Mapping[str, Surface],
        clock: Clock,
        posted: Callable[[], None],
    ) -> None:
        """Args:
        db: Where the rows are.
        pictures: Where pictures are kept; exports lie beside it.
        surfaces: Who speaks to which platform.
        clock: Time.
        posted: Called when there is something to be sent.
        """
        self._db = db
        self._pictures = pictures
        self._data = inputs.data_folder(pictures)
        self._surfaces = surfaces
        self._clock = clock
        self._posted = posted
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something may be wanted, or a platform has come."""
        self._wake.set()

    async def run(self) -> None:
        """Work until it is cancelled."""
        while True:
            self._wake.clear()
            try:
                await self._sweep()
                await self._make_all()
            except Unavailable as e:
                log.warning("exports could not be looked at (%s); again later", e.key)
            except Exception:  # the service goes on without
                log.exception("exports could not be looked at")
            await self._idle()

    async def _idle(self) -> None:
        """Wait until something may be wanted, or it is time to sweep."""
        await until(self._wake, SWEEP_EVERY, self._clock)

    async def _sweep(self) -> None:
        async with self._db.write() as tx:
            await exports.expire(tx, now=self._clock.now())
            known = await exports.known(tx, now=self._clock.now())
        await exports.sweep(self._pictures, known)
        # Contact sheets are thumbnails of pictures; whoever makes one clears old ones, but nobody may make one.
        await blobs.clear_old(self._data / paths.SHEETS, paths.SHEET, exports.KEPT_SECONDS)

    async def _make_all(self) -> None:
        async with self._db.read() as tx:
            found = await exports.wanted(tx)
        for export in found:
            if export.address is not None and export.address.platform not in self._surfaces:
                continue  # how large its files may be is known when its platform comes
            try:
                await self._make(export)
            except Refusal as refusal:
                log.warning("export %d could not be made: %s", export.id, refusal.key)
                await self._failed(export, refusal)
            except Exception as error:  # whatever it was, everybody else's go on
                log.exception("export %d could not be made", export.id)
                key = "unavailable.disk_full" if isinstance(error, OSError) else "refusal.unavailable.internal"
                await self._failed(export, Unavailable(key))

    async def _make(self, export: Export) -> None:
        if await blobs.free_bytes(self._pictures) < blobs.MIN_FREE_BYTES:
            raise Unavailable("unavailable.disk_full")
        most = None if export.address is None else self._surfaces[export.address.platform].abilities().max_file
        parts = ZipParts(self._data / exports.FOLDER, str(export.id), most)
        try:
            await self._fill(parts, export)
            files = await parts.close()
            kept = await self._hand_over(export, files)
        except BaseException:
            await parts.discard()
            raise
        if not kept:
            await parts.discard()
        self._posted()

    async def _fill(self, parts: ZipParts, export: Export) -> None:
        async with self._db.read() as tx:
            person = await exports.person(tx, export.person_id)
        await parts.add_rows("person.json", person)
        last = 0
        while True:
            async with self._db.read() as tx:
                batch = await exports.batch(tx, export.person_id, self._pictures.name, after=last, limit=_JOBS)
            if not batch.jobs:
                break
            await parts.add_rows(f"jobs-{batch.jobs[0]['id']}-{batch.last_id}.json", batch.jobs)
            for file in batch.files:
                path = await asyncio.to_thread(paths.locate, self._pictures, file.path)
                if path is None:
                    parts.left_out.append(file.name)
                    continue
                await parts.add_file(file.name, path)
                if await blobs.free_bytes(self._pictures) < blobs.MIN_FREE_BYTES:
                    raise Unavailable("unavailable.disk_full")
            last = batch.last_id
        if parts.left_out:
            await parts.add_rows("left-out.json", parts.left_out)

    async def _hand_over(self, export: Export, files: list[Path]) -> bool:
        """Write down that it is there, and what is to be sent; returns whether it is still wanted."""
        async with self._db.write() as tx:
            if not await exports.made(tx, export.id):
                return False
            if export.address is None:
                return True
            for number, path in enumerate(files, 1):
                file = PictureFile(path, f"easel-export-{number}.zip", "application/zip", 0, 0)
                card = Card(Tone.INFO, "", pictures=(file,), private=True)
                event = f"export:{export.id}:{number}"
                await messages.add_parcel(tx, event, alone(export.address), dump_card(card))
        return True

    async def _failed(self, export: Export, refusal: Refusal) -> None:
        async with self._db.write() as tx:
            await exports.drop(tx, export.id)
            if export.address is not None:
                card = dump_card(job_card.refused(refusal, export.locale))
                await messages.add_notice(tx, f"export:{export.id}:failed", alone(export.address), card)
        self._posted()


def alone(address: Address) -> Address:
    """The same person, alone, for a new message."""
    return replace(address, message=None, reply_to=None, thread=None, private=True)
