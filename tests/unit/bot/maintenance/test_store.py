"""What does not come out is found, each fault by its name; and nothing is found where all is well."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.core.jobs import JobState
from bot.core.quotas import CreditKind
from bot.maintenance import store
from bot.quotas.rules.limits import UsageKey
from bot.quotas.store import ledger
from bot.quotas.store import ledger as credit_rows
from bot.quotas.store.ledger import Grant
from bot.storage import jobs, pictures
from bot.storage.database import Database, Tx
from tests.fakes.job_rows import add_job, drawn_picture, spend

ADA = UsageKey(1, 1)


async def all_is_well(tx: Tx) -> None:
    """Jobs 1 (drawn, one of two, one by a credit), 2 (running), 3 (held), 4 (held, then cancelled), 5 (cancelled)."""
    for number, state in enumerate(("running", "running", "held", "held", "queued"), 1):
        held = state == "held"
        await add_job(tx, event=str(number), guild="g", state=JobState(state), reserve=not held and number != 1)
    bonus = Grant(1, None, CreditKind.BONUS, 2, by_owner=True, expires_at=5000.0)
    await credit_rows.add_grant(tx, "gift", bonus, given_by="operator", now=1000.0)
    await spend(tx, ADA, 1, 2, by_owner=True, now=1000.0)
    await ledger.reserve(tx, job_id=1, person_id=1, place_id=1, pictures=2, now=1000.0, free=2)
    await jobs.move(tx, 1, JobState.RUNNING, JobState.PAINTED, now=1001.0)
    await pictures.add(tx, drawn_picture(1), now=1001.0)
    await ledger.settle(tx, 1, painted=1, now=1001.0)
    for number, state in ((4, JobState.HELD), (5, JobState.QUEUED)):
        await jobs.move(tx, number, state, JobState.CANCELLED, now=1002.0)
        await ledger.refund(tx, number, now=1002.0)


async def test_all_is_well(db: Database) -> None:
    async with db.write() as tx:
        await all_is_well(tx)
        assert await store.faults(tx) == ()
        # What somebody had forgotten was charged all the same.
        await tx.execute("DELETE FROM pictures")
        assert await store.faults(tx) == ()


LINE = "INSERT INTO ledger (job_id, person_id, place_id, kind, reserved, charged, counted_at, written_at) VALUES"


@pytest.mark.parametrize(
    ("spoil", "what", "number"),
    [
        ("DELETE FROM ledger WHERE job_id = 2", "job never reserved", 2),
        (f"{LINE} (3, 1, 1, 'reserve', 2, 0, 1, 1)", "job reserved while it is held", 3),
        ("DELETE FROM ledger WHERE job_id = 5 AND kind = 'refund'", "job not settled", 5),
        (f"{LINE} (2, 1, 1, 'charge', -2, 2, 1000, 1)", "job settled too early", 2),
        (
            "UPDATE ledger SET charged = 3 WHERE job_id = 1 AND kind = 'charge'",
            "job charged for more than was requested",
            1,
        ),
        ("UPDATE pictures SET job_id = 5", "job painted for nothing", 5),
        ("UPDATE ledger SET free = 3 WHERE job_id = 2", "job paid twice", 2),
        ("UPDATE ledger SET free = 1 WHERE job_id = 2", "job paid by no credits", 2),
        (
            "UPDATE ledger SET counted_at = 7 WHERE job_id = 1 AND kind = 'charge'",
            "job counted for two people or at two times",
            1,
        ),
        ("UPDATE tallies SET own = own + 1", "person tallied wrongly", 1),
        ("UPDATE credit_uses SET pictures = 9 WHERE kind = 'spend'", "credit overspent", 1),
        ("DELETE FROM credit_uses WHERE kind = 'spend'", "credit given back wrongly", 1),
    ],
    ids=str,
)
async def test_each_fault_is_found(db: Database, spoil: str, what: str, number: int) -> None:
    async with db.write() as tx:
        await all_is_well(tx)
        await tx.execute(spoil)
        assert store.Fault(what, number) in await store.faults(tx)


async def test_the_doctor_looks_at_a_file_that_a_service_uses(tmp_path: Path) -> None:
    path = tmp_path / "easel.db"
    assert await store.ledger_faults(path) is None
    async with await Database.open(path) as db:
        async with db.write() as tx:
            await all_is_well(tx)
        assert await store.ledger_faults(path) == ()
        async with db.write() as tx:
            await tx.execute("DELETE FROM ledger WHERE job_id = 2")
        found = await store.ledger_faults(path)
        assert found is not None
        assert found[0] == store.Fault("job never reserved", 2)
        async with db.write() as tx:
            await tx.execute("PRAGMA user_version = 1")
        assert await store.ledger_faults(path) is None
    path.write_bytes(b"no database, but long enough to be looked at" * 99)
    assert await store.ledger_faults(path) is None
