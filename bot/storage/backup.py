"""Copies of the database by SQLite's online backup, also while a service writes. All functions block: run in a thread."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from bot.core.errors import BadInput, Unavailable
from bot.storage import data_files, inputs
from bot.storage.migrate import shipped
from bot.storage.sql import TUPLE, load_card

_PAGES = 2000
"""Pages that are copied at once: 8 MiB."""

_BUSY_SECONDS = 30.0

_KEPT = 2
"""Number of copies from before migrations that are retained."""

_BAK = re.compile(r"\.v(\d+)\.bak")

_DEPTHS = (2, 5)
"""Numbers of path components of a stored card's file, relative to the data folder: sheets, pictures."""

_WITH_SOURCES, _WITH_REFERENCES = 2, 9
"""Versions of the database since which jobs have source images, and references."""

Progress = Callable[[int, int], None]
"""Called with the bytes that are done and the bytes in all."""


def copy(source: Path, target: Path, progress: Progress | None = None) -> int:
    """Copy a database that other processes may write to; return its version.

    The copy is a snapshot, without later commits, in a single file.

    Args:
        source: The database.
        target: A new file; only its owner may read it.
        progress: Called after each step.

    Raises:
        sqlite3.Error: The database can't be read, or is damaged.
        OSError: The target can't be written.
    """
    data_files.open_new(target).close()
    with closing(_open(source)) as db, closing(sqlite3.connect(target, isolation_level=None)) as to:
        db.execute("PRAGMA query_only = ON")
        # The read transaction holds the snapshot: without it, each commit of the service would restart the copy.
        db.execute("BEGIN")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
        page_progress = None if progress is None else _page_progress(progress, size)
        db.backup(to, pages=_PAGES, progress=page_progress)
        db.execute("ROLLBACK")
        # The header of the copy says WAL mode, which would need a second file.
        to.execute("PRAGMA journal_mode = DELETE")
    _sync(target)
    return int(version)


def check(path: Path) -> int:
    """Check a copy before it is used; return its version.

    Raises:
        BadInput: It is damaged, not a database of Easel, or newer than this code.
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
    """Return SQLite's message about damage of a copy; empty if there is none."""
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
    return "rows refer to missing rows" if db.execute("PRAGMA foreign_key_check").fetchone() else ""


def foreign_path(path: Path, pictures: str) -> str | None:
    """Return a file name in a copy's rows that Easel does not give; None if there is none.

    Args:
        path: A checked copy.
        pictures: Name of the pictures folder.
    """
    with closing(_open(path)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        for (name,) in db.execute("SELECT path FROM pictures"):
            if not data_files.PICTURE_PATH.fullmatch(name):
                return str(name)
        for name in _sources(db, version):
            if not data_files.is_source(name, pictures):
                return name
        for (card,) in db.execute("SELECT card FROM messages WHERE card <> ''"):
            # A card has the absolute path on the machine of the backup; only its end is Easel's.
            for file in _files_of(card):
                ends = ("/".join(file.parts[-depth:]) for depth in _DEPTHS)
                if not any(data_files.is_card_file(end, pictures) for end in ends):
                    return str(file)
    return None


def _files_of(card: str) -> tuple[Path, ...]:
    try:
        return tuple(file.path for file in load_card(card).pictures)
    except ValueError:
        return ()  # an unreadable card is not shown


def files(path: Path, pictures: str) -> tuple[str, ...]:
    """Return the files that a copy's rows name, relative to the data folder: pictures, source images and masks.

    Args:
        path: A checked copy.
        pictures: Name of the pictures folder.
    """
    with closing(_open(path)) as db:
        stored = [f"{pictures}/{row[0]}" for row in db.execute("SELECT path FROM pictures ORDER BY id")]
        (version,) = db.execute("PRAGMA user_version").fetchone()
        sources = {n for n in _sources(db, version) if n.startswith(f"{inputs.FOLDER}/") and n != inputs.DELETED}
    return (*stored, *sorted(sources))


def _sources(db: sqlite3.Connection, version: int) -> Iterator[str]:
    """Yield the files that jobs start from or refer to; ``version`` is the database's."""
    if version >= _WITH_SOURCES:
        for row in db.execute("SELECT image, mask FROM jobs WHERE image <> '' OR mask <> ''"):
            yield from (str(name) for name in row if name)
    if version >= _WITH_REFERENCES:
        for (text,) in db.execute('SELECT "references" FROM jobs WHERE "references" <> \'[]\''):
            try:
                names = TUPLE.read(text)
            except (TypeError, ValueError):
                names = (text,)  # no list: as a name it is no source file
            yield from map(str, names)


def checkpoint(path: Path) -> None:
    """Write the log of an unused database into its main file, before the file is moved.

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
    """Copy a database to ``<name>.v<version>.bak`` before its migration; the last two copies are retained.

    Returns:
        The copy; None if no migration is due: the file is new or up to date.

    Raises:
        Unavailable: The disk has too little space, or the database is damaged.
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
        # Another process may have migrated it since: the version is that of the copy.
        version = copy(path, part)
        if problem(part):
            # Only two copies are retained, and the older ones may be intact; a migration could lose more data.
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
    # Not read-only: after a crash, SQLite has to rebuild the index of the log.
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_SECONDS)


def _page_progress(progress: Progress, size: int) -> Callable[[int, int, int], None]:
    def tell(_status: int, remaining: int, total: int) -> None:
        progress((total - remaining) * size, total * size)

    return tell


def _sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())
