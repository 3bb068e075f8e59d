"""Copies of the database: by SQLite's online backup, whole and consistent while a service writes. For a thread."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from bot.core.errors import BadInput, Unavailable
from bot.storage import data_files, inputs
from bot.storage.codec import load_card
from bot.storage.migrate import shipped

_PAGES = 2000
"""Pages that are copied in one go: 8 MiB."""

_PATIENCE_SECONDS = 30.0

_KEPT = 2
"""Copies from before a migration that are kept."""

_BAK = re.compile(r"\.v(\d+)\.bak")

_DEPTHS = (2, 5)
"""Of how many parts the path of a file in a stored card is, from the folder in the data folder on: sheets, pictures."""

Progress = Callable[[int, int], None]
"""Told how much is done, of how much, in bytes."""


def copy(source: Path, target: Path, progress: Progress | None = None) -> int:
    """Copy a database that others may be writing to; returns its version.

    The copy is one state of it: what is committed meanwhile is not in it. It needs no other file beside it.

    Args:
        source: The database.
        target: A new file; for its owner's eyes.
        progress: Called after each piece.

    Raises:
        sqlite3.Error: The database can't be read, or is damaged.
        OSError: The target can't be written.
    """
    data_files.open_new(target).close()
    with closing(_open(source)) as db, closing(sqlite3.connect(target, isolation_level=None)) as to:
        db.execute("PRAGMA query_only = ON")
        # An open read transaction holds the state that is copied: without it, each commit of the service would make
        # the copying begin again.
        db.execute("BEGIN")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
        told = None if progress is None else _told(progress, size)
        db.backup(to, pages=_PAGES, progress=told)
        db.execute("ROLLBACK")
        # The copy has the log's mode in its header; it shall be whole by itself.
        to.execute("PRAGMA journal_mode = DELETE")
    _sync(target)
    return int(version)


def check(path: Path) -> int:
    """Check a copy that is about to be used; returns its version.

    Raises:
        BadInput: It is damaged, no database of Easel's, or made by newer code.
    """
    known = len(shipped())
    try:
        with closing(_open(path)) as db:
            db.execute("PRAGMA query_only = ON")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            reason = _problem(db)
            ours = db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'ledger'").fetchone()
    except sqlite3.Error as error:
        raise BadInput("cli.restore.damaged", reason=str(error)) from error
    if reason:
        raise BadInput("cli.restore.damaged", reason=reason)
    if not ours or version < 1:
        raise BadInput("cli.restore.not_easel")
    if version > known:
        raise BadInput("cli.restore.newer", found=version, known=known)
    return int(version)


def problem(path: Path) -> str:
    """Return SQLite's own words on what is wrong with a copy; empty when it is whole."""
    try:
        with closing(_open(path)) as db:
            db.execute("PRAGMA query_only = ON")
            return _problem(db)
    except sqlite3.Error as error:
        return str(error)


def _problem(db: sqlite3.Connection) -> str:
    (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        return str(verdict)
    return "rows that point nowhere" if db.execute("PRAGMA foreign_key_check").fetchone() else ""


def foreign_path(path: Path, pictures: str) -> str | None:
    """Return a file's name out of a copy's rows that is none of Easel's; None where all are.

    Args:
        path: A checked copy.
        pictures: Name of the pictures folder.
    """
    with closing(_open(path)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        for (name,) in db.execute("SELECT path FROM pictures"):
            if not data_files.PICTURE_PATH.fullmatch(name):
                return str(name)
        if version > 1:
            for row in db.execute("SELECT image, mask FROM jobs WHERE image <> '' OR mask <> ''"):
                for name in row:
                    if name and not data_files.is_source(name, pictures):
                        return str(name)
        for (card,) in db.execute("SELECT card FROM messages WHERE card <> ''"):
            # A card has the whole path on the machine where it was made; the folder's own part of it is Easel's.
            for file in _files_of(card):
                ends = ("/".join(file.parts[-depth:]) for depth in _DEPTHS)
                if not any(data_files.is_card_file(end, pictures) for end in ends):
                    return str(file)
    return None


def _files_of(card: str) -> tuple[Path, ...]:
    try:
        return tuple(file.path for file in load_card(card).pictures)
    except ValueError:
        return ()  # no card, or one that is not shown either


def files(path: Path, pictures: str) -> tuple[str, ...]:
    """Return the files that a copy's rows name, relative to the data folder: pictures, and what jobs started from.

    Args:
        path: A checked copy.
        pictures: Name of the pictures folder.
    """
    with closing(_open(path)) as db:
        stored = [f"{pictures}/{row[0]}" for row in db.execute("SELECT path FROM pictures ORDER BY id")]
        (version,) = db.execute("PRAGMA user_version").fetchone()
        rows = db.execute("SELECT image, mask FROM jobs WHERE image <> ''").fetchall() if version > 1 else []
    given = {name for row in rows for name in row if name.startswith(f"{inputs.FOLDER}/") and name != inputs.DELETED}
    return (*stored, *sorted(given))


def checkpoint(path: Path) -> None:
    """Bring everything of a database that nobody uses into its one file, before it is put aside.

    Raises:
        Unavailable: Another process uses it.
        sqlite3.Error: It is damaged.
    """
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=1.0)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise Unavailable("unavailable.database.locked") from error
        raise


def before_migration(path: Path, known: int) -> Path | None:
    """Copy a database that is about to be changed to ``<name>.v<version>.bak``; the last two such copies stay.

    Returns:
        The copy; None when there is nothing to change: no tables yet, or the newest ones.

    Raises:
        Unavailable: There is no room for it, or the database is damaged.
        sqlite3.Error: The database can't be read.
        OSError: The folder can't be written.
    """
    with closing(_open(path)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
    if not 0 < version < known:
        return None
    size = sum(p.stat().st_size for p in (path, path.with_name(f"{path.name}-wal")) if p.exists())
    if shutil.disk_usage(path.parent).free < size + data_files.MIN_FREE_BYTES:
        raise Unavailable(
            "unavailable.backup_room", size=megabytes(size + data_files.MIN_FREE_BYTES), path=str(path.parent)
        )
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.bak.part")
    try:
        # Another process may have changed it since: the copy says itself which version it is.
        version = copy(path, part)
        if problem(part):
            # Older copies may be good, and only two are kept; a migration of a damaged database may lose more.
            raise Unavailable("unavailable.database.damaged", path=str(path))
        made = part.replace(path.with_name(f"{path.name}.v{version}.bak"))
    finally:
        part.unlink(missing_ok=True)
    data_files.sync_folder(path.parent)
    _keep_last(path)
    return made


def megabytes(size: int) -> int:
    """Return bytes in whole MB, rounded up."""
    return -(-size // 10**6)


def _keep_last(path: Path) -> None:
    copies = sorted(
        (int(match[1]), found)
        for found in path.parent.glob(f"{path.name}.v*.bak")
        if (match := _BAK.fullmatch(found.name.removeprefix(path.name))) is not None
    )
    data_files.unlink([found for _, found in copies[:-_KEPT]])


def _open(path: Path) -> sqlite3.Connection:
    # Not read-only: beside a crashed service's log, SQLite has to make its index anew.
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_PATIENCE_SECONDS)


def _told(progress: Progress, size: int) -> Callable[[int, int, int], None]:
    def tell(_status: int, remaining: int, total: int) -> None:
        progress((total - remaining) * size, total * size)

    return tell


def _sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())
