"""The database file: one writer that commits in groups, one reader beside it, and transactions that always end."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

import aiosqlite

from bot.core.errors import Unavailable
from bot.storage import backup, data_files, migrate
from bot.storage.group_commit import GroupCommit
from bot.storage.migrate import Migration
from bot.storage.shield import shield

Tx: TypeAlias = aiosqlite.Connection
"""An open transaction, as ``Database.write`` and ``Database.read`` hand it out and the functions of the store take it."""

BUSY_SECONDS = 5.0
"""How long a statement waits for another process (``easel quota`` beside the service) before it gives up."""

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.02
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_DAMAGED = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})
_UNWRITABLE = frozenset(
    {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
)

_WHY = {
    "unavailable.disk_full": "the disk is full",
    "unavailable.database.locked": "another process holds it",
    "unavailable.database.unwritable": "the file can't be written",
}


class Transactions(Protocol):
    """What use cases need of a database; see ``Database``."""

    def write(self, *, alone: bool = False) -> AbstractAsyncContextManager[Tx]:
        """A transaction that may write."""

    def read(self) -> AbstractAsyncContextManager[Tx]:
        """A transaction that can't write."""


class Database:
    """An open database. Get one by ``open``; end it by ``close`` (or use it as an async context manager).

    ``write`` and ``read`` hand out a connection as ``tx``, which the functions of ``bot.store`` take. Neither may be
    nested in itself in one task: the inner one would wait for the outer one for ever.
    """

    def __init__(self, path: Path, writer: aiosqlite.Connection, reader: aiosqlite.Connection, version: int) -> None:
        self.path = path
        self.version = version
        """Number of the last migration that was applied."""
        self._writer = writer
        self._reader = reader
        self._identity = _identity(path)
        self._trouble: Unavailable | None = None
        self._damage = ""
        self._writing = asyncio.Lock()
        self._groups = GroupCommit(writer, self._writing)
        self._reading = asyncio.Lock()

    @classmethod
    async def open(
        cls, path: Path, *, migrations: Sequence[Migration] | None = None, busy_seconds: float = BUSY_SECONDS
    ) -> Database:
        """Open the file, make it if there is none, and bring its tables up to date.

        Args:
            path: The file; its folder is made too.
            migrations: What to apply instead of the shipped ones.
            busy_seconds: How long to wait for another process's lock.

        Raises:
            Unavailable: It is newer than this code, locked, damaged, not writable, or the disk is full.
        """
        try:
            await asyncio.to_thread(_make, path)
        except OSError as e:
            raise Unavailable("unavailable.database.unwritable", path=str(path)) from e
        opened: list[aiosqlite.Connection] = []
        try:
            writer = await _connect(path, busy_seconds, opened)
            await _use_wal(writer, busy_seconds)
            # FULL: a commit is durable when it returns (NORMAL may lose the last ones when the power fails).
            await writer.execute_fetchall("PRAGMA synchronous = FULL")
            # What is forgotten shall not stay in the file's free pages.
            await writer.execute_fetchall("PRAGMA secure_delete = ON")
            # Before foreign keys are on: a migration may rebuild a table that others point to.
            steps = migrate.shipped() if migrations is None else migrations
            if 0 < await migrate.version_of(writer) < len(steps):
                await _copied_first(path, len(steps))
            version = await migrate.apply(writer, steps)
            await writer.execute_fetchall("PRAGMA foreign_keys = ON")
            reader = await _connect(path, busy_seconds, opened)
            await reader.execute_fetchall("PRAGMA query_only = ON")
        except BaseException as e:
            for connection in opened:
                await shield(connection.close())
            _explain(e, path)
            raise
        return cls(path, writer, reader, version)

    async def close(self) -> None:
        """Wait for the open transactions and close the file."""
        async with self._groups.outside(), self._reading:
            await shield(self._reader.close())
            await shield(self._writer.close())

    async def __aenter__(self) -> Database:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @asynccontextmanager
    async def write(self, *, alone: bool = False) -> AsyncIterator[Tx]:
        """A transaction that may write: committed and durable when the block ends, undone when it raises.

        It may share its commit with others (``bot.storage.group_commit``), and sees what they have written before.

        Args:
            alone: It sees only what is committed. For a body that changes more than rows: files that it deletes do not
                come back when a commit fails.

        Raises:
            Unavailable: Another process holds the database, the disk is full, or the file can't be written.
        """
        before = self._groups.changes
        try:
            async with self._groups.transaction(alone=alone) as tx:
                yield tx
        except BaseException as e:
            self._explain(e)
            raise
        if self._groups.changes > before:
            self._recovered()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """A transaction that sees one state of the database throughout and can't write. Raises Unavailable."""
        async with self._reading:
            try:
                await self._reader.execute_fetchall("BEGIN")
                yield self._reader
                await self._reader.commit()
            except BaseException as e:
                # Also when BEGIN or COMMIT itself was cancelled or failed: the connection's thread takes statements in
                # order, so this comes after them, and it does nothing where no transaction is open.
                await shield(self._reader.rollback())
                self._explain(e)
                raise

    async def probe(self) -> None:
        """Commit a tiny write, so that it is known whether the next one can be.

        Raises:
            Unavailable: The file can't be written, is not there any more, is damaged, or the disk is full.
        """
        if await asyncio.to_thread(_identity, self.path) != self._identity:
            # SQLite goes on in a file that nobody finds any more: all of it is gone with this process.
            raise Unavailable("unavailable.database.moved", path=str(self.path))
        async with self.write() as tx:
            await tx.execute_fetchall(
                "INSERT INTO options (place_id, name, value) VALUES (0, 'probed', ?)"
                " ON CONFLICT (place_id, name) DO UPDATE SET value = excluded.value",
                (json.dumps(time.time()),),
            )
        async with self._groups.outside():
            try:
                # A commit is in the log alone; this writes to the file itself, and waits for nobody.
                await self._writer.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")
            except BaseException as e:
                self._explain(e)
                raise
        if self._damage:
            raise Unavailable("unavailable.database.damaged", path=str(self.path))

    def found_damaged(self, reason: str) -> None:
        """Somebody has looked whether the file is whole: say so while it is not. Empty: it is whole."""
        if reason and reason != self._damage:
            log.critical("THE DATABASE %s IS DAMAGED (%s): stop Easel and restore a backup", self.path, reason)
        elif self._damage and not reason:
            log.warning("the database %s is whole again", self.path)
        self._damage = reason

    async def foreign_version(self) -> int:
        """A number that changes whenever another process has committed something, and never by this one's writes.

        Raises:
            Unavailable: The file can't be read.
        """
        async with self._groups.outside():
            try:
                # Of the writer, for whom only commits of other connections count; the reader never writes.
                rows = await self._writer.execute_fetchall("PRAGMA data_version")
            except BaseException as e:
                self._explain(e)
                raise
        return int(next(iter(rows))[0])

    def _explain(self, error: BaseException) -> None:
        """Raise the sentence for an error of SQLite's that has one, and log what lasts: once, however often it fails."""
        try:
            _explain(error, self.path)
        except Unavailable as e:
            if e.key == "unavailable.database.damaged":
                self.found_damaged(str(error))
            elif self._trouble is None or self._trouble.key != e.key:
                self._trouble = e
                log.error("THE DATABASE %s CAN'T BE WRITTEN: %s (%s)", self.path, _WHY.get(e.key, e.key), error)
            raise

    def _recovered(self) -> None:
        if self._trouble is not None:
            self._trouble = None
            log.warning("the database %s can be written again", self.path)


def _explain(error: BaseException, path: Path) -> None:
    """Raise the sentence for an error of SQLite's that has one; a fault of the code (wrong SQL, say) stays what it is."""
    # The low byte names the error, the others tell its sorts apart. Errors of the sqlite3 module itself have none.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _BUSY:
        raise Unavailable("unavailable.database.locked") from error
    if code == sqlite3.SQLITE_FULL:
        raise Unavailable("unavailable.disk_full") from error
    if code in _UNWRITABLE:
        raise Unavailable("unavailable.database.unwritable", path=str(path)) from error
    if code in _DAMAGED:
        raise Unavailable("unavailable.database.damaged", path=str(path)) from error


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file this is, whatever it is called; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _make(path: Path) -> None:
    data_files.make_folder(path.parent)
    # Prompts and short-lived tokens are in it: for its owner's eyes. SQLite gives the log beside it the same mode.
    path.touch(mode=0o600, exist_ok=True)


async def _copied_first(path: Path, known: int) -> None:
    try:
        made = await shield(asyncio.to_thread(backup.before_migration, path, known))
    except OSError as e:
        full = e.errno in {errno.ENOSPC, errno.EDQUOT}
        key = "unavailable.disk_full" if full else "unavailable.database.unwritable"
        raise Unavailable(key, path=str(path)) from e
    if made is not None:
        log.info("the database is changed for this version; %s is a copy of how it was", made.name)


async def _connect(path: Path, busy_seconds: float, opened: list[aiosqlite.Connection]) -> aiosqlite.Connection:
    # isolation_level None: transactions begin and end where this module says so.
    connection = await aiosqlite.connect(path, isolation_level=None, timeout=busy_seconds)
    opened.append(connection)
    return connection


async def _use_wal(connection: aiosqlite.Connection, busy_seconds: float) -> None:
    # The switch to WAL is refused at once, without the wait for a lock, while another process opens the file too.
    loop = asyncio.get_running_loop()
    end = loop.time() + busy_seconds
    while True:
        try:
            await connection.execute_fetchall("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as e:
            if e.sqlite_errorcode & 0xFF not in _BUSY or loop.time() > end:
                raise
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return
