"""Orphans: picture files without a row. Those that this database made are quarantined for some days, then deleted.

The database may be new, restored or another one than the files were made with. Files without a row may then be all that
is left of these pictures, so they are left alone.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bot.storage import data_files, people
from bot.storage.database import Tx
from bot.storage.sql import RowMapper

FOLDER = "orphans"
"""Folder of the quarantine, in the data folder; each sweep has a folder of its own there."""

QUARANTINE_SECONDS = 7 * 86400.0
"""How long orphans stay in the quarantine."""

SINCE = "files_since"
"""Option of the service: the time (Unix seconds, the file system's) when this database came into the data folder. Older
files are left alone."""

MAX_SHARE = 0.2
MAX_FEW = 20
"""If more than this share and more than this number of all files are orphans, none is quarantined: a crash leaves fewer."""

_STAMP = "%Y%m%dT%H%M%SZ"
_ASIDE = re.compile(r"(\d{8}T\d{6}Z)(-\d+)?", re.ASCII)
_HIGHEST = 10**12
"""Job ids are smaller than this."""


@dataclass(slots=True)
class OrphanScan:
    """The files in the pictures folder with names that Easel gives.

    Attributes:
        pictures: Modification times (Unix seconds, the file system's), by path in the folder.
        half: Partial files.
    """

    pictures: dict[str, float] = field(default_factory=dict)
    half: list[Path] = field(default_factory=list)

    @property
    def highest(self) -> int:
        """The highest job id among them; 0 if there are none."""
        return max((n for path in self.pictures if (n := job_of(path)) < _HIGHEST), default=0)


def job_of(path: str) -> int:
    """Return the job id of a picture's path."""
    match = data_files.PICTURE_PATH.fullmatch(path)
    assert match is not None
    return int(match[1])


def scan(folder: Path) -> OrphanScan:
    """Return the regular files in the pictures folder with names that Easel gives; links are not followed.

    Blocks: run in a thread. Raises OSError if a folder can't be read.
    """
    found = OrphanScan()
    for year in data_files.day_folders(folder, 4):
        for month in data_files.day_folders(year, 2):
            for day in data_files.day_folders(month, 2):
                for path, made in data_files.list_files(day, data_files.PICTURE_NAME):
                    if path.suffix == ".part":
                        found.half.append(path)
                    else:
                        found.pictures[path.relative_to(folder).as_posix()] = made
    return found


async def note_arrival(tx: Tx, found: OrphanScan, *, inputs: bool, now: float) -> bool:
    """Detect whether this database came into the folder after its files, and record that. Returns whether it did now.

    It did if a file belongs to a later job than the database has had. Its next jobs then get higher ids than the files
    have, so that new pictures do not overwrite them.

    Args:
        tx: A writing transaction.
        found: The files in the pictures folder.
        inputs: Whether there are source files.
        now: Unix seconds of the machine's clock, which also times files.
    """
    rows = await tx.execute_fetchall("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'")
    last = next((int(row[0]) for row in rows), 0)
    if found.highest <= last and (last or not inputs):
        return False
    await people.put_option(tx, people.SERVICE, SINCE, now)
    if found.highest > last:
        await tx.execute_fetchall("DELETE FROM sqlite_sequence WHERE name = 'jobs'")
        await tx.execute_fetchall("INSERT INTO sqlite_sequence (name, seq) VALUES ('jobs', ?)", (found.highest,))
    return True


async def trusted_since(tx: Tx) -> float:
    """Return the time before which files are not this database's; 0 if all are."""
    value = await people.get_option(tx, people.SERVICE, SINCE)
    return float(value) if isinstance(value, int | float) else 0.0


@dataclass(frozen=True, slots=True)
class _Job:
    created_at: float
    count: int
    forgotten: bool


_JOBS = RowMapper(_Job, "jobs")


async def made_here(tx: Tx, found: OrphanScan, unknown: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return which of these pictures this database has made, and which of those belong to jobs with deleted data.

    It has made a file that is named like a picture of its own job, with the job's day and count, and that was written
    since the database is in this folder.
    """
    first = await trusted_since(tx)
    by_job: dict[int, list[str]] = {}
    for path in unknown:
        if found.pictures[path] >= first:
            by_job.setdefault(job_of(path), []).append(path)
    made, forgotten = set(), set()
    for job_id, there in by_job.items():
        job = await _JOBS.select_one(tx, "WHERE id = ?", (job_id,))
        if job is not None:
            names = {data_files.picture_path(job_id, index, job.created_at) for index in range(job.count)}
            made.update(names.intersection(there))
            if job.forgotten:
                forgotten.update(names.intersection(there))
    return frozenset(made), frozenset(forgotten)


def too_many(orphans: int, everything: int) -> bool:
    """Whether there are more orphans than a crash leaves."""
    return orphans > max(MAX_FEW, MAX_SHARE * everything)


def quarantine(data: Path, files: Collection[tuple[str, Path]], now: float) -> int:
    """Move files into a new folder of the quarantine; return how many. Blocks: run in a thread. Raises OSError.

    Args:
        data: The data folder.
        files: For each, its name in the quarantine and its present path.
        now: Unix seconds.
    """
    if not files:
        return 0
    stamp = f"{datetime.fromtimestamp(now, UTC):{_STAMP}}"
    place, number = data / FOLDER / stamp, 1
    while place.exists():
        number += 1
        place = data / FOLDER / f"{stamp}-{number}"
    for name, path in files:
        target = place / name
        data_files.make_folder(target.parent)
        try:
            path.rename(target)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno != errno.EXDEV:  # a folder may be a link to another file system
                raise
            shutil.move(path, target)
    return len(files)


def purge_quarantine(data: Path, now: float, *, after: float = QUARANTINE_SECONDS) -> int:
    """Delete quarantined files after ``after`` seconds; return how many folders. Blocks: run in a thread. Raises OSError."""
    removed = 0
    folder = data / FOLDER
    if not folder.is_dir() or folder.is_symlink():
        return 0
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        match = _ASIDE.fullmatch(entry.name)
        if match is None or not entry.is_dir(follow_symlinks=False):
            continue
        if datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC).timestamp() < now - after:
            shutil.rmtree(entry.path)
            removed += 1
    return removed
