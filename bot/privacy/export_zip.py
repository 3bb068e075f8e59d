"""One's pictures and rows as ZIP files, each no larger than a platform takes; written piece by piece, each in a thread."""

from __future__ import annotations

import asyncio
import json
import os
import time
import zipfile
from pathlib import Path

from bot.storage import permissions
from bot.storage.blobs import sync
from bot.storage.shield import shield

_END_BYTES = 22
_ENTRY_BYTES = 128
"""What an entry takes beside its name (twice) and its data, rounded up."""

_TEMPORARY = ".part"


class ZipParts:
    """ZIP files that are filled one after the other. They have their final names once ``close`` has returned.

    Attributes:
        files: The finished files, in order.
        left_out: Names of files that no part could hold, or that are not there any more.
    """

    def __init__(self, folder: Path, stem: str, most: int | None) -> None:
        """Args:
        folder: Where they go.
        stem: What their names begin with: ``<stem>-<number>.zip``.
        most: Largest size of one, in bytes; None for a single file of any size.
        """
        self.files: list[Path] = []
        self.left_out: list[str] = []
        self._folder = folder
        self._stem = stem
        self._most = most
        self._zip: zipfile.ZipFile | None = None
        self._path = folder
        self._size = 0

    async def add_rows(self, name: str, rows: object) -> None:
        """Add something as JSON."""
        await shield(asyncio.to_thread(self._add_rows, name, rows))

    async def add_file(self, name: str, path: Path) -> None:
        """Add a file as it is; PNGs don't get smaller."""
        await shield(asyncio.to_thread(self._add_file, name, path))

    async def close(self) -> list[Path]:
        """Finish the last one; returns all."""
        await shield(asyncio.to_thread(self._finish))
        return self.files

    async def discard(self) -> None:
        """Remove everything."""
        await shield(asyncio.to_thread(self._discard))

    def _add_rows(self, name: str, rows: object) -> None:
        data = json.dumps(rows, ensure_ascii=False, indent=1).encode()
        self._room(name, len(data)).writestr(_entry(name, zipfile.ZIP_DEFLATED), data)

    def _add_file(self, name: str, path: Path) -> None:
        try:
            size = path.stat().st_size
            if self._most is not None and _needs(name, size) + _END_BYTES > self._most:
                self.left_out.append(name)
                return
            into = self._room(name, size)
            with path.open("rb") as source, into.open(_entry(name, zipfile.ZIP_STORED), "w") as target:
                while block := source.read(2**20):
                    target.write(block)
        except FileNotFoundError:
            self.left_out.append(name)

    def _room(self, name: str, size: int) -> zipfile.ZipFile:
        """Return the part that has room for an entry."""
        more = _needs(name, size)
        if self._zip is not None and self._most is not None and self._size + more > self._most:
            self._finish()
        if self._zip is None:
            permissions.make_folder(self._folder)
            self._path = self._folder / f"{self._stem}-{len(self.files) + 1}.zip{_TEMPORARY}"
            permissions.open_new(self._path).close()
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
        sync(self._folder)

    def _discard(self) -> None:
        if self._zip is not None:
            self._zip.close()
            self._zip = None
        for path in (*self.files, self._path):
            if path != self._folder:
                path.unlink(missing_ok=True)


def _needs(name: str, size: int) -> int:
    return size + 2 * len(name.encode()) + _ENTRY_BYTES


def _entry(name: str, how: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, time.gmtime()[:6])
    entry.compress_type = how
    entry.external_attr = 0o600 << 16
    return entry
