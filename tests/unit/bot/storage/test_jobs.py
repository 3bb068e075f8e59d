"""Jobs in real rows: stored whole, one for each event, moved by one guarded door."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bot.core.jobs import MOVES, JobState
from bot.core.messages import Address, MessageState
from bot.core.pictures import Picture
from bot.storage import jobs, messages, pictures
from bot.storage.database import Database, Tx
from engine.contract import ImageInfo
from tests.fakes.job_rows import REQUEST, add_job, drawn_picture

Q, R, P, D, C, F, H = (
    JobState.QUEUED,
    JobState.RUNNING,
    JobState.PAINTED,
    JobState.DELIVERED,
    JobState.CANCELLED,
    JobState.FAILED,
    JobState.HELD,
)


async def test_a_job_comes_back_as_it_was_stored(db: Database) -> None:
    async with db.write() as tx:
        job_id = await add_job(tx, guild="g", now=12.5)
        job = await jobs.get(tx, job_id)
    assert job is not None
    assert (job.id, job.state, job.request, job.locale, job.asker) == (job_id, Q, REQUEST, "en", "Ada")
    assert (job.created_at, job.started_at, job.ended_at, job.attempts, job.error) == (12.5, None, None, 0, "")
    assert job.place_id is not None


async def test_one_event_is_one_job(db: Database) -> None:
    async with db.write() as tx:
        job_id = await add_job(tx, event="e")
        found = await jobs.by_event(tx, "e")
        assert found is not None
        assert found.id == job_id
        assert await jobs.by_event(tx, "f") is None
    with pytest.raises(sqlite3.IntegrityError):
        async with db.write() as tx:
            await add_job(tx, event="e")


async def test_ids_are_never_used_again(db: Database) -> None:
    async with db.write() as tx:
        first = await add_job(tx, reserve=False)
        await tx.execute_fetchall("DELETE FROM jobs")
        assert await add_job(tx, reserve=False) == first + 1


async def test_times_and_attempts_of_each_move(db: Database) -> None:
    async with db.write() as tx:
        job_id = await add_job(tx, now=1.0)
        (claimed,) = await jobs.claim(tx, [job_id, job_id, 99], now=2.0)
        assert (claimed.id, claimed.state, claimed.started_at) == (job_id, R, 2.0)
        assert await jobs.claim(tx, [job_id], now=2.5) == ()
        assert await jobs.requeue(tx, job_id, now=3.0, lost=True)
        waiting = await jobs.get(tx, job_id)
        assert waiting is not None
        assert (waiting.state, waiting.attempts, waiting.started_at) == (Q, 1, None)
        await jobs.claim(tx, [job_id], now=4.0)
        assert await jobs.requeue(tx, job_id, now=5.0, lost=False)
        await jobs.claim(tx, [job_id], now=6.0)
        assert await jobs.move(tx, job_id, R, P, now=7.0, seconds=0.5)
        assert await jobs.move(tx, job_id, P, D, now=8.0)
        done = await jobs.get(tx, job_id)
    assert done is not None
    assert (done.state, done.attempts, done.started_at, done.ended_at, done.seconds) == (D, 1, 6.0, 7.0, 0.5)


async def test_a_failure_keeps_its_reason(db: Database) -> None:
    async with db.write() as tx:
        job_id = await add_job(tx, now=1.0)
        await jobs.claim(tx, [job_id], now=2.0)
        await jobs.move(tx, job_id, R, F, now=3.0, error="failed.lost")
        job = await jobs.get(tx, job_id)
    assert job is not None
    assert (job.error, job.ended_at) == ("failed.lost", 3.0)


@pytest.mark.parametrize("frm", JobState)
@pytest.mark.parametrize("to", JobState)
async def test_every_pair_of_states(db: Database, frm: JobState, to: JobState) -> None:
    """Legal moves happen from their own state alone; no other move is even tried."""
    async with db.write() as tx:
        for now in JobState:
            job_id = await add_job(tx, event=now.value, state=now)
            if to in MOVES[frm]:
                assert await jobs.move(tx, job_id, frm, to, now=2.0) is (now is frm)
            else:
                with pytest.raises(ValueError, match="can't go"):
                    await jobs.move(tx, job_id, frm, to, now=2.0)
            after = await jobs.get(tx, job_id)
            assert after is not None
            assert after.state is (to if now is frm and to in MOVES[frm] else now)


@pytest.mark.parametrize(
    ("change", "settled"),
    [
        ("state = 'shown', shown = 'final:1'", True),
        ("state = 'shown', shown = '1'", False),
        ("state = 'shown', shown = 'final:1', address = json_set(address, '$.replaces', '9')", False),
        ("state = 'shown', shown = 'final:1', unwanted = 1", False),
        ("state = 'sending', shown = 'final:1'", False),
        ("state = 'wanted', kind = 'album'", False),
        ("state = 'shown', kind = 'album', shown = 'final:1,2'", True),
        ("state = 'wanted', kind = 'document'", True),
        ("state = 'unclear'", True),
        ("state = 'gone'", True),
    ],
)
async def test_a_job_is_delivered_once_none_of_its_messages_waits(db: Database, change: str, settled: bool) -> None:
    async with db.write() as tx:
        job_id = await add_job(tx)
        await messages.add_card(tx, "e", job_id, Address("chat", '1 "replaces":', user="7"), MessageState.WANTED)
        await tx.execute_fetchall(f"UPDATE messages SET {change}")
        assert not await jobs.deliver(tx, job_id)
        await jobs.move(tx, job_id, Q, R, now=1.0)
        await jobs.move(tx, job_id, R, P, now=2.0)
        assert await jobs.deliver(tx, job_id) is settled
        job = await jobs.get(tx, job_id)
    assert job is not None
    assert (job.state, job.ended_at) == (D if settled else P, 2.0)


async def test_of_two_processes_that_make_a_move_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "easel.db"
    async with await Database.open(path) as one, await Database.open(path) as two:
        async with one.write() as tx:
            ids = [await add_job(tx, event=f"e{i}") for i in range(30)]

        async def move(db: Database, job_id: int, to: JobState) -> bool:
            async with db.write() as tx:
                return await jobs.move(tx, job_id, Q, to, now=2.0)

        for job_id in ids:
            won = await asyncio.gather(move(one, job_id, R), move(two, job_id, C))
            assert sorted(won) == [False, True]
            async with two.read() as tx:
                job = await jobs.get(tx, job_id)
            assert job is not None
            assert job.state is (R if won[0] else C)


async def test_open_jobs_come_oldest_first(db: Database) -> None:
    async with db.write() as tx:
        ids = [await add_job(tx, event=f"e{i}") for i in range(4)]
        await jobs.claim(tx, [ids[1]], now=2.0)
        assert [job.id for job in await jobs.in_state(tx, Q)] == [ids[0], ids[2], ids[3]]
        assert [job.id for job in await jobs.in_state(tx, R)] == [ids[1]]


async def test_ones_own_jobs_come_newest_first(db: Database) -> None:
    async with db.write() as tx:
        ids = [await add_job(tx, event=f"e{i}", user=str(i % 2)) for i in range(6)]
        mine = [ids[4], ids[2], ids[0]]
        job = await jobs.get(tx, ids[0])
        assert job is not None
        person = job.person_id
        assert [j.id for j in await jobs.of_person(tx, person, limit=9)] == mine
        assert [j.id for j in await jobs.of_person(tx, person, limit=1, before=mine[0])] == [mine[1]]
        assert await jobs.of_person(tx, person, limit=9, pictured=True) == ()
        await a_picture(tx, ids[2], 0)
        assert [j.id for j in await jobs.of_person(tx, person, limit=9, pictured=True)] == [ids[2]]


async def a_picture(tx: Tx, job_id: int, index: int, size: int = 3) -> None:
    path = f"2026/01/02/{job_id}-{index}.png"
    await pictures.add(tx, drawn_picture(job_id, index, path=path, seed=7 + index, size=size), now=9.0)


async def test_pictures_come_in_order_and_replace_themselves(db: Database) -> None:
    async with db.write() as tx:
        one, two = await add_job(tx, event="1"), await add_job(tx, event="2")
        for index in (1, 0):
            await a_picture(tx, one, index)
        await a_picture(tx, one, 1, size=5)
        found = await pictures.of_job(tx, one)
        assert [(p.index, p.seed, p.bytes) for p in found] == [(0, 7, 3), (1, 8, 5)]
        assert await pictures.of_jobs(tx, [two, one]) == {one: found, two: ()}
        assert await pictures.of_jobs(tx, []) == {}
        assert await pictures.all_paths(tx) == {f"2026/01/02/{one}-0.png", f"2026/01/02/{one}-1.png"}


async def test_a_picture_keeps_how_it_was_drawn(db: Database) -> None:
    async with db.write() as tx:
        job = await add_job(tx)
        await a_picture(tx, job, 0)
        (plain,) = await pictures.of_job(tx, job)
        assert (plain.precision, plain.revision, plain.notes) == ("", "", ())
        info = ImageInfo(
            width=64,
            height=32,
            seconds=0.2,
            precision="fp32",
            revision="abc",
            notes=("prompt_cut", "x"),
            device="cpu",
            setup="a1b2",
        )
        await pictures.add(tx, replace(drawn_picture(job, path=plain.path, size=3), info=info), now=9.0)
        (again,) = await pictures.of_job(tx, job)
        assert again == Picture(plain.id, job, 0, 7, plain.path, 3, 9.0, **asdict(info))


async def test_the_files_that_jobs_start_from_are_known(db: Database) -> None:
    async with db.write() as tx:
        await add_job(tx, event="1")
        await add_job(tx, event="2", state=F)
        assert await jobs.source_files(tx) == {REQUEST.image, REQUEST.mask}
        await tx.execute_fetchall("UPDATE jobs SET mask = '' WHERE event = '2'")
        await tx.execute_fetchall("DELETE FROM ledger WHERE job_id = 1")
        await tx.execute_fetchall("DELETE FROM jobs WHERE event = '1'")
        assert await jobs.source_files(tx) == {REQUEST.image}
        await tx.execute_fetchall("""UPDATE jobs SET image = '', "references" = '["inputs/a", "inputs/b"]'""")
        assert await jobs.source_files(tx) == {"inputs/a", "inputs/b"}
