"""Migrations: each whole or not at all, from any version, from anywhere; newer databases are refused."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from bot.core.errors import Unavailable
from bot.storage import jobs, pictures
from bot.storage.database import Database
from bot.storage.migrate import Migration, shipped
from tests.fakes.job_rows import add_job

FIRST = Migration(1, "-- why\nCREATE TABLE a (x INTEGER); -- ; not here\nINSERT INTO a VALUES (1);\n")
SECOND = Migration(2, "ALTER TABLE a ADD COLUMN y TEXT DEFAULT 'one;\ntwo';\nUPDATE a SET x = x + 1;")


def look(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


async def test_from_an_older_version_only_the_rest_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with await Database.open(path, migrations=[FIRST]) as db:
        assert db.version == 1
    async with await Database.open(path, migrations=[FIRST, SECOND]) as db:
        assert db.version == 2
    async with await Database.open(path, migrations=[FIRST, SECOND]) as db:
        assert db.version == 2
    assert look(path, "SELECT x, y FROM a") == [(2, "one;\ntwo")]
    assert look(path, "PRAGMA user_version") == [(2,)]


@pytest.mark.parametrize("bad", ["INSERT INTO nothing VALUES (1);", "SELEC 1;", "INSERT INTO a VALUES (1"])
async def test_a_migration_that_fails_leaves_nothing_of_itself(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "a.db"
    broken = Migration(2, f"UPDATE a SET x = 9;\nCREATE TABLE b (x);\n{bad}")
    with pytest.raises(sqlite3.Error):
        await Database.open(path, migrations=[FIRST, broken])
    assert look(path, "SELECT x FROM a") == [(1,)]
    assert look(path, "PRAGMA user_version") == [(1,)]
    assert look(path, "SELECT name FROM sqlite_master WHERE name = 'b'") == []


async def test_a_migration_may_rebuild_a_table_but_not_orphan_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    tables = Migration(
        1, "CREATE TABLE p (id INTEGER PRIMARY KEY);\nCREATE TABLE c (p INTEGER REFERENCES p (id));\n"
        "INSERT INTO p VALUES (1);\nINSERT INTO c VALUES (1);"
    )  # fmt: skip
    rebuild = Migration(
        2, "CREATE TABLE q (id INTEGER PRIMARY KEY, n TEXT);\nINSERT INTO q SELECT id, '' FROM p;\n"
        "DROP TABLE p;\nALTER TABLE q RENAME TO p;"
    )  # fmt: skip
    orphan = Migration(3, "DELETE FROM p;")
    async with await Database.open(path, migrations=[tables, rebuild]):
        pass
    with pytest.raises(sqlite3.IntegrityError):
        await Database.open(path, migrations=[tables, rebuild, orphan])
    assert look(path, "SELECT id, n FROM p") == [(1, "")]
    assert look(path, "PRAGMA user_version") == [(2,)]


async def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with await Database.open(path, migrations=[FIRST, SECOND]):
        pass
    with pytest.raises(Unavailable) as refused:
        await Database.open(path, migrations=[FIRST])
    assert refused.value.key == "unavailable.database.newer"
    assert refused.value.params == {"found": 2, "known": 1}
    assert look(path, "SELECT x FROM a") == [(2,)]


async def test_two_processes_that_start_at_once_apply_it_once(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    opened = await asyncio.gather(
        *(Database.open(path, migrations=[FIRST, SECOND]) for _ in range(4)), return_exceptions=True
    )
    for db in opened:
        if isinstance(db, Database):
            await db.close()
    assert [type(db) for db in opened] == [Database] * 4
    assert look(path, "SELECT x FROM a") == [(2,)]


async def test_gaps_in_the_numbers_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gaps"):
        await Database.open(tmp_path / "a.db", migrations=[SECOND])


async def test_the_shipped_ones_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [m.version for m in shipped()] == list(range(1, len(shipped()) + 1))
    async with await Database.open(tmp_path / "easel.db") as db, db.write() as tx:
        await add_job(tx)


async def test_rows_of_the_first_tables_go_on(tmp_path: Path) -> None:
    path = tmp_path / "easel.db"
    async with await Database.open(path, migrations=shipped()[:1]):
        pass
    connection = sqlite3.connect(path)
    with connection:
        connection.executescript(
            "INSERT INTO people VALUES (1, 'Ada', 1.0); INSERT INTO accounts VALUES (1, 1, 'web', '1', 'Ada', 1.0);"
            "INSERT INTO jobs (state, event, person_id, account_id, locale, prompt, typed, width, height, steps, guidance,"
            " seed, count, model, created_at) VALUES ('delivered', 'e', 1, 1, 'en', 'a', 'a', 192, 192, 8, 0.0, 7, 1,"
            " 'demo', 1.0);"
            "INSERT INTO pictures VALUES (1, 1, 0, 7, '2026/01/02/1-0.png', 192, 192, 99, 0.5, 1.0);"
        )
    connection.close()
    async with await Database.open(path) as db, db.read() as tx:
        job = await jobs.get(tx, 1)
        (picture,) = await pictures.of_job(tx, 1)
        assert await jobs.source_files(tx) == frozenset()
    assert job is not None
    request = job.request
    assert (request.image, request.mask, request.strength, request.variation, request.upscale) == (
        "",
        "",
        1.0,
        0.0,
        0.0,
    )
    assert (picture.seed, picture.precision, picture.revision, picture.notes) == (7, "", "", ())


def test_each_shipped_one_begins_with_its_reason() -> None:
    for migration in shipped():
        assert migration.sql.startswith("-- ")


async def test_the_tables_have_their_fixed_names(tmp_path: Path) -> None:
    async with await Database.open(tmp_path / "easel.db"):
        pass
    names = {row[0] for row in look(tmp_path / "easel.db", "SELECT name FROM sqlite_master WHERE type = 'table'")}
    fixed = {"people", "accounts", "places", "jobs", "pictures", "messages", "policies", "ledger", "audit"}
    assert fixed <= names


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _version_two(path: Path) -> None:
    """A database of version 2 with rows."""
    connection = sqlite3.connect(path)
    with connection:
        for migration in shipped()[:2]:
            connection.executescript(migration.sql)
        connection.executescript(
            "PRAGMA user_version = 2; INSERT INTO people VALUES (1, 'Ada', 1.0);"
            "INSERT INTO accounts VALUES (1, 1, 'web', '1', 'Ada', 1.0);"
            "INSERT INTO jobs (state, event, person_id, account_id, locale, prompt, typed, width, height, steps, guidance,"
            " seed, count, model, created_at) VALUES ('delivered', 'e', 1, 1, 'en', 'a', 'a', 192, 192, 8, 0.0, 7, 1,"
            " 'demo', 1.0);"
            "INSERT INTO messages (kind, state, event, platform, chat, address, card, created_at, updated_at)"
            " VALUES ('notice', 'shown', 'n', 'web', 'c', '{}', 'a prompt in a page of the history', 1.0, 1.0);"
        )
    connection.close()


async def test_a_copy_is_made_before_a_database_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "easel.db"
    _version_two(path)
    async with await Database.open(path) as db, db.read() as tx:
        assert await jobs.get(tx, 1) is not None
    copy = tmp_path / "easel.db.v2.bak"
    assert look(copy, "PRAGMA user_version") == [(2,)]
    assert look(copy, "SELECT id, typed FROM jobs") == [(1, "a")]
    assert look(copy, "PRAGMA integrity_check") == [("ok",)]
    assert copy.stat().st_mode & 0o077 == 0
    assert look(path, "SELECT card FROM messages") == [("",)], "what a shown notice said is kept no longer"
    async with await Database.open(path):
        pass
    assert names(tmp_path) == ["easel.db", "easel.db.v2.bak"], "a new one needs no copy"


async def test_a_migration_that_fails_leaves_its_copy(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with await Database.open(path, migrations=[FIRST]):
        pass
    with pytest.raises(sqlite3.Error):
        await Database.open(path, migrations=[FIRST, Migration(2, "DROP TABLE nothing;")])
    assert look(tmp_path / "a.db.v1.bak", "SELECT x FROM a") == [(1,)]


async def test_the_last_two_copies_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    steps = [FIRST, *(Migration(n, f"CREATE TABLE t{n} (x);") for n in range(2, 13))]
    for known in (1, 2, 9, 10, 11, 12):
        async with await Database.open(path, migrations=steps[:known]):
            pass
    assert names(tmp_path) == ["a.db", "a.db.v10.bak", "a.db.v11.bak"]


async def test_without_room_for_the_copy_nothing_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "easel.db"
    _version_two(path)
    monkeypatch.setattr("bot.storage.data_files.MIN_FREE_BYTES", 2**62)
    with pytest.raises(Unavailable) as refused:
        await Database.open(path)
    assert refused.value.key == "unavailable.backup_room"
    assert look(path, "PRAGMA user_version") == [(2,)]
    assert names(tmp_path) == ["easel.db"]
