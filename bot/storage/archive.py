"""Backups: a tar file with a copy of the database and, optionally, the files that its rows name.

All functions block: run them in a thread. Files get their final names when they are complete.
"""

from __future__ import annotations

import hashlib
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
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bot.core.errors import BadInput, Unavailable
from bot.storage import backup, data_files, orphans, people
from bot.storage.backup import Progress, megabytes

_MANIFEST = "manifest.json"
_DATABASE = "easel.db"
_PICTURE = re.compile(rf"{data_files.PICTURES}/{data_files.PICTURE_PATH.pattern}", re.ASCII)
_INPUT = re.compile(rf"{data_files.INPUTS}/{data_files.INPUT_NAME.pattern}", re.ASCII)
_SQLITE = b"SQLite format 3\0"
_HEADER_BYTES = 1024
_LEFT_SECONDS = 86400
_BLOCK = 2**20

_FORMAT = 2
"""Version 2 has a second manifest at the end, with the SHA-256 of each file."""

_MANIFEST_BYTES = 64 * 2**20
"""Easel's manifests are smaller."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The data folder of a service, and the names of its database and its pictures folder."""

    path: Path
    database: str = _DATABASE
    pictures: str = "pictures"

    @property
    def db(self) -> Path:
        """Path of the database."""
        return self.path / self.database


@dataclass(frozen=True, slots=True)
class Saved:
    """Content of a backup.

    Attributes:
        version: Version of the database.
        files: Number of picture and source files.
        missing: Number of files that its rows name and that were missing.
        size: Bytes of the backup.
    """

    version: int
    files: int
    missing: int
    size: int


@dataclass(frozen=True, slots=True)
class Restored:
    """Result of a restore.

    Attributes:
        version: Version of the restored database.
        files: Number of restored picture and source files.
        missing: Number of files that its rows name and the folder does not have.
        old: Path of the previous database; None if there was none.
    """

    version: int
    files: int
    missing: int
    old: Path | None


def save(
    folder: Folder, target: Path, *, pictures: bool, overwrite: bool = False, progress: Progress | None = None
) -> Saved:
    """Write a backup of a data folder; its service may be running.

    Args:
        folder: The data folder.
        target: The file to write.
        pictures: Whether to include pictures and source files.
        overwrite: Whether an existing file may be replaced.
        progress: Called with the progress.

    Raises:
        BadInput: There is nothing to back up, or the file exists.
        Unavailable: The disk has too little space, or the database can't be read.
        OSError: The file can't be written.
    """
    if not folder.db.is_file():
        raise BadInput("cli.backup.nothing", path=str(folder.db))
    if target.is_dir():
        raise BadInput("cli.backup.folder", path=str(target))
    if target.exists() and not overwrite:
        raise BadInput("cli.backup.exists", path=str(target))
    _clear_partial(target)
    size = sum(p.stat().st_size for p in (folder.db, folder.db.with_name(f"{folder.database}-wal")) if p.exists())
    _check_space(target.parent, 2 * size)
    with _partial_files(target, 2) as (copy, part):
        try:
            version = backup.copy(folder.db, copy, progress)
            # Before the target is replaced: the last backup may be intact.
            if problem := backup.problem(copy):
                raise Unavailable("cli.backup.damaged", path=str(folder.db), reason=problem)
            names = backup.files(copy, folder.pictures) if pictures else ()
        except sqlite3.Error as error:
            raise Unavailable("cli.backup.failed", path=str(folder.db), reason=str(error)) from error
        pictures_dir = folder.path / folder.pictures
        there = [(name, path) for name in names if (path := data_files.locate(pictures_dir, name)) is not None]
        total = copy.stat().st_size + sum(path.stat().st_size + _HEADER_BYTES for _, path in there)
        _check_space(target.parent, total)
        manifest: dict[str, object] = {
            "format": _FORMAT,
            "version": version,
            "made_at": time.time(),
            "pictures": pictures,
        }
        written = _write(part, manifest, ((_DATABASE, copy), *there), total, progress)
        part.replace(target)
        data_files.sync_folder(target.parent)
    return Saved(version, written, len(names) - written, target.stat().st_size)


def restore(folder: Folder, source: Path, progress: Progress | None = None) -> Restored:
    """Replace a service's data by a backup. No service may be running; the caller holds its lock.

    Everything is checked before anything is changed. Pictures are restored before the database that names them, and the
    database is replaced atomically. The previous database is retained next to it.

    Args:
        folder: The data folder.
        source: A file of ``save``, or a plain copy of the database.
        progress: Called with the progress.

    Raises:
        BadInput: There is no such file, or it is damaged, not a backup of Easel, or newer than this code.
        Unavailable: The disk has too little space, or another process uses the database.
        OSError: A file can't be written.
    """
    if not source.is_file():
        raise BadInput("cli.restore.none", path=str(source))
    data_files.make_folder(folder.path)
    try:
        with _partial_files(folder.db, 1) as (part,):
            if _is_database(source):
                _check_space(folder.path, source.stat().st_size)
                shutil.copyfile(source, part)
                part.chmod(data_files.FILE_MODE)
                members: Sequence[tarfile.TarInfo] = ()
                version = backup.check(part)
                _check_paths(part, folder.pictures)
                _note_arrival(part)
            else:
                with tarfile.open(source, "r:") as archive:
                    members, version = _unpack(archive, folder, part, progress)
            old = _retain_old(folder.db)
            part.replace(folder.db)
            data_files.sync_folder(folder.path)
    except (tarfile.TarError, EOFError) as error:
        raise BadInput("cli.restore.damaged", reason=str(error)) from error
    names = backup.files(folder.db, folder.pictures)
    missing = sum(data_files.locate(folder.path / folder.pictures, name) is None for name in names)
    return Restored(version, len(members), missing, old)


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _write(
    part: Path, manifest: dict[str, object], files: Sequence[tuple[str, Path]], total: int, progress: Progress | None
) -> int:
    """Write the archive; return how many of the files are in it (some may have been deleted meanwhile).

    The manifest comes first, to describe the content, and again at the end with the files' digests.
    """
    digests: dict[str, str] = {}
    done = 0
    with data_files.open_new(part) as out:
        with tarfile.open(fileobj=out, mode="w") as archive:
            _add_manifest(archive, manifest)
            for name, path in files:
                try:
                    with path.open("rb") as file:
                        info = tarfile.TarInfo(name)
                        known = os.fstat(file.fileno())
                        info.size, info.mtime, info.mode = known.st_size, int(known.st_mtime), 0o600
                        digested = _Digested(file)
                        archive.addfile(info, digested)
                except FileNotFoundError:
                    continue
                digests[name] = digested.sha256.hexdigest()
                done += info.size + _HEADER_BYTES
                if progress is not None:
                    progress(min(done, total), total)
            _add_manifest(archive, {**manifest, "sha256": digests})
        out.flush()
        os.fsync(out.fileno())
    return len(digests) - (_DATABASE in digests)


def _add_manifest(archive: tarfile.TarFile, manifest: dict[str, object]) -> None:
    data = json.dumps(manifest).encode()
    info = tarfile.TarInfo(_MANIFEST)
    info.size, info.mode = len(data), 0o600
    archive.addfile(info, io.BytesIO(data))


class _Digested(io.RawIOBase):
    """A readable file that computes the SHA-256 of what is read."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self.sha256 = hashlib.sha256()

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read, and update the digest."""
        data = self._file.read(size)
        self.sha256.update(data)
        return data


def _unpack(
    archive: tarfile.TarFile, folder: Folder, part: Path, progress: Progress | None
) -> tuple[Sequence[tarfile.TarInfo], int]:
    """Check everything, then restore the pictures and source files, and write the database to ``part``."""
    members = archive.getmembers()
    databases = [m for m in members if m.name == _DATABASE]
    stored = [m for m in members if m.name not in {_DATABASE, _MANIFEST}]
    strange = [m.name for m in members if not m.isreg()]
    strange += [m.name for m in stored if not (_PICTURE.fullmatch(m.name) or _INPUT.fullmatch(m.name))]
    if len(databases) != 1 or strange:
        raise BadInput("cli.restore.not_easel")
    total = sum(m.size for m in members)
    _check_space(folder.path, total)
    _check_digests(archive, members)
    _extract(archive, databases[0], part)
    version = backup.check(part)
    _check_paths(part, folder.pictures)
    _note_arrival(part)
    for member in stored:
        top, _, rest = member.name.partition("/")
        if data_files.is_linked(folder.path / top, rest):
            raise BadInput("cli.restore.linked", path=str(folder.path / member.name))
    done = databases[0].size
    for member in stored:
        place = folder.path / member.name
        data_files.make_folder(place.parent)
        half = place.with_name(f"{place.name}.{secrets.token_hex(4)}.part")
        _extract(archive, member, half)
        half.replace(place)
        done += member.size
        if progress is not None:
            progress(done, total)
    if hasattr(os, "sync"):
        os.sync()
    return stored, version


def _check_digests(archive: tarfile.TarFile, members: Sequence[tarfile.TarInfo]) -> None:
    """Compare all files with their digests. Raises BadInput, which names the first file that differs.

    Backups of format 1 have no digests.
    """
    manifests = [_manifest(archive, member) for member in members if member.name == _MANIFEST]
    if not manifests or manifests[0].get("format") == 1:
        return
    digests = manifests[-1].get("sha256")
    if not isinstance(digests, dict):
        # The end is missing, or a damaged header made tarfile stop before it.
        raise BadInput("cli.restore.damaged", reason="its end is missing")
    files = [member for member in members if member.name != _MANIFEST]
    for member in files:
        source = archive.extractfile(member)
        assert source is not None  # only regular files come here
        sha256 = hashlib.sha256()
        while block := source.read(_BLOCK):
            sha256.update(block)
        if sha256.hexdigest() != digests.get(member.name):
            raise BadInput("cli.restore.changed", name=member.name)
    if missing := sorted(digests.keys() - {member.name for member in files}):
        raise BadInput("cli.restore.changed", name=missing[0])


def _manifest(archive: tarfile.TarFile, member: tarfile.TarInfo) -> dict[str, object]:
    source = archive.extractfile(member)
    assert source is not None  # only regular files come here
    try:
        read = json.loads(source.read(_MANIFEST_BYTES))
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise BadInput("cli.restore.changed", name=_MANIFEST)
    return read


def _check_paths(part: Path, pictures: str) -> None:
    """Raise BadInput if a row has a file name that Easel does not give: it could name any file of this machine."""
    if (strange := backup.foreign_path(part, pictures)) is not None:
        raise BadInput("cli.restore.strange", name=strange)


def _note_arrival(part: Path) -> None:
    """Record that existing files in the folder are not this database's, so that no sweep removes them."""
    with closing(sqlite3.connect(part, isolation_level=None)) as db:
        if db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'options'").fetchone():
            db.execute(
                "INSERT OR REPLACE INTO options (place_id, name, value) VALUES (?, ?, ?)",
                (people.SERVICE, orphans.SINCE, json.dumps(time.time())),
            )


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    source = archive.extractfile(member)
    assert source is not None  # only regular files come here
    with data_files.open_new(place) as target:
        shutil.copyfileobj(source, target, _BLOCK)
        if place.stat().st_size > member.size:
            raise tarfile.ReadError("longer than it says")
        target.flush()
        if member.name == _DATABASE:
            os.fsync(target.fileno())


def _retain_old(db: Path) -> Path | None:
    """Link or copy the present database to another name; return that path."""
    if not db.exists():
        return None
    aside = db.with_name(f"{db.name}.before-restore")
    number = 1
    while aside.exists():
        number += 1
        aside = db.with_name(f"{db.name}.before-restore-{number}")
    try:
        backup.checkpoint(db)
    except sqlite3.Error:
        # It is damaged, the usual reason for a restore. Its log moves with it: SQLite would apply it to the new file.
        for end in ("-wal", "-shm"):
            if (log_file := db.with_name(db.name + end)).exists():
                log_file.replace(aside.with_name(aside.name + end))
    try:
        os.link(db, aside)
    except OSError:  # the file system has no links
        shutil.copyfile(db, aside)
    data_files.sync_folder(db.parent)
    return aside


def _check_space(folder: Path, size: int) -> None:
    needed = size + data_files.MIN_FREE_BYTES
    if shutil.disk_usage(folder).free < needed:
        raise Unavailable("unavailable.backup_room", size=megabytes(needed), path=str(folder))


@contextmanager
def _partial_files(path: Path, count: int) -> Iterator[tuple[Path, ...]]:
    """Yield names of partial files next to a file; remove what is left of them afterwards."""
    parts = tuple(path.with_name(f".{path.name}.{secrets.token_hex(4)}.part") for _ in range(count))
    try:
        yield parts
    finally:
        for part in parts:
            for end in ("", "-wal", "-shm", "-journal"):
                part.with_name(part.name + end).unlink(missing_ok=True)


def _clear_partial(path: Path) -> None:
    """Remove partial files next to a file that a crash left at least a day ago."""
    for part in path.parent.glob(f".{path.name}.*.part"):
        if part.stat().st_mtime < time.time() - _LEFT_SECONDS:
            part.unlink(missing_ok=True)
