"""Backups as one file: a plain tar with a copy of the database and, where wanted, the files that its rows name.

For a thread. Nothing of it is under its own name before it is whole.
"""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bot.model.errors import BadInput, Unavailable
from bot.store import backup, blobs
from bot.store.backup import Progress, megabytes

_MANIFEST = "manifest.json"
_DATABASE = "easel.db"
_PICTURE = re.compile(r"pictures/\d{4}/\d{2}/\d{2}/\d+-\d+\.png", re.ASCII)
_INPUT = re.compile(r"inputs/[0-9a-f]{64}\.png", re.ASCII)
_SQLITE = b"SQLite format 3\0"
_HEADER_BYTES = 1024
_LEFT_SECONDS = 86400
_BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class Folder:
    """The data folder of a service: its database and its pictures lie in it under these names."""

    path: Path
    database: str = _DATABASE
    pictures: str = "pictures"

    @property
    def db(self) -> Path:
        """The database."""
        return self.path / self.database


@dataclass(frozen=True, slots=True)
class Saved:
    """What is in a backup.

    Attributes:
        version: Of the database.
        files: How many pictures.
        missing: How many more its rows name.
        size: Of the whole, in bytes.
    """

    version: int
    files: int
    missing: int
    size: int


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore has done.

    Attributes:
        version: Of the database that is there now.
        files: How many pictures came with it.
        missing: How many pictures its rows name and the folder has not.
        old: Where the database is that was there before; None where there was none.
    """

    version: int
    files: int
    missing: int
    old: Path | None


def save(
    folder: Folder, target: Path, *, pictures: bool, overwrite: bool = False, progress: Progress | None = None
) -> Saved:
    """Write a backup of a service's data, which may be running meanwhile.

    Args:
        folder: Its data folder.
        target: The file to write.
        pictures: Whether the pictures go into it too.
        overwrite: Whether a file that is there may be replaced.
        progress: Told how far it is.

    Raises:
        BadInput: There is nothing to back up, or the file is there already.
        Unavailable: There is no room, or the database can't be read.
        OSError: The file can't be written.
    """
    if not folder.db.is_file():
        raise BadInput("cli.backup.nothing", path=str(folder.db))
    if target.is_dir():
        raise BadInput("cli.backup.folder", path=str(target))
    if target.exists() and not overwrite:
        raise BadInput("cli.backup.exists", path=str(target))
    _clear(target)
    size = sum(p.stat().st_size for p in (folder.db, folder.db.with_name(f"{folder.database}-wal")) if p.exists())
    _room(target.parent, 2 * size)
    with _beside(target, 2) as (copy, part):
        try:
            version = backup.copy(folder.db, copy, progress)
            names = backup.files(copy, folder.pictures) if pictures else ()
        except sqlite3.Error as error:
            raise Unavailable("cli.backup.failed", path=str(folder.db), reason=str(error)) from error
        there = [(name, path) for name in names if (path := folder.path / name).is_file()]
        total = copy.stat().st_size + sum(path.stat().st_size + _HEADER_BYTES for _, path in there)
        _room(target.parent, total)
        manifest: dict[str, object] = {"format": 1, "version": version, "made_at": time.time(), "pictures": pictures}
        written = _write(part, manifest, ((_DATABASE, copy), *there), total, progress)
        part.replace(target)
        blobs.sync(target.parent)
    return Saved(version, written, len(names) - written, target.stat().st_size)


def restore(folder: Folder, source: Path, progress: Progress | None = None) -> Restored:
    """Put a backup in the place of a service's data; no service may run, and whoever calls this holds its lock.

    Everything is checked before anything is touched, pictures come before the database that names them, and the
    database is changed in one step. The old one stays beside it.

    Args:
        folder: The data folder.
        source: What ``save`` wrote, or a bare copy of the database.
        progress: Told how far it is.

    Raises:
        BadInput: There is no such file, or it is damaged, not Easel's, or made by newer code.
        Unavailable: There is no room, or another process uses the database.
        OSError: A file can't be written.
    """
    if not source.is_file():
        raise BadInput("cli.restore.none", path=str(source))
    folder.path.mkdir(parents=True, exist_ok=True)
    try:
        with _beside(folder.db, 1) as (part,):
            if _is_database(source):
                _room(folder.path, source.stat().st_size)
                shutil.copyfile(source, part)
                members: Sequence[tarfile.TarInfo] = ()
                version = backup.check(part)
            else:
                with tarfile.open(source, "r:") as archive:
                    members, version = _unpack(archive, folder, part, progress)
            old = _put_aside(folder.db)
            part.replace(folder.db)
            blobs.sync(folder.path)
    except (tarfile.TarError, EOFError) as error:
        raise BadInput("cli.restore.damaged", reason=str(error)) from error
    names = backup.files(folder.db, folder.pictures)
    missing = sum(not (folder.path / name).is_file() for name in names)
    return Restored(version, len(members), missing, old)


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _write(
    part: Path, manifest: dict[str, object], files: Sequence[tuple[str, Path]], total: int, progress: Progress | None
) -> int:
    """Write the archive; returns how many of the pictures are in it (some may have been swept meanwhile)."""
    written, done = 0, 0
    part.touch(mode=0o600)
    with part.open("wb") as out:
        with tarfile.open(fileobj=out, mode="w") as archive:
            data = json.dumps(manifest).encode()
            info = tarfile.TarInfo(_MANIFEST)
            info.size, info.mode = len(data), 0o600
            archive.addfile(info, io.BytesIO(data))
            for name, path in files:
                try:
                    with path.open("rb") as file:
                        info = tarfile.TarInfo(name)
                        known = os.fstat(file.fileno())
                        info.size, info.mtime, info.mode = known.st_size, int(known.st_mtime), 0o600
                        archive.addfile(info, file)
                except FileNotFoundError:
                    continue
                written += name != _DATABASE
                done += info.size + _HEADER_BYTES
                if progress is not None:
                    progress(min(done, total), total)
        out.flush()
        os.fsync(out.fileno())
    return written


def _unpack(
    archive: tarfile.TarFile, folder: Folder, part: Path, progress: Progress | None
) -> tuple[Sequence[tarfile.TarInfo], int]:
    """Check everything, then put the pictures in their places and the database into ``part``."""
    members = archive.getmembers()
    databases = [m for m in members if m.name == _DATABASE]
    stored = [m for m in members if m.name not in {_DATABASE, _MANIFEST}]
    strange = [m.name for m in members if not m.isreg()]
    strange += [m.name for m in stored if not (_PICTURE.fullmatch(m.name) or _INPUT.fullmatch(m.name))]
    if len(databases) != 1 or strange:
        raise BadInput("cli.restore.not_easel")
    total = sum(m.size for m in members)
    _room(folder.path, total)
    _extract(archive, databases[0], part)
    version = backup.check(part)
    done = databases[0].size
    for member in stored:
        place = folder.path / member.name
        place.parent.mkdir(parents=True, exist_ok=True)
        half = place.with_name(f"{place.name}.{secrets.token_hex(4)}.part")
        _extract(archive, member, half)
        half.replace(place)
        done += member.size
        if progress is not None:
            progress(done, total)
    if hasattr(os, "sync"):
        os.sync()
    return stored, version


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    source = archive.extractfile(member)
    assert source is not None  # regular files alone come here
    place.touch(mode=0o600)
    with place.open("wb") as target:
        shutil.copyfileobj(source, target, _BLOCK)
        if place.stat().st_size > member.size:
            raise tarfile.ReadError("longer than it says")
        target.flush()
        if member.name == _DATABASE:
            os.fsync(target.fileno())


def _put_aside(db: Path) -> Path | None:
    """Keep the database that is there under another name as well; returns it."""
    if not db.exists():
        return None
    aside = db.with_name(f"{db.name}.before-restore")
    number = 1
    while aside.exists():
        number += 1
        aside = db.with_name(f"{db.name}.before-restore-{number}")
    try:
        backup.rest(db)
    except sqlite3.Error:
        # It is damaged, which is why somebody restores: its log goes with it, or it would be taken for the new one's.
        for end in ("-wal", "-shm"):
            if (beside := db.with_name(db.name + end)).exists():
                beside.replace(aside.with_name(aside.name + end))
    try:
        os.link(db, aside)
    except OSError:  # a file system without links
        shutil.copyfile(db, aside)
    blobs.sync(db.parent)
    return aside


def _room(folder: Path, size: int) -> None:
    needed = size + blobs.MIN_FREE_BYTES
    if shutil.disk_usage(folder).free < needed:
        raise Unavailable("unavailable.backup_room", size=megabytes(needed), path=str(folder))


@contextmanager
def _beside(path: Path, count: int) -> Iterator[tuple[Path, ...]]:
    """Names for half-written files beside a file; whatever is left of them is removed."""
    parts = tuple(path.with_name(f".{path.name}.{secrets.token_hex(4)}.part") for _ in range(count))
    try:
        yield parts
    finally:
        for part in parts:
            for end in ("", "-wal", "-shm", "-journal"):
                part.with_name(part.name + end).unlink(missing_ok=True)


def _clear(path: Path) -> None:
    """Remove half-written files that a kill has left beside a file, a day ago or more."""
    for part in path.parent.glob(f".{path.name}.*.part"):
        if part.stat().st_mtime < time.time() - _LEFT_SECONDS:
            part.unlink(missing_ok=True)
