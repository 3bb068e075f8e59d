"""Bodies that run in the database's thread: whole transactions that end in every case."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from bot.core.errors import Unavailable
from bot.storage.database import Database, Tx


async def count(tx: Tx) -> int:
    return int(next(iter(await tx.execute_fetchall("SELECT count(*) FROM options")))[0])


async def add(tx: Tx, name: str = "one") -> str:
    """Add a row; returns the name of the thread."""
    await tx.execute_fetchall("INSERT INTO options (place_id, name, value) VALUES (0, ?, '1')", (name,))
    assert await count(tx)
    return threading.current_thread().name


async def test_the_body_runs_in_another_thread_and_its_result_comes_back(db: Database) -> None:
    assert await db.run_write(add) != threading.current_thread().name
    assert await db.run_read(count) == 1
    async with db.read() as tx:
        assert await count(tx) == 1


async def test_a_body_that_raises_leaves_nothing(db: Database) -> None:
    async def fail(tx: Tx) -> None:
        await add(tx)
        raise KeyError("planted")

    with pytest.raises(KeyError):
        await db.run_write(fail)
    assert await db.run_read(count) == 0
    await db.run_write(add)
    assert await db.run_read(count) == 1


async def test_a_body_that_waits_for_something_else_is_refused(db: Database) -> None:
    async def wait(tx: Tx) -> None:
        await add(tx)
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="something else"):
        await db.run_write(wait)
    assert await db.run_read(count) == 0


async def test_a_reading_body_can_not_write(db: Database) -> None:
    with pytest.raises(Unavailable, match="unwritable"):
        await db.run_read(add)
    assert await db.run_read(count) == 0


async def test_a_cancelled_caller_leaves_no_transaction_open(db: Database) -> None:
    begun, held = threading.Event(), threading.Event()

    async def hold(tx: Tx) -> int:
        begun.set()
        held.wait(20)
        return await count(tx)

    first = asyncio.create_task(db.run_read(hold))
    assert await asyncio.to_thread(begun.wait, 20)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    held.set()
    async with db.read() as tx:
        assert await count(tx) == 0
    assert await db.run_read(count) == 0


async def test_many_at_once_are_all_written(db: Database) -> None:
    await asyncio.gather(*(db.run_write(partial(add, name=str(n))) for n in range(20)))
    assert await db.run_read(count) == 20
