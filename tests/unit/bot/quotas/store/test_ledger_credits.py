"""Credits in real rows: spent first to expire first, given back the other way round, due once their time is over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.core.quotas import CreditKind
from bot.quotas.rules.limits import UsageEntry, UsageKey
from bot.quotas.store import ledger
from bot.quotas.store import ledger as credit_rows
from bot.quotas.store.ledger import Grant
from bot.storage.database import Database, Tx
from tests.fakes.job_rows import add_job, spend

ADA = UsageKey(1, 1, "c")
ELSEWHERE = UsageKey(1, 2)
OWNERS = Grant(1, None, CreditKind.BONUS, 3, by_owner=True, expires_at=500.0)
PLACES = Grant(1, 1, CreditKind.BONUS, 2, by_owner=False, expires_at=400.0)


async def give(tx: Tx, **grants: Grant) -> None:
    """Somebody, a place, a job of two pictures there without a reservation, and what they are given."""
    await add_job(tx, event="1", guild="g", count=2, reserve=False)
    for event, grant in grants.items():
        await credit_rows.add_grant(tx, event, grant, given_by="operator", now=100.0)


async def left(tx: Tx, asker: UsageKey = ADA, now: float = 200.0) -> list[tuple[int, int]]:
    return [(credit.id, credit.left) for credit in await credit_rows.available_credits(tx, asker, now=now)]


async def test_what_somebody_may_spend_and_where(db: Database) -> None:
    here = replace(OWNERS, place_id=1, expires_at=300.0)
    async with db.write() as tx:
        await give(tx, owners=OWNERS, places=PLACES, here=here, theirs=replace(OWNERS, expires_at=199.0))
        assert await left(tx) == [(3, 3), (2, 2), (1, 3)]
        assert await left(tx, ELSEWHERE) == await left(tx, UsageKey(1)) == [(1, 3)]
        assert await left(tx, UsageKey(2)) == []
        assert await left(tx, now=300.0) == [(2, 2), (1, 3)]
        assert await left(tx, now=500.0) == []


async def test_the_first_to_expire_is_spent_first_and_comes_back_last(db: Database) -> None:
    async with db.write() as tx:
        await give(tx, late=replace(OWNERS, expires_at=900.0), soon=OWNERS, places=PLACES)
        await spend(tx, ADA, 1, 4, by_owner=True, now=200.0)
        assert await left(tx) == [(3, 2), (1, 2)]
        await credit_rows.return_credits(tx, 1, 2, by_owner=True, now=210.0)
        assert await left(tx) == [(3, 2), (2, 1), (1, 3)]
        with pytest.raises(ValueError, match="1 credits are missing"):
            await spend(tx, ADA, 1, 3, by_owner=False, now=200.0)


@pytest.mark.parametrize(("painted", "expected"), [(2, [(1, 2)]), (1, [(1, 3)]), (0, [(2, 1), (1, 3)])], ids=str)
async def test_what_is_not_painted_gives_credits_back_first(
    db: Database, painted: int, expected: list[tuple[int, int]]
) -> None:
    async with db.write() as tx:
        await give(tx, owners=OWNERS, places=replace(PLACES, pictures=1))
        await spend(tx, ADA, 1, 1, by_owner=True, now=200.0)
        await spend(tx, ADA, 1, 1, by_owner=False, now=200.0)
        await ledger.reserve(tx, job_id=1, person_id=1, place_id=1, pictures=2, now=200.0, free=1, free_here=1)
        for again in (painted, 0, 2):
            await ledger.settle(tx, 1, painted=again, now=210.0)
        assert await left(tx) == expected
        rows = await tx.execute_fetchall("SELECT sum(reserved), sum(charged) - sum(free) - sum(free_here) FROM ledger")
        assert [tuple(row) for row in rows] == [(0, 0)]


async def test_what_is_given_back_too_late_is_gone(db: Database) -> None:
    async with db.write() as tx:
        await give(tx, owners=OWNERS)
        await spend(tx, ADA, 1, 2, by_owner=True, now=200.0)
        await ledger.reserve(tx, job_id=1, person_id=1, place_id=1, pictures=2, now=200.0, free=2)
        await ledger.refund(tx, 1, now=600.0)
        assert await left(tx, now=600.0) == []


async def test_an_event_gives_once_and_can_be_taken_back(db: Database) -> None:
    async with db.write() as tx:
        await give(tx, owners=OWNERS)
        await credit_rows.add_grant(tx, "owners", replace(OWNERS, pictures=9), given_by="operator", now=150.0)
        assert await credit_rows.grant_of_event(tx, "owners") == OWNERS
        await spend(tx, ADA, 1, 2, by_owner=True, now=200.0)
        await credit_rows.revoke_grant(tx, "owners", now=210.0)
        assert (await left(tx), await credit_rows.grant_of_event(tx, "owners")) == ([], None)
        assert await credit_rows.was_granted(tx, "owners")
        await credit_rows.add_grant(tx, "owners", OWNERS, given_by="operator", now=220.0)
        assert await left(tx) == [(1, 1)]


async def test_what_was_borrowed_and_spent_is_due_once_its_time_is_over(db: Database) -> None:
    lent = replace(OWNERS, kind=CreditKind.BORROWED)
    own = replace(PLACES, kind=CreditKind.BORROWED)
    async with db.write() as tx:
        await give(tx, lent=lent, own=own)
        await spend(tx, ADA, 1, 2, by_owner=True, now=200.0)
        await spend(tx, ADA, 1, 1, by_owner=False, now=200.0)
        await ledger.reserve(
            tx, job_id=1, person_id=1, place_id=1, pictures=2, now=200.0, cost_each=250, channel="c", free=2
        )
        assert await ledger.other_uses(tx, ADA, since=0.0, now=399.0) == ()
        places = UsageEntry(400.0, 0, 1, 250, here=True, in_channel=True)
        assert await ledger.other_uses(tx, ADA, since=0.0, now=400.0) == (places,)
        owners = UsageEntry(500.0, 2, 2, 250, here=False, in_channel=False)
        assert await ledger.other_uses(tx, ELSEWHERE, since=400.0, now=500.0) == (owners,)
        assert await ledger.other_uses(tx, ELSEWHERE, since=500.0, now=900.0) == ()
        # Nothing is due for what was given back.
        await credit_rows.return_credits(tx, 1, 2, by_owner=True, now=600.0)
        assert await ledger.other_uses(tx, ELSEWHERE, since=400.0, now=500.0) == ()


async def test_what_a_parted_account_had_borrowed_is_due_for_both(db: Database) -> None:
    async with db.write() as tx:
        await give(tx, lent=replace(OWNERS, kind=CreditKind.BORROWED))
        await spend(tx, ADA, 1, 2, by_owner=True, now=200.0)
        await ledger.reserve(tx, job_id=1, person_id=1, place_id=1, pictures=2, now=200.0, free=2)
        await add_job(tx, event="2", user="2", guild="g", count=1, reserve=False)
        await tx.execute("INSERT INTO carried_credits (person_id, credit_id, until) VALUES (2, 1, 250.0)")
        await spend(tx, ADA, 2, 1, by_owner=True, now=300.0)
        await ledger.reserve(tx, job_id=2, person_id=1, place_id=1, pictures=1, now=300.0, free=1)
        assert [use.owner for use in await ledger.other_uses(tx, ADA, since=0.0, now=500.0)] == [2, 1]
        assert [use.owner for use in await ledger.other_uses(tx, UsageKey(2), since=0.0, now=500.0)] == [2]
