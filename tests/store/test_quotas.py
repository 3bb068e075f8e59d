"""The ledger and the rules in real rows."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from bot.model.quotas import Limit, Scope, Window
from bot.policy.quotas import Use
from bot.store import audit, jobs, policies, quotas
from bot.store.database import Database
from tests.store.rows import a_job


async def uses(db: Database, since: float = 0.0, place_id: int | None = None) -> tuple[Use, ...]:
    async with db.read() as tx:
        return await quotas.uses(tx, 1, since=since, place_id=place_id)


async def test_a_reservation_counts_from_when_it_was_made(db: Database) -> None:
    async with db.write() as tx:
        await a_job(tx, event="1", guild="g", count=2, now=100.0)
        await a_job(tx, event="2", count=4, now=200.0)
        await a_job(tx, event="3", user="2", count=1, now=200.0)
    assert await uses(db, place_id=1) == (Use(100.0, 2, here=True), Use(200.0, 4, here=False))
    assert await uses(db, since=100.0) == (Use(200.0, 4, here=False),)
    assert await uses(db, since=200.0) == ()


@pytest.mark.parametrize("painted", [0, 1, 2])
async def test_settled_once_and_for_all(db: Database, painted: int) -> None:
    async with db.write() as tx:
        job_id = await a_job(tx, count=2, now=100.0)
        await quotas.settle(tx, job_id, painted=painted, now=500.0)
        for again in (2, 0, painted):
            await quotas.settle(tx, job_id, painted=again, now=600.0)
        await quotas.refund(tx, job_id, now=700.0)
        rows = await tx.execute_fetchall("SELECT sum(reserved), sum(charged), max(written_at) FROM ledger")
        assert [tuple(row) for row in rows] == [(0, painted, 500.0)]
    assert await uses(db) == ((Use(100.0, painted, here=False),) if painted else ())


async def test_more_than_was_reserved_is_a_mistake(db: Database) -> None:
    async with db.write() as tx:
        job_id = await a_job(tx, count=2)
        with pytest.raises(ValueError, match="2 were reserved"):
            await quotas.settle(tx, job_id, painted=3, now=1.0)


async def test_what_was_not_reserved_is_not_settled(db: Database) -> None:
    async with db.write() as tx:
        job_id = await a_job(tx, reserve=False)
        await quotas.settle(tx, job_id, painted=2, now=1.0)
        assert not await tx.execute_fetchall("SELECT 1 FROM ledger")


async def test_a_job_is_reserved_once(db: Database) -> None:
    async with db.write() as tx:
        job_id = await a_job(tx)
        job = await jobs.get(tx, job_id)
        assert job is not None
        with pytest.raises(sqlite3.IntegrityError):
            await quotas.reserve(tx, job_id=job_id, person_id=job.person_id, place_id=None, pictures=1, now=1.0)


async def test_rules_are_set_replaced_found_and_taken_away(db: Database) -> None:
    everybody, here = Scope(), Scope(platform="discord", place="g")
    role = Scope(platform="discord", place="g", role="r")
    async with db.write() as tx:
        for scope in (everybody, here, role, Scope(platform="discord", place="h"), Scope(platform="telegram")):
            assert await policies.put(tx, scope, Limit(5), by_owner=True, set_by="operator", now=1.0) is None
        assert await policies.put(tx, here, Limit(3), by_owner=False, set_by="discord:1", now=1.0) is None
        again = Limit(None, Window.WEEK)
        assert await policies.put(tx, here, again, by_owner=True, set_by="operator", now=2.0) == Limit(5)
        found = await policies.concerning(tx, "discord", "g")
        assert [(p.scope, p.limit, p.by_owner) for p in found] == [
            (everybody, Limit(5), True),
            (here, again, True),
            (role, Limit(5), True),
            (here, Limit(3), False),
        ]
        assert [p.scope for p in await policies.concerning(tx, "telegram", None)] == [
            everybody,
            Scope(platform="telegram"),
        ]
        assert len(await policies.all_rules(tx)) == 6
        gone = await policies.remove(tx, here, by_owner=True)
        assert gone is not None
        assert gone.limit == again
        assert await policies.remove(tx, here, by_owner=True) is None
        kept = await policies.get(tx, here, by_owner=False)
        assert kept is not None
        assert kept.limit == Limit(3)


async def test_changes_are_written_down_newest_first(db: Database) -> None:
    one = audit.Entry(1.0, "discord:1", "quota.set", "discord", "g", "", "5/day")
    two = audit.Entry(2.0, "operator", "quota.reset", before="5/day")
    async with db.write() as tx:
        await audit.add(tx, one)
        await audit.add(tx, two)
        assert [(e.id, replace(e, id=0)) for e in await audit.recent(tx)] == [(2, two), (1, one)]
        assert [e.id for e in await audit.recent(tx, 1)] == [2]
