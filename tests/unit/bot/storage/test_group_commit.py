"""Transactions that share a commit: each is whole or absent, and nobody is answered before it is on disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from bot.core.errors import Unavailable
from bot.storage import group_commit
from bot.storage.database import Database, Tx
from bot.storage.group_commit import GroupCommit
from tests.fakes.job_rows import add_job


@asynccontextmanager
async def the_turn(db: Database) -> AsyncIterator[None]:
    """Nobody's body runs meanwhile: what begins in here waits, and shares a commit afterwards."""
    async with db._writing:
        yield


async def until_waiting(db: Database, count: int) -> None:
    while db._groups._waiting < count:  # noqa: ASYNC110 - no event says so
        await asyncio.sleep(0)


async def put(tx: Tx, who: int, part: int) -> None:
    await tx.execute_fetchall("INSERT INTO options (place_id, name, value) VALUES (?, ?, '1')", (who, f"part {part}"))


def parts(path: Path) -> dict[int, int]:
    """What another process sees: the number of committed rows of each member."""
    with contextlib.closing(sqlite3.connect(path)) as other:
        return dict(other.execute("SELECT place_id, count(*) FROM options WHERE name LIKE 'part %' GROUP BY place_id"))


async def add(db: Database, who: int) -> None:
    async with db.write() as tx:
        await put(tx, who, 1)
        await put(tx, who, 2)
    assert parts(db.path)[who] == 2


@pytest.fixture
def commits(db: Database, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows that each commit so far has found changed."""
    found: list[int] = []
    original = db._writer.commit

    async def commit() -> None:
        found.append(db._writer.total_changes)
        await original()

    monkeypatch.setattr(db._writer, "commit", commit)
    return found


async def test_those_that_wait_share_a_commit(
    db: Database, commits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_OPEN_SECONDS", 3600.0)
    async with asyncio.TaskGroup() as tasks, the_turn(db):
        for who in range(40):
            tasks.create_task(add(db, who))
        await until_waiting(db, 40)
    assert len(commits) == 2
    assert parts(db.path) == dict.fromkeys(range(40), 2)


async def test_a_group_that_is_open_for_long_takes_nobody_else(
    db: Database, commits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_OPEN_SECONDS", 0.0)
    async with asyncio.TaskGroup() as tasks, the_turn(db):
        for who in range(5):
            tasks.create_task(add(db, who))
        await until_waiting(db, 5)
    assert len(commits) == 5


class Failed(Exception):
    """A member's body raises this."""


@pytest.mark.parametrize("seed", range(25))
async def test_each_member_is_whole_or_absent(db: Database, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members of every kind at once: they end well, raise, break a constraint, or are cancelled at any moment."""
    rng = random.Random(seed)
    monkeypatch.setattr(group_commit, "MAX_MEMBERS", rng.choice([2, 5, 32]))
    monkeypatch.setattr(group_commit, "MAX_OPEN_SECONDS", rng.choice([0.0, 0.01, 3600.0]))

    async def member(who: int, kind: str, turns: int) -> None:
        async with db.write(alone=kind == "alone") as tx:
            await put(tx, who, 1)
            for _ in range(turns):
                await asyncio.sleep(0)
            if kind == "raises":
                raise Failed
            if kind == "breaks":
                await put(tx, who, 1)
            await put(tx, who, 2)
        assert parts(db.path)[who] == 2

    async def in_thread(who: int, kind: str) -> None:
        async def body(tx: Tx) -> None:
            await put(tx, who, 1)
            if kind == "raises":
                raise Failed
            if kind == "breaks":
                await put(tx, who, 1)
            await put(tx, who, 2)

        await db.run_write(body)
        assert parts(db.path)[who] == 2

    async def cancel(task: asyncio.Task[None], turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()

    kinds = [rng.choice(["ends", "ends", "alone", "raises", "breaks", "cancelled"]) for _ in range(40)]
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        members = [
            asyncio.ensure_future(
                in_thread(who, kind) if kind != "alone" and rng.random() < 0.5 else member(who, kind, rng.randrange(4))
            )
            for who, kind in enumerate(kinds)
        ]
        for who, kind in enumerate(kinds):
            if kind == "cancelled":
                tasks.create_task(cancel(members[who], rng.randrange(400)))
            if rng.random() < 0.2:
                await asyncio.sleep(0)
        results = await asyncio.gather(*members, return_exceptions=True)
    found = parts(db.path)
    for who, (kind, result) in enumerate(zip(kinds, results, strict=True)):
        if kind in {"ends", "alone"}:
            assert (result, found.get(who)) == (None, 2)
        elif kind == "cancelled":
            assert result is None or isinstance(result, asyncio.CancelledError)
            assert found.get(who) in ({2} if result is None else {None, 2})
        else:
            assert isinstance(result, Failed if kind == "raises" else sqlite3.IntegrityError)
            assert who not in found
    assert not db._writer.in_transaction


async def test_a_member_whose_follower_is_cancelled_is_committed(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The follower gives up after, and in the very moment in which, the member has left the commit to it."""
    monkeypatch.setattr(group_commit, "MAX_OPEN_SECONDS", 3600.0)
    for turns in range(200):
        first, second = (asyncio.ensure_future(add(db, 2 * turns + n)) for n in range(2))
        for _ in range(turns):
            await asyncio.sleep(0)
        second.cancel()
        async with asyncio.timeout(10):
            await first
            with contextlib.suppress(asyncio.CancelledError):
                await second
        assert not db._writer.in_transaction


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """The kernel refuses to let files grow, as on a disk that takes nothing more."""
    import resource  # noqa: PLC0415 - not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(os.name != "posix", reason="limits are POSIX's")
async def test_a_commit_that_fails_fails_every_member(db: Database, commits: list[int]) -> None:
    await db.probe()
    del commits[:]
    async with the_turn(db):
        members = [asyncio.ensure_future(add(db, who)) for who in range(8)]
        await until_waiting(db, 8)
    with no_room():
        results = await asyncio.gather(*members, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 8
    assert len(commits) < 8
    assert parts(db.path) == {}
    await add(db, 9)


async def test_members_fail_together_where_sqlite_has_ended_the_transaction(db: Database) -> None:
    async def loses() -> None:
        async with db.write() as tx:
            # As SQLite does by itself when the disk is full; this body does not notice.
            await tx.execute_fetchall("ROLLBACK")

    async with the_turn(db):
        members = [asyncio.ensure_future(work) for work in (add(db, 1), loses(), add(db, 2))]
        await until_waiting(db, 3)
    first, lost, last = await asyncio.gather(*members, return_exceptions=True)
    assert isinstance(first, sqlite3.OperationalError)
    assert isinstance(lost, sqlite3.OperationalError)
    assert last is None
    assert parts(db.path) == {2: 2}


async def test_bodies_of_the_thread_share_a_commit_with_members(db: Database) -> None:
    before = db._groups.commits

    async def in_thread(who: int) -> None:
        await db.run_write(partial(put, who=who, part=1))
        assert parts(db.path)[who] == 1

    async with asyncio.TaskGroup() as tasks, the_turn(db):
        tasks.create_task(add(db, 1))
        for who in range(2, 12):
            tasks.create_task(in_thread(who))
        await until_waiting(db, 2)
    assert db._groups.commits == before + 1
    assert parts(db.path) == {1: 2} | dict.fromkeys(range(2, 12), 1)


async def test_where_many_come_a_body_waits_for_others(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "PAUSE_SECONDS", 1000.0)
    async with asyncio.timeout(10):
        await db.run_write(partial(put, who=1, part=1))
    db._groups._rate.take(asyncio.get_running_loop().time(), 1000)
    waits = asyncio.ensure_future(db.run_write(partial(put, who=2, part=1)))
    await add(db, 3)
    assert not waits.done()
    runner = db._groups._runner
    assert runner is not None
    runner.cancel()
    await asyncio.gather(runner, waits, return_exceptions=True)
    assert parts(db.path) == {1: 1, 3: 2}


async def test_bodies_that_come_after_a_lost_one_run_in_the_next_transaction(db: Database) -> None:
    async def loses(tx: Tx) -> None:
        # As SQLite does by itself when the disk is full; this body does not notice.
        await tx.execute_fetchall("ROLLBACK")

    bodies = (partial(put, who=1, part=1), loses, partial(put, who=2, part=1))
    async with the_turn(db):
        members = [asyncio.ensure_future(db.run_write(body)) for body in bodies]
        await until_waiting(db, 1)
    first, lost, last = await asyncio.gather(*members, return_exceptions=True)
    assert isinstance(first, sqlite3.OperationalError)
    assert isinstance(lost, sqlite3.OperationalError)
    assert last is None
    assert parts(db.path) == {2: 1}


async def test_a_commit_that_was_left_to_cancelled_bodies_is_done(db: Database) -> None:
    async with the_turn(db):
        first = asyncio.ensure_future(add(db, 1))
        body = asyncio.ensure_future(db.run_write(partial(put, who=2, part=1)))
        await until_waiting(db, 2)
        body.cancel()
        await asyncio.gather(body, return_exceptions=True)
    async with asyncio.timeout(10):
        await first
    assert parts(db.path) == {1: 2}


@pytest.mark.parametrize("before", [True, False])
async def test_a_caller_that_is_cancelled_while_its_commit_ends_does_not_wait_for_another(
    db: Database, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    tell = GroupCommit._tell

    def cancelled_as_well(waits: asyncio.Future[object], value: object, error: BaseException | None) -> None:
        if before:
            caller.cancel()
        tell(waits, value, error)
        caller.cancel()

    monkeypatch.setattr(GroupCommit, "_tell", staticmethod(cancelled_as_well))
    caller = asyncio.ensure_future(db.run_write(partial(put, who=1, part=1)))
    await asyncio.sleep(0)
    # What comes meanwhile keeps the runner at work.
    others = [asyncio.ensure_future(db.run_write(partial(put, who=who, part=1))) for who in range(2, 80)]
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.gather(*others)
    assert parts(db.path) == dict.fromkeys(range(1, 80), 1)


async def test_the_database_is_closed_after_the_bodies_that_wait(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "easel.db")
    written = [asyncio.ensure_future(db.run_write(partial(put, who=who, part=1))) for who in range(40)]
    await asyncio.sleep(0)
    await db.close()
    await asyncio.gather(*written)
    assert parts(db.path) == dict.fromkeys(range(40), 1)


async def test_one_alone_finds_what_came_before_on_disk(db: Database) -> None:
    seen: list[dict[int, int]] = []

    async def alone() -> None:
        async with db.write(alone=True) as tx:
            seen.append(parts(db.path))
            await put(tx, 2, 1)

    async with asyncio.TaskGroup() as tasks, the_turn(db):
        tasks.create_task(add(db, 1))
        tasks.create_task(alone())
        tasks.create_task(add(db, 3))
        await until_waiting(db, 3)
    assert seen == [{1: 2}]
    assert parts(db.path) == {1: 2, 2: 1, 3: 2}


async def test_a_look_outside_of_transactions_comes_after_the_commit(db: Database) -> None:
    async with asyncio.TaskGroup() as tasks, the_turn(db):
        tasks.create_task(add(db, 1))
        tasks.create_task(db.foreign_version())
        tasks.create_task(db.probe())
        await until_waiting(db, 3)
    assert parts(db.path) == {1: 2}


_CHILD = """
import asyncio, sys
from pathlib import Path
from bot.storage.database import Database
from tests.fakes.job_rows import add_job

async def add(db, number):
    async def body(tx):
        await add_job(tx, event=f"e{number}", user=str(number))

    if number % 2:
        await db.run_write(body)
    else:
        async with db.write() as tx:
            await body(tx)
    print(f"e{number}", flush=True)

async def main():
    db = await Database.open(Path(sys.argv[1]))
    async with asyncio.TaskGroup() as group:
        for number in range(2000):
            group.create_task(add(db, number))

asyncio.run(main())
"""


@pytest.mark.skipif(os.name != "posix", reason="kills by signal")
@pytest.mark.parametrize("answers", [1, 40, 100])
async def test_what_was_answered_is_there_after_a_kill(tmp_path: Path, answers: int) -> None:
    path = tmp_path / "easel.db"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CHILD, str(path), stdout=subprocess.PIPE, cwd=Path(__file__).parents[4]
    )
    assert child.stdout is not None
    told = {await child.stdout.readline() for _ in range(answers)}
    child.send_signal(signal.SIGKILL)
    # With what it had still written when it was killed; the last line may be cut.
    rest = (await child.stdout.read()).splitlines(keepends=True)
    told |= {line for line in rest if line.endswith(b"\n")}
    await child.wait()
    async with await Database.open(path) as db, db.read() as tx:
        stored = {f"{row[0]}\n".encode() for row in await tx.execute_fetchall("SELECT event FROM jobs")}
        whole = {
            f"{row[0]}\n".encode()
            for row in await tx.execute_fetchall(
                "SELECT event FROM jobs JOIN ledger ON job_id = jobs.id JOIN people ON people.id = jobs.person_id"
            )
        }
    assert told <= stored == whole


async def test_a_failed_member_leaves_the_others_numbers_alone(db: Database) -> None:
    """The number of a job that was undone goes to the next one, which is another member of the same group."""
    numbers: list[int] = []

    async def job(event: str, *, fails: bool) -> None:
        async with db.write() as tx:
            number = await add_job(tx, event=event, user=event)
            if fails:
                raise Failed
        numbers.append(number)

    async with the_turn(db):
        members = [asyncio.ensure_future(job(f"e{n}", fails=n % 2 == 1)) for n in range(6)]
        await until_waiting(db, 6)
    results = await asyncio.gather(*members, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), Failed] * 3
    assert sorted(numbers) == [1, 2, 3]
