"""The table of pictures; ``bot.storage.data_files`` stores their files."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from bot.core.inspection import OwnFile
from bot.core.people import Actor, Place
from bot.core.pictures import DrawnPicture, Picture
from bot.storage import data_files as names
from bot.storage.database import Tx
from bot.storage.sql import AMONG, Column, Converter, RowMapper


@dataclass(frozen=True, slots=True)
class _NewRow:
    picture: DrawnPicture
    created_at: float


def _confined(path: str) -> str:
    """Return the path of a picture's file; a row from another machine's backup must not name any file of this one."""
    return path if names.is_confined(path) else names.NO_FILE


def _digest(value: str) -> str:
    return value if names.DIGEST.fullmatch(value) else ""


_PICTURES = RowMapper(
    Picture, "pictures", converters={"path": Converter(_confined, str), "digest": Converter(_digest, str)}
)
_NEW = RowMapper(_NewRow, "pictures")

COLUMNS: Mapping[str, Column] = MappingProxyType({column.name: column for column in _PICTURES.column_list})
"""The columns of a picture, by name."""


async def add(tx: Tx, picture: DrawnPicture, *, now: float) -> None:
    """Store a picture. A picture that was drawn again after a crash replaces its row.

    Args:
        tx: A writing transaction.
        picture: What was drawn.
        now: Unix seconds.
    """
    await _NEW.insert(
        tx,
        _NewRow(picture, now),
        'ON CONFLICT (job_id, "index") DO UPDATE SET ' + _NEW.excluded("job_id", "index", "seed", "created_at"),
    )


async def put_flag(tx: Tx, picture_id: int, flag: str) -> None:
    """Set the verdict of moderation on a stored picture."""
    await tx.execute_fetchall("UPDATE pictures SET flag = ? WHERE id = ?", (flag, picture_id))


async def put_sent(tx: Tx, path: str, platform: str, remote: str) -> None:
    """Record what a platform calls a picture that it has been sent; ``path`` is relative to the pictures folder."""
    await tx.execute_fetchall(
        "INSERT INTO sent_pictures (picture_id, platform, remote) SELECT id, ?, ? FROM pictures WHERE path = ?"
        " ON CONFLICT (picture_id, platform) DO UPDATE SET remote = excluded.remote",
        (platform, remote, path),
    )


async def sent_among(tx: Tx, platform: str, picture_ids: Sequence[int]) -> dict[int, str]:
    """Return what a platform calls those of these pictures that it has been sent, by id."""
    marks = ", ".join("?" * len(picture_ids))
    rows = await tx.execute_fetchall(
        f"SELECT picture_id, remote FROM sent_pictures WHERE platform = ? AND picture_id IN ({marks})",  # noqa: S608 - question marks
        (platform, *picture_ids),
    )
    return {int(row[0]): str(row[1]) for row in rows}


async def of_job(tx: Tx, job_id: int) -> tuple[Picture, ...]:
    """Return the pictures of a job in their order."""
    return await _PICTURES.select(tx, 'WHERE job_id = ? ORDER BY "index"', (job_id,))


async def of_jobs(tx: Tx, job_ids: Sequence[int]) -> dict[int, tuple[Picture, ...]]:
    """Return the pictures of several jobs in their order, by job; a job without pictures has an empty tuple."""
    found: dict[int, tuple[Picture, ...]] = dict.fromkeys(job_ids, ())
    if not job_ids:
        return found
    where = f'WHERE job_id IN {AMONG} ORDER BY job_id, "index"'
    for picture in await _PICTURES.select(tx, where, (json.dumps(list(job_ids)),)):
        found[picture.job_id] += (picture,)
    return found


async def own_among(tx: Tx, person_id: int, picture_of: Collection[tuple[int, int]]) -> dict[tuple[int, int], str]:
    """Return the digests of those of these pictures (job and index) whose jobs are a person's; empty where none is stored.

    A job that is another person's, or was deleted, is left out.
    """
    marks = ", ".join("?" * len(picture_of))
    rows = await tx.execute_fetchall(
        f"SELECT id FROM jobs WHERE id IN ({marks}) AND person_id = ? AND NOT forgotten AND deletion_id IS NULL",  # noqa: S608 - question marks
        (*(job_id for job_id, _ in picture_of), person_id),
    )
    own_ids = [int(row[0]) for row in rows]
    own = await of_jobs(tx, own_ids) if own_ids else {}
    digests = {(job_id, picture.index): picture.digest for job_id, stored in own.items() for picture in stored}
    return {one: digests.get(one, "") for one in picture_of if one[0] in own}


async def find_own(tx: Tx, platform: str, user_id: str, digest: str) -> str | None:
    """Return the path of a picture with this digest among those of an account's person, or None."""
    rows = await tx.execute_fetchall(
        "SELECT p.path FROM pictures p JOIN jobs j ON j.id = p.job_id WHERE p.digest = ? AND j.deletion_id IS NULL AND j.person_id ="
        " (SELECT person_id FROM accounts WHERE platform = ? AND user_id = ?) LIMIT 1",
        (digest, platform, user_id),
    )
    return next((_confined(str(row[0])) for row in rows), None)


async def own_file(tx: Tx, digest: str, document: str) -> OwnFile:
    """Return whether a file is a stored picture, by the start of its SHA-256, or names the id of one."""
    rows = await tx.execute_fetchall(
        "SELECT digest = ? FROM pictures WHERE digest = ? OR (document <> '' AND document = ?)",
        (digest, digest, document),
    )
    same = [bool(row[0]) for row in rows]
    return OwnFile.STORED if any(same) else OwnFile.NAMED if same else OwnFile.FOREIGN


async def last_of(tx: Tx, actor: Actor, place: Place) -> Picture | None:
    """Return the first picture of somebody's newest job in a channel that has one; in servers and groups no private one."""
    alone = place.guild is None
    return await _PICTURES.select_one(
        tx,
        "WHERE job_id = (SELECT id FROM jobs WHERE person_id ="
        " (SELECT person_id FROM accounts WHERE platform = ? AND user_id = ?) AND NOT forgotten AND deletion_id IS NULL AND channel = ?"
        " AND (? OR NOT private) AND EXISTS (SELECT 1 FROM pictures WHERE job_id = jobs.id) ORDER BY id DESC LIMIT 1)"
        ' ORDER BY "index" LIMIT 1',
        (actor.platform, actor.user_id, "" if alone else place.channel, alone),
    )


async def all_digests(tx: Tx) -> frozenset[str]:
    """Return the digests of all pictures."""
    return frozenset(row[0] for row in await tx.execute_fetchall("SELECT digest FROM pictures"))


async def all_paths(tx: Tx) -> frozenset[str]:
    """Return the paths of all pictures. Files under other paths have no row."""
    return frozenset(row[0] for row in await tx.execute_fetchall("SELECT path FROM pictures"))
