"""Transactions end in every case; what goes wrong has a sentence."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from bot.core.errors import Unavailable
from bot.maintenance import store
from bot.storage import people
from bot.storage.database import Database
from tests.fakes.job_rows import add_job, damage


async def count(db: Database, table: str = "jobs") -> int:
    async with db.read() as tx:
        return int(next(iter(await tx.execute_fetchall(f"SELECT count(*) FROM {table}")))[0])


async def pragma(db: Database, name: str, *, writer: bool = True) -> object:
    async with db.write() if writer else db.read() as tx:
        return next(iter(await tx.execute_fetchall(f"PRAGMA {name}")))[0]


async def test_settings_of_the_connections(db: Database) -> None:
    assert await pragma(db, "journal_mode") == "wal"
    assert await pragma(db, "foreign_keys") == 1
    assert await pragma(db, "synchronous") == 2
    assert await pragma(db, "busy_timeout") == 5000
    assert await pragma(db, "query_only", writer=False) == 1


async def test_a_block_that_raises_leaves_nothing(db: Database) -> None:
    async def fail() -> None:
        async with db.write() as tx:
            await add_job(tx)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await count(db) == await count(db, "people") == await count(db, "ledger") == 0
    async with db.write() as tx:
        await add_job(tx)
    assert await count(db) == 1


async def test_a_reader_can_not_write(db: Database) -> None:
    with pytest.raises(Unavailable, match="unwritable"):
        async with db.read() as tx:
            await add_job(tx)


async def test_a_reader_sees_one_state_throughout(db: Database) -> None:
    async with db.read() as reading:
        assert not await reading.execute_fetchall("SELECT 1 FROM jobs")
        async with db.write() as tx:
            await add_job(tx)
        assert not await reading.execute_fetchall("SELECT 1 FROM jobs")
    assert await count(db) == 1


async def test_foreign_keys_are_enforced(db: Database) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        async with db.write() as tx:
            await tx.execute_fetchall(
                "INSERT INTO accounts (person_id, platform, user_id, created_at) VALUES (99, 'web', '1', 0)"
            )


async def test_writers_wait_for_each_other(db: Database) -> None:
    async def add(i: int) -> None:
        async with db.write() as tx:
            await add_job(tx, event=f"e{i}", user=str(i))

    async with asyncio.TaskGroup() as group:
        for i in range(20):
            group.create_task(add(i))
    assert await count(db) == 20


async def test_cancelled_at_every_moment_it_never_leaves_a_transaction_open(db: Database) -> None:
    """Cancel a write after 0, 1, 2, ... turns of the loop: it is whole or absent, and the next one always works."""
    whole = 0
    for turns in range(400):

        async def add(event: str = f"e{turns}") -> None:
            async with db.write() as tx:
                await add_job(tx, event=event)

        before = await count(db)
        task = asyncio.create_task(add())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10), db.write() as tx:
            await tx.execute_fetchall("UPDATE people SET name = name")
        after = await count(db)
        assert after - before in {0, 1}
        assert after == await count(db, "ledger")
        whole += after - before
    assert whole == await count(db)


@pytest.mark.parametrize("moment", ["begin", "inside", "commit"])
async def test_cancelled_while_a_statement_runs(db: Database, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = asyncio.Event()
    connection = db._writer
    original = connection.commit

    async def commit() -> None:
        reached.set()
        await original()

    async def add() -> None:
        if moment == "begin":
            reached.set()
        async with db.write() as tx:
            await add_job(tx)
            if moment == "inside":
                reached.set()
                await asyncio.Event().wait()

    if moment == "commit":
        monkeypatch.setattr(connection, "commit", commit)
    task = asyncio.create_task(add())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not connection.in_transaction
    assert await count(db) == (1 if moment == "commit" else 0)


async def test_locked_by_another_process_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "easel.db"
    async with await Database.open(path, busy_seconds=0.01) as db:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable) as refused:
                async with db.write():
                    pass
            assert refused.value.key == "unavailable.database.locked"
            assert await count(db) == 0  # readers go on
        async with db.write() as tx:
            await add_job(tx)


async def test_a_full_disk_is_a_sentence_and_undoes_the_whole(db: Database) -> None:
    async with db.write() as tx:
        await add_job(tx)
        pages = next(iter(await tx.execute_fetchall("PRAGMA page_count")))[0]
    await db._writer.execute_fetchall(f"PRAGMA max_page_count = {pages}")

    async def add_many() -> None:
        async with db.write() as tx:
            for i in range(1000):
                await add_job(tx, event=f"many:{i}", user=str(i))

    with pytest.raises(Unavailable) as refused:
        await add_many()
    assert refused.value.key == "unavailable.disk_full"
    assert await count(db) == 1
    await db._writer.execute_fetchall("PRAGMA max_page_count = 1000000")
    async with db.write() as tx:
        await add_job(tx, event="after")
    assert await count(db) == 2


async def test_a_file_that_is_no_database_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "easel.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(Unavailable) as refused:
        await Database.open(path)
    assert refused.value.key == "unavailable.database.damaged"
    assert refused.value.params["path"] == str(path)


async def test_a_folder_that_can_not_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable) as refused:
        await Database.open(tmp_path / "file" / "easel.db")
    assert refused.value.key == "unavailable.database.unwritable"


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
async def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    async with await Database.open(tmp_path / "easel.db") as db, db.write() as tx:
        await add_job(tx)
        modes = {path.name: path.stat().st_mode & 0o777 for path in map(tmp_path.joinpath, NAMES)}
    assert modes == dict.fromkeys(NAMES, 0o600)


async def test_a_path_that_is_a_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as refused:
        await Database.open(tmp_path)
    assert refused.value.key == "unavailable.database.unwritable"


NAMES = ("easel.db", "easel.db-shm", "easel.db-wal")

_CHILD = """
import asyncio, sys
from pathlib import Path
from bot.maintenance import store as check
from bot.storage.database import Database
from tests.fakes.job_rows import add_job, damage

async def main():
    db = await Database.open(Path(sys.argv[1]))
    async with db.write() as tx:
        await add_job(tx, event="kept")
    async with db.write() as tx:
        await add_job(tx, event="lost", user="2")
        print("inside", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(os.name != "posix", reason="kills by signal")
async def test_killed_inside_a_transaction_keeps_what_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "easel.db"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CHILD, str(path), stdout=subprocess.PIPE, cwd=Path(__file__).parents[4]
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"inside\n"
    child.send_signal(signal.SIGKILL)
    await child.wait()
    async with await Database.open(path) as db:
        assert await count(db) == await count(db, "people") == await count(db, "ledger") == 1
        async with db.write() as tx:
            assert await people.find(tx, "web", "2") is None
            await add_job(tx, event="lost", user="2")
        assert await count(db) == 2


@pytest.mark.skipif(os.name != "posix", reason="limits are POSIX's")
async def test_a_file_that_can_not_grow_is_a_sentence_each_time_and_one_line(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    import resource  # noqa: PLC0415 - not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    await db.probe()
    # As on a disk that takes nothing more: the kernel refuses every write beyond so many bytes.
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    try:
        for n in range(24):
            with pytest.raises(Unavailable) as refused:
                await (db.probe() if n % 2 else _add(db))
            assert refused.value.key == "unavailable.database.unwritable"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await db.probe()
    said = [record.getMessage() for record in caplog.records if record.name == "bot.storage.database"]
    assert ["CAN'T BE WRITTEN" in said[0], said[1].endswith("can be written again")] == [True, True]
    assert len(said) == 2


async def _add(db: Database) -> None:
    async with db.write() as tx:
        await add_job(tx)


async def test_a_damaged_page_is_noticed_by_a_look_and_in_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "easel.db"
    async with await Database.open(path) as db:
        await _add(db)
        assert await store.integrity_problem(path) == ""
    damage(path)
    found = await store.integrity_problem(path)
    assert found
    async with await Database.open(path) as db:
        await db.probe()
        with pytest.raises(Unavailable) as refused:
            async with db.read() as tx:
                await tx.execute_fetchall("SELECT * FROM ledger")
        assert refused.value.key == "unavailable.database.damaged"
        with pytest.raises(Unavailable) as red:
            await db.probe()
        assert red.value.key == "unavailable.database.damaged"
    assert [record.levelname for record in caplog.records if "DAMAGED" in record.getMessage()] == ["CRITICAL"]


async def test_a_check_that_is_cancelled_ends(db: Database) -> None:
    async with db.write() as tx:
        await tx.execute_fetchall(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
            " INSERT INTO audit (at, actor, action) SELECT i, 'a', 'b' FROM n"
        )
    for _ in range(3):
        task = asyncio.create_task(store.integrity_problem(db.path))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await store.integrity_problem(db.path) == ""
