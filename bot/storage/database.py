"""The database: opens the file, and hands out transactions of one reader and of one writer, which share commits."""

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
from typing import Protocol, TypeAlias, TypeVar

import aiosqlite

from bot.core.errors import Unavailable
from bot.core.waits import shield
from bot.storage import backup, data_files, migrate
from bot.storage.connection import Body, Connection
from bot.storage.group_commit import GroupCommit
from bot.storage.migrate import Migration

T = TypeVar("T")

log = logging.getLogger(__name__)

Tx: TypeAlias = aiosqlite.Connection
"""An open transaction, from ``Database.write`` or ``Database.read``."""

BUSY_SECONDS = 5.0
"""How long a statement waits for another process (such as ``easel quota``) that holds the lock."""

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
    """The transactions of a database; see ``Database``."""

    def write(self, *, alone: bool = False) -> AbstractAsyncContextManager[Tx]:
        """Begin a writing transaction."""

    def read(self) -> AbstractAsyncContextManager[Tx]:
        """Begin a reading transaction."""


class Database:
    """An open database. ``open`` opens it; ``close`` closes it, as does leaving it as an async context manager.

    ``write`` and ``read`` yield a transaction for the functions of the stores. A task must not nest ``write`` in
    ``write``, nor ``read`` in ``read``: it would deadlock. ``run_write`` and ``run_read`` are for transactions that come
    often: their bodies run in the database's thread.
    """

    def __init__(self, path: Path, writer: Connection, reader: Connection, version: int) -> None:
        self.path = path
        self.version = version
        """Number of the last applied migration."""
        self._writer = writer
        self._reader = reader
        self._identity = _identity(path)
        self._trouble: Unavailable | None = None
        self._damage = ""
        self._writing = asyncio.Lock()
        self._groups = GroupCommit(writer, self._writing)
        self._reading = asyncio.Lock()

    @property
    def commits(self) -> int:
        """Number of commits so far."""
        return self._groups.commits

    @classmethod
    async def open(
        cls, path: Path, *, migrations: Sequence[Migration] | None = None, busy_seconds: float = BUSY_SECONDS
    ) -> Database:
        """Open the file, create it if it is missing, and apply migrations.

        Args:
            path: The file; its folder is created too.
            migrations: Migrations to apply instead of the shipped ones.
            busy_seconds: How long to wait for another process's lock.

        Raises:
            Unavailable: The file is newer than this code, locked, damaged or not writable, or the disk is full.
        """
        try:
            await asyncio.to_thread(_make, path)
        except OSError as e:
            raise Unavailable("unavailable.database.unwritable", path=str(path)) from e
        opened: list[Connection] = []
        try:
            writer = await _connect(path, busy_seconds, opened)
            await _use_wal(writer, busy_seconds)
            # FULL: a commit is durable when it returns (NORMAL may lose the last ones in a power failure).
            await writer.execute_fetchall("PRAGMA synchronous = FULL")
            # Deleted data must not remain in the file's free pages.
            await writer.execute_fetchall("PRAGMA secure_delete = ON")
            # Before foreign keys are on: a migration may rebuild a table that others refer to.
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
        """Wait for open transactions and close the file."""
        await self._groups.drain()
        async with self._groups.outside(), self._reading:
            await shield(self._reader.close())
            await shield(self._writer.close())

    async def __aenter__(self) -> Database:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @asynccontextmanager
    async def write(self, *, alone: bool = False) -> AsyncIterator[Tx]:
        """Begin a writing transaction: it is durable when the block ends, and rolled back if the block raises.

        It may share its commit with others (``GroupCommit``) and sees their earlier writes.

        Args:
            alone: It shares its commit with no other. For a body that also deletes files: they don't come back if a
                commit fails.

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
        """Begin a reading transaction, which sees one snapshot of the database. Raises Unavailable."""
        async with self._reading:
            try:
                await self._reader.execute_fetchall("BEGIN")
                yield self._reader
                await self._reader.commit()
            except BaseException as e:
                # Also after BEGIN or COMMIT was cancelled or has failed: the connection's thread runs statements in
                # order, so this runs after them. Without an open transaction it does nothing.
                await shield(self._reader.rollback())
                self._explain(e)
                raise

    async def run_write(self, body: Body[T]) -> T:
        """Run a body in a writing transaction, as ``write``, in the database's thread; see ``Connection.run``.

        It may run twice; only its last run is kept and returned.

        Raises:
            Unavailable: As ``write``.
            RuntimeError: The body has awaited something else than the transaction; nothing is written.
        """
        before = self._groups.changes
        try:
            result = await self._groups.run(body)
        except BaseException as e:
            self._explain(e)
            raise
        if self._groups.changes > before:
            self._recovered()
        return result

    async def run_read(self, body: Body[T]) -> T:
        """Run a body in a reading transaction, as ``read``, in the database's thread; see ``Connection.run``.

        Raises:
            Unavailable: As ``read``.
            RuntimeError: The body has awaited something else than the transaction.
        """

        async def whole(tx: Tx) -> T:
            await tx.execute_fetchall("BEGIN")
            try:
                return await body(tx)
            finally:
                # It has written nothing.
                await tx.rollback()

        async with self._reading:
            try:
                return await self._reader.run(whole)
            except BaseException as e:
                self._explain(e)
                raise

    async def probe(self) -> None:
        """Check by a small write whether the database can be written.

        Raises:
            Unavailable: The file can't be written, was moved or is damaged, or the disk is full.
        """
        if await asyncio.to_thread(_identity, self.path) != self._identity:
            # SQLite goes on writing to a file that has no name any more: its content ends with this process.
            raise Unavailable("unavailable.database.moved", path=str(self.path))
        async with self.write() as tx:
            await tx.execute_fetchall(
                "INSERT INTO options (place_id, name, value) VALUES (0, 'probed', ?)"
                " ON CONFLICT (place_id, name) DO UPDATE SET value = excluded.value",
                (json.dumps(time.time()),),
            )
        async with self._groups.outside():
            try:
                # A commit writes to the log only. This writes to the file itself, without waiting for readers.
                await self._writer.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")
            except BaseException as e:
                self._explain(e)
                raise
        if self._damage:
            raise Unavailable("unavailable.database.damaged", path=str(self.path))

    def found_damaged(self, reason: str) -> None:
        """Record the result of an integrity check: the problem, or empty if there is none."""
        if reason and reason != self._damage:
            log.critical("THE DATABASE %s IS DAMAGED (%s): stop Easel and restore a backup", self.path, reason)
        elif self._damage and not reason:
            log.warning("the database %s has no damage any more", self.path)
        self._damage = reason

    async def foreign_version(self) -> int:
        """Return a number that changes with each commit of another process, and never with this one's.

        Raises:
            Unavailable: The file can't be read.
        """
        async with self._groups.outside():
            try:
                # The writer's number counts commits of other connections, and the reader never commits.
                rows = await self._writer.execute_fetchall("PRAGMA data_version")
            except BaseException as e:
                self._explain(e)
                raise
        return int(next(iter(rows))[0])

    def _explain(self, error: BaseException) -> None:
        """Raise Unavailable for an SQLite error that has a sentence, and log a lasting problem once."""
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
    """Raise Unavailable for an SQLite error that has a sentence. Other errors, such as wrong SQL, are bugs."""
    # The low byte is the primary error code. Errors of the sqlite3 module itself have no code.
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
    """Return the file's device and inode; None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _make(path: Path) -> None:
    data_files.make_folder(path.parent)
    # It holds prompts and tokens, so only its owner may read it. SQLite gives the log file the same mode.
    path.touch(mode=0o600, exist_ok=True)


async def _copied_first(path: Path, known: int) -> None:
    try:
        made = await shield(asyncio.to_thread(backup.before_migration, path, known))
    except OSError as e:
        full = e.errno in {errno.ENOSPC, errno.EDQUOT}
        key = "unavailable.disk_full" if full else "unavailable.database.unwritable"
        raise Unavailable(key, path=str(path)) from e
    if made is not None:
        log.info("the database is migrated to this version; %s is a copy of the old one", made.name)


async def _connect(path: Path, busy_seconds: float, opened: list[Connection]) -> Connection:
    connection = Connection(path, busy_seconds)
    await connection
    opened.append(connection)
    return connection


async def _use_wal(connection: aiosqlite.Connection, busy_seconds: float) -> None:
    # While another process opens the file, SQLite refuses the switch to WAL at once instead of waiting for the lock.
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
