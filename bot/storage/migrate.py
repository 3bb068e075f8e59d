"""Migrations: numbered SQL files, each applied in one transaction with its number."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

import aiosqlite

from bot.core.errors import Unavailable

_NAME = re.compile(r"(\d{4})_\w+\.sql", re.ASCII)


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration: the version that it leads to (the first is 1) and its statements."""

    version: int
    sql: str


def shipped() -> tuple[Migration, ...]:
    """Return the migrations of the ``migrations`` package, in order."""
    found = sorted(
        (int(match[1]), file)
        for file in resources.files("migrations").iterdir()
        if (match := _NAME.fullmatch(file.name)) is not None
    )
    return tuple(Migration(version, file.read_text(encoding="utf-8")) for version, file in found)


async def apply(connection: aiosqlite.Connection, migrations: Sequence[Migration]) -> int:
    """Apply the missing migrations; return the database's version.

    Args:
        connection: In autocommit mode, without enforced foreign keys (they are checked before each commit).
        migrations: Numbered from 1 without gaps.

    Raises:
        Unavailable: The database was made by newer code.
        sqlite3.Error: A statement failed; its migration is rolled back, earlier ones stay.
    """
    if [m.version for m in migrations] != list(range(1, len(migrations) + 1)):
        raise ValueError("migrations must be numbered from 1 without gaps")
    known = len(migrations)
    version = await version_of(connection)
    if version > known:
        raise Unavailable("unavailable.database.newer", found=version, known=known)
    for migration in migrations[version:]:
        await connection.execute_fetchall("BEGIN IMMEDIATE")
        try:
            # Checked again in the transaction: another process may have applied it.
            if await version_of(connection) < migration.version:
                for statement in _statements(migration.sql):
                    await connection.execute_fetchall(statement)
                if await connection.execute_fetchall("PRAGMA foreign_key_check"):
                    raise sqlite3.IntegrityError(
                        f"migration {migration.version} leaves rows that refer to missing rows"
                    )
                await connection.execute_fetchall(f"PRAGMA user_version = {migration.version}")
            await connection.commit()
        except BaseException as e:
            e.add_note(f"in migration {migration.version}")
            await connection.rollback()
            raise
    return max(version, known)


async def version_of(connection: aiosqlite.Connection) -> int:
    """Return the number of the last applied migration; 0 for a new file."""
    return int(next(iter(await connection.execute_fetchall("PRAGMA user_version")))[0])


def _statements(sql: str) -> Iterator[str]:
    # executescript would commit the open transaction first. A statement ends at the end of a line.
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
