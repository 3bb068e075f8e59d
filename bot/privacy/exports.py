"""Exports: ZIP files of a person's pictures and rows; requests for them, their links, and the worker that makes them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import secrets
import time
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bot.cards import job_card
from bot.context import AppContext
from bot.core.cards import Card, Tone
from bot.core.errors import BadInput, NotFound, OverQuota, Refusal, Unavailable
from bot.core.events import EventBus, MessagesAdded
from bot.core.messages import Address, EventRef
from bot.core.people import Actor
from bot.core.pictures import PictureFile
from bot.core.ports import Clock, Surface
from bot.core.waits import shield
from bot.privacy.store import exports
from bot.privacy.store.exports import Export
from bot.storage import data_files, inputs, messages, people
from bot.storage.data_files import sync_folder
from bot.storage.database import Database, Tx
from bot.storage.sql import dump_card

EXPORT_INTERVAL = 3600.0
"""Seconds until a person may request another export."""

PATH = "exports"
"""Path of exports on the page: ``/exports/<token>``."""

_TOKEN_BYTES = 16

SWEEP_INTERVAL = 3600.0
"""Seconds between two removals of expired files."""

_JOBS = 200
"""Jobs that are read in one transaction; other readers wait for it."""

log = logging.getLogger(__name__)

_END_BYTES = 22
_ENTRY_BYTES = 128
"""Overhead of an entry in bytes, without its data and its name (which is there twice), rounded up."""

_TEMPORARY = ".part"


async def request_export(ctx: AppContext, actor: Actor, ref: EventRef) -> str | None:
    """Request an export of the actor's data; return its link, or None if it will be sent to the chat.

    Raises:
        NotFound: The actor has never drawn anything.
        BadInput: An export is being made.
        OverQuota: The last export was requested within the hour.
        Unavailable: There is neither a chat to send it to nor a public address of the page.
    """
    now = ctx.clock.now()
    token = secrets.token_urlsafe(_TOKEN_BYTES) if ctx.public_url else ""
    if not token and ref.address is None:
        raise Unavailable("refusal.export.nowhere")
    address = None if token else ref.address
    async with ctx.db.write() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        if person is None:
            raise NotFound("refusal.export.nothing")
        last = await exports.latest(tx, person.id)
        if last is not None and last.asked_at > now - exports.KEPT_SECONDS:
            if not last.ready:
                raise BadInput("refusal.export.running")
            # A request in the future was made before the clock was set back.
            if now - EXPORT_INTERVAL < last.asked_at <= now:
                raise OverQuota("refusal.export.soon", wait=last.asked_at + EXPORT_INTERVAL - now)
        digest = _digest(token) if token else ""
        await exports.add(tx, person.id, address=address, digest=digest, locale=actor.locale, now=now)
    ctx.backlog.messages_added()
    return f"{ctx.public_url.rstrip('/')}/{PATH}/{token}" if token else None


async def check_export(ctx: AppContext, token: str) -> None:
    """Check a link without using it.

    Raises:
        NotFound: There is no such link, it was used, or it has expired.
        Unavailable: The file is still being made.
    """
    async with ctx.db.read() as tx:
        await _valid_export(tx, ctx, token)


async def fetch_export(ctx: AppContext, token: str) -> PictureFile:
    """Use a link, which works once; return the file.

    Raises:
        NotFound: There is no such link, it was used, or it has expired.
        Unavailable: The file is still being made.
    """
    now = ctx.clock.now()
    async with ctx.db.write() as tx:
        export, path = await _valid_export(tx, ctx, token)
        await exports.mark_used(tx, export.id, now=now)
    return PictureFile(path, "easel-export.zip", "application/zip", 0, 0)


async def _valid_export(tx: Tx, ctx: AppContext, token: str) -> tuple[exports.Export, Path]:
    export = await exports.by_digest(tx, _digest(token))
    if export is None or export.used or abs(ctx.clock.now() - export.asked_at) >= exports.KEPT_SECONDS:
        raise NotFound("refusal.export.link")
    if not export.ready:
        raise Unavailable("refusal.export.not_ready")
    folder = inputs.data_folder(ctx.pictures) / exports.FOLDER
    path = await asyncio.to_thread(data_files.regular_file, folder, f"{export.id}-1.zip")
    if path is None:
        raise NotFound("refusal.export.link")
    return export, path


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class ZipParts:
    """Parts of an export: ZIP files, filled one after the other. They get their final names until ``close`` returns.

    Attributes:
        files: The complete parts, in order.
        left_out: Names of files that are too large for any part, or that are missing.
    """

    def __init__(self, folder: Path, stem: str, max_size: int | None) -> None:
        """Args:
        folder: Their folder.
        stem: Their names are ``<stem>-<number>.zip``.
        max_size: Maximum size of a part in bytes; None for one part of any size.
        """
        self.files: list[Path] = []
        self.left_out: list[str] = []
        self._folder = folder
        self._stem = stem
        self._max_size = max_size
        self._zip: zipfile.ZipFile | None = None
        self._path = folder
        self._size = 0

    async def add_rows(self, name: str, rows: object) -> None:
        """Add a JSON file."""
        await shield(asyncio.to_thread(self._add_rows, name, rows))

    async def add_file(self, name: str, path: Path) -> None:
        """Add a file without compression: PNGs don't get smaller."""
        await shield(asyncio.to_thread(self._add_file, name, path))

    async def close(self) -> list[Path]:
        """Complete the last part; return all."""
        await shield(asyncio.to_thread(self._finish))
        return self.files

    async def discard(self) -> None:
        """Remove all parts."""
        await shield(asyncio.to_thread(self._discard))

    def _add_rows(self, name: str, rows: object) -> None:
        data = json.dumps(rows, ensure_ascii=False, indent=1).encode()
        self._part_for(name, len(data)).writestr(_entry(name, zipfile.ZIP_DEFLATED), data)

    def _add_file(self, name: str, path: Path) -> None:
        try:
            size = path.stat().st_size
            if self._max_size is not None and _entry_size(name, size) + _END_BYTES > self._max_size:
                self.left_out.append(name)
                return
            into = self._part_for(name, size)
            with path.open("rb") as source, into.open(_entry(name, zipfile.ZIP_STORED), "w") as target:
                while block := source.read(2**20):
                    target.write(block)
        except FileNotFoundError:
            self.left_out.append(name)

    def _part_for(self, name: str, size: int) -> zipfile.ZipFile:
        """Return a part with space for the entry."""
        more = _entry_size(name, size)
        if self._zip is not None and self._max_size is not None and self._size + more > self._max_size:
            self._finish()
        if self._zip is None:
            data_files.make_folder(self._folder)
            self._path = self._folder / f"{self._stem}-{len(self.files) + 1}.zip{_TEMPORARY}"
            data_files.open_new(self._path).close()
            self._zip = zipfile.ZipFile(self._path, "w", allowZip64=True)
            self._size = _END_BYTES
        self._size += more
        return self._zip

    def _finish(self) -> None:
        if self._zip is None:
            return
        self._zip.close()
        self._zip = None
        with self._path.open("rb") as file:
            os.fsync(file.fileno())
        self.files.append(self._path.replace(self._path.with_suffix("")))
        sync_folder(self._folder)

    def _discard(self) -> None:
        if self._zip is not None:
            self._zip.close()
            self._zip = None
        for path in (*self.files, self._path):
            if path != self._folder:
                path.unlink(missing_ok=True)


def _entry_size(name: str, size: int) -> int:
    return size + 2 * len(name.encode()) + _ENTRY_BYTES


def _entry(name: str, how: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, time.gmtime()[:6])
    entry.compress_type = how
    entry.external_attr = 0o600 << 16
    return entry


class ExportWorker:
    """Makes the exports that rows request. After a crash, an unfinished one is made again."""

    def __init__(
        self,
        db: Database,
        pictures: Path,
        surfaces: Mapping[str, Surface],
        clock: Clock,
        bus: EventBus,
    ) -> None:
        """Args:
        db: The database.
        pictures: The pictures folder; the exports folder is next to it.
        surfaces: The surfaces by platform.
        clock: Time source.
        bus: Told when files or notices are to be sent.
        """
        self._db = db
        self._pictures = pictures
        self._data = inputs.data_folder(pictures)
        self._surfaces = surfaces
        self._clock = clock
        self._bus = bus
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """An export may have been requested, or a platform has come."""
        self._wake.set()

    def on_messages_added(self, _event: MessagesAdded) -> None:
        """An export may have been requested."""
        self.wake()

    async def run(self) -> None:
        """Work until it is cancelled."""
        while True:
            self._wake.clear()
            try:
                await self._sweep()
                await self._make_pending()
            except Unavailable as e:
                log.warning("exports could not be made (%s); trying again later", e.key)
            except Exception:  # the service goes on
                log.exception("exports could not be made")
            await self._idle()

    async def _idle(self) -> None:
        """Wait for a request, or until the next sweep."""
        await self._clock.wait(self._wake, SWEEP_INTERVAL)

    async def _sweep(self) -> None:
        async with self._db.write() as tx:
            await exports.expire(tx, now=self._clock.now())
            retained = await exports.retained_ids(tx, now=self._clock.now())
        await exports.sweep(self._pictures, retained)
        # A new contact sheet clears old ones, but there may be no new one.
        await data_files.clear_old(self._data / data_files.SHEETS, data_files.SHEET_NAME, exports.KEPT_SECONDS)

    async def _make_pending(self) -> None:
        async with self._db.read() as tx:
            found = await exports.pending(tx)
        for export in found:
            if export.address is not None and export.address.platform not in self._surfaces:
                continue  # the maximum size of its files is known once its platform is connected
            try:
                await self._make(export)
            except Refusal as refusal:
                log.warning("export %d could not be made: %s", export.id, refusal.key)
                await self._failed(export, refusal)
            except Exception as error:  # other exports go on
                log.exception("export %d could not be made", export.id)
                key = "unavailable.disk_full" if isinstance(error, OSError) else "refusal.unavailable.internal"
                await self._failed(export, Unavailable(key))

    async def _make(self, export: Export) -> None:
        if await data_files.free_bytes(self._pictures) < data_files.MIN_FREE_BYTES:
            raise Unavailable("unavailable.disk_full")
        max_size = None if export.address is None else self._max_file(export.address)
        parts = ZipParts(self._data / exports.FOLDER, str(export.id), max_size)
        try:
            await self._fill(parts, export)
            files = await parts.close()
            wanted = await self._publish(export, files)
        except BaseException:
            await parts.discard()
            raise
        if not wanted:
            await parts.discard()
        self._bus.publish(MessagesAdded())

    def _max_file(self, address: Address) -> int:
        """Return the largest file that can be sent to an address, and to the person alone if that fails."""
        largest = self._surfaces[address.platform].abilities().max_file
        return largest if address.max_file is None else min(largest, address.max_file)

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
                path = await asyncio.to_thread(data_files.locate, self._pictures, file.path)
                if path is None:
                    parts.left_out.append(file.name)
                    continue
                await parts.add_file(file.name, path)
                if await data_files.free_bytes(self._pictures) < data_files.MIN_FREE_BYTES:
                    raise Unavailable("unavailable.disk_full")
            last = batch.last_id
        if parts.left_out:
            await parts.add_rows("left-out.json", parts.left_out)

    async def _publish(self, export: Export, files: list[Path]) -> bool:
        """Record that the export is ready, and add its messages; return False if it was deleted meanwhile."""
        async with self._db.write() as tx:
            if not await exports.mark_ready(tx, export.id):
                return False
            if export.address is None:
                return True
            for number, path in enumerate(files, 1):
                file = PictureFile(path, f"easel-export-{number}.zip", "application/zip", 0, 0)
                card = Card(Tone.INFO, "", pictures=(file,), private=True)
                event = f"export:{export.id}:{number}"
                await messages.add_document(tx, event, _private(export.address), dump_card(card))
        return True

    async def _failed(self, export: Export, refusal: Refusal) -> None:
        async with self._db.write() as tx:
            await exports.drop(tx, export.id)
            if export.address is not None:
                card = dump_card(job_card.refused(refusal, export.locale))
                await messages.add_notice(tx, f"export:{export.id}:failed", _private(export.address), card)
        self._bus.publish(MessagesAdded())


def _private(address: Address) -> Address:
    """Return the address of a private new message to the same person."""
    return replace(address, message=None, reply_to=None, thread=None, private=True)
