"""The ledger and the rules in real rows."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.audit import store as audit_rows
from bot.core.jobs import JobState
from bot.core.people import Actor
from bot.core.quotas import Limit, RuleTerms, Scope, Unit, Window
from bot.quotas.rules.limits import Measure, UsageEntry, UsageKey, sum_entries
from bot.quotas.rules.rule_resolution import WaitingJobs
from bot.quotas.rules.terms import parse_terms
from bot.quotas.store import ledger
from bot.quotas.store import rules as rule_rows
from bot.storage import jobs, people
from bot.storage.database import Database
from tests.fakes.empty_database import open_database
from tests.fakes.job_rows import add_job

EVERYWHERE = Measure(0.0, Unit.PICTURES, in_place=False, in_channel=False, by_owner=True)
ADA = UsageKey(1, 1, "c")


async def used(db: Database, *measures: Measure, asker: UsageKey = ADA, now: float = 1000.0) -> list[int]:
    async with db.read() as tx:
        found = await ledger.sum_used(tx, asker, measures, now=now)
    return [found[measure] for measure in measures]


async def test_a_reservation_counts_from_when_it_was_made(db: Database) -> None:
    async with db.write() as tx:
        await add_job(tx, event="1", guild="g", count=2, now=100.0)
        await add_job(tx, event="2", count=4, now=200.0)
        await add_job(tx, event="3", user="2", count=1, now=200.0)
    here = replace(EVERYWHERE, in_place=True)
    later, latest = replace(EVERYWHERE, since=100.0), replace(EVERYWHERE, since=200.0)
    assert await used(db, EVERYWHERE, here, later, latest) == [6, 2, 4, 0]
    assert await used(db, replace(here, since=99.0), replace(here, in_channel=True)) == [2, 0]
    assert await used(db, here, asker=UsageKey(1)) == [0]
    assert await used(db) == []


@pytest.mark.parametrize("days", [0.02, 2, 400])
async def test_what_was_counted_before_the_clock_was_set_back_counts_from_now_on(db: Database, days: float) -> None:
    then = 1_800_000_000.0
    now = then - days * 86400
    async with db.write() as tx:
        await add_job(tx, event="1", guild="g", count=1, now=now - 7 * 86400)
        await add_job(tx, event="2", guild="g", count=4, now=now - 3600)
        await add_job(tx, event="3", guild="g", count=2, now=then)
        open_job = await add_job(tx, event="4", count=3, now=then)
        await ledger.settle(tx, 3, painted=1, now=then)
        await add_job(tx, event="5", user="2", count=1, now=now - 60)
    async with db.write() as tx:
        assert await ledger.clamp_future(tx, now=now) == 4
        assert await ledger.clamp_future(tx, now=now) == 0
        await ledger.settle(tx, open_job, painted=3, now=now)
    day, here = replace(EVERYWHERE, since=now - 86400), replace(EVERYWHERE, since=now - 86400, in_place=True)
    assert await used(db, day, here, now=now) == [8, 5]
    assert await used(db, replace(day, since=now), now=now + 86400) == [0]
    async with db.read() as tx:
        assert await ledger.oldest_use(tx, ADA, replace(day, since=now - 60), now=now) == (now, 4)
        whole = await tx.execute_fetchall("SELECT sum(owner) FROM tallies WHERE person_id = 1")
    assert [row[0] for row in whole] == [9]


async def test_points_follow_what_each_picture_costs(db: Database) -> None:
    async with db.write() as tx:
        job_id = await add_job(tx, reserve=False)
        await ledger.reserve(
            tx, job_id=job_id, person_id=1, place_id=None, pictures=3, now=9.0, cost_each=250, free=1, free_here=1
        )
    points = replace(EVERYWHERE, unit=Unit.POINTS)
    assert await used(db, points, replace(points, by_owner=False)) == [500, 250]
    assert await used(db, EVERYWHERE, replace(EVERYWHERE, by_owner=False)) == [2, 1]


async def test_the_oldest_of_what_counts(db: Database) -> None:
    async def oldest(measure: Measure) -> tuple[float, int] | None:
        async with db.read() as tx:
            return await ledger.oldest_use(tx, ADA, measure, now=1000.0)

    assert await oldest(EVERYWHERE) is None
    async with db.write() as tx:
        gone = await add_job(tx, event="1", count=2, now=100.0)
        await add_job(tx, event="2", guild="g", count=2, now=150.0)
        await add_job(tx, event="3", count=4, now=150.0)
        await ledger.refund(tx, gone, now=120.0)
    assert await oldest(EVERYWHERE) == (150.0, 6)
    assert await oldest(replace(EVERYWHERE, in_place=True)) == (150.0, 2)


@given(
    lines=st.lists(
        st.tuples(
            st.sampled_from((0.0, 1.0, 899.0, 899.9999999, 900.0, 900.0000001, 1799.5, 1800.0, 5000.0)),
            st.sampled_from(((None, ""), (1, "c"), (1, "d"), (2, "c"))),
            st.integers(1, 4),
            st.integers(0, 2),
            st.integers(0, 2),
        ),
        max_size=12,
    ),
    sinces=st.lists(
        st.sampled_from((-1000.0, -1.0, 0.0, 898.5, 899.9999999, 900.0, 900.5, 1799.75, 4999.0)), min_size=1
    ),
    moved=st.booleans(),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_tallies_say_what_the_lines_say(
    lines: list[tuple[float, tuple[int | None, str], int, int, int]], sinces: list[float], moved: bool
) -> None:
    """Whatever windows begin where: what is summed up by slots is what each line counts for by itself."""

    async def look() -> None:
        async with await open_database(Path(folder) / "easel.db") as db, db.write() as tx:
            for number, (at, (place, channel), pictures, free, free_here) in enumerate(lines, 1):
                await add_job(tx, event=f"{number}", guild="g" if number % 2 else "h", reserve=False)
                whose = {"job_id": number, "person_id": 1, "place_id": place if number > 1 else None}
                costs = {"pictures": pictures, "cost_each": 250, "free": min(free, pictures), "free_here": 0}
                costs["free_here"] = min(free_here, pictures - costs["free"])
                await ledger.reserve(tx, **whose, **costs, channel=channel, now=at)  # type: ignore[arg-type]
                uses.append(
                    UsageEntry(
                        at,
                        pictures - costs["free"],
                        pictures - costs["free"] - costs["free_here"],
                        250,
                        whose["place_id"] == 1,
                        (whose["place_id"], channel) == (1, "c"),
                    )
                )
            asker = ADA
            if moved and lines:
                await add_job(tx, event="other", user="2", reserve=False)
                await tx.execute("UPDATE ledger SET person_id = 2")
                assert set((await ledger.sum_used(tx, ADA, measures, now=9999.0)).values()) == {0}
                asker = replace(ADA, person_id=2)
            assert await ledger.sum_used(tx, asker, measures, now=9999.0) == sum_entries(measures, uses)
            for measure in measures:
                known = [(use.at, use.counts(measure)) for use in uses if use.counts(measure)]
                first = min((at for at, _ in known), default=None)
                expected = None if first is None else (first, sum(n for at, n in known if at == first))
                assert await ledger.oldest_use(tx, asker, measure, now=9999.0) == expected

    uses: list[UsageEntry] = []
    measures = [
        Measure(since, unit, in_place=in_place, in_channel=in_channel, by_owner=by_owner)
        for since in dict.fromkeys(sinces)
        for unit in Unit
        for in_place, in_channel in ((False, False), (True, False), (True, True))
        for by_owner in (True, False)
    ]
    with TemporaryDirectory() as folder:
        asyncio.run(look())


async def test_tallies_are_kept_for_nine_days(db: Database) -> None:
    async with db.write() as tx:
        for event, at in (("1", 0.0), ("2", 86400.0), ("3", 9.5 * 86400.0)):
            await add_job(tx, event=event, now=at)
        rows = await tx.execute_fetchall("SELECT slot FROM tallies ORDER BY slot")
    assert [row[0] for row in rows] == [96, 912]


async def test_what_a_parted_account_drew_counts_too(db: Database) -> None:
    async with db.write() as tx:
        await add_job(tx, event="1", count=1, now=100.0)
        theirs = await add_job(tx, event="2", user="2", guild="g", count=4, now=200.0)
        await tx.execute("INSERT INTO carried (person_id, job_id) VALUES (1, ?)", (theirs,))
    measures = EVERYWHERE, replace(EVERYWHERE, in_place=True), replace(EVERYWHERE, since=200.0)
    assert await used(db, *measures) == [5, 4, 0]
    async with db.read() as tx:
        assert await ledger.oldest_use(tx, ADA, measures[1], now=1000.0) == (200.0, 4)


async def test_how_many_wait(db: Database) -> None:
    async with db.write() as tx:
        for event, state, guild in (
            ("1", "held", "g"),
            ("2", "running", None),
            ("3", "painted", "g"),
            ("4", "queued", "g"),
        ):
            await add_job(tx, event=event, state=JobState(state), guild=guild)
        await add_job(tx, event="5", user="2")
        await tx.execute("UPDATE jobs SET channel = 'c' WHERE id = 4")
        assert await ledger.count_waiting(tx, ADA) == WaitingJobs(3, 2, 1, first=1)
        assert await ledger.count_waiting(tx, UsageKey(1), exclude=1) == WaitingJobs(2, 0, 0, first=2)


@pytest.mark.parametrize("painted", [0, 1, 2])
async def test_settled_once_and_for_all(db: Database, painted: int) -> None:
    async with db.write() as tx:
        job_id = await add_job(tx, count=2, now=100.0)
        await ledger.settle(tx, job_id, painted=painted, now=500.0)
        for again in (2, 0, painted):
            await ledger.settle(tx, job_id, painted=again, now=600.0)
        await ledger.refund(tx, job_id, now=700.0)
        rows = await tx.execute_fetchall("SELECT sum(reserved), sum(charged), max(written_at) FROM ledger")
        assert [tuple(row) for row in rows] == [(0, painted, 500.0)]
    assert await used(db, EVERYWHERE) == [painted]


async def test_more_than_was_reserved_is_a_mistake(db: Database) -> None:
    async with db.write() as tx:
        job_id = await add_job(tx, count=2)
        with pytest.raises(ValueError, match="2 were reserved"):
            await ledger.settle(tx, job_id, painted=3, now=1.0)


async def test_what_was_not_reserved_is_not_settled(db: Database) -> None:
    async with db.write() as tx:
        job_id = await add_job(tx, reserve=False)
        await ledger.settle(tx, job_id, painted=2, now=1.0)
        assert not await tx.execute_fetchall("SELECT 1 FROM ledger")


async def test_a_job_is_reserved_once(db: Database) -> None:
    async with db.write() as tx:
        job_id = await add_job(tx)
        job = await jobs.get(tx, job_id)
        assert job is not None
        with pytest.raises(sqlite3.IntegrityError):
            await ledger.reserve(tx, job_id=job_id, person_id=job.person_id, place_id=None, pictures=1, now=1.0)


async def test_rules_are_set_replaced_found_and_taken_away(db: Database) -> None:
    everybody, here = Scope(), Scope(platform="discord", place="g")
    role = Scope(platform="discord", place="g", role="r")
    async with db.write() as tx:
        five, three, again = (
            RuleTerms((Limit(n, w),)) for n, w in ((5, Window.DAY), (3, Window.DAY), (None, Window.WEEK))
        )
        for scope in (everybody, here, role, Scope(platform="discord", place="h"), Scope(platform="telegram")):
            await rule_rows.put_rule(tx, scope, five, by_owner=True, set_by="operator", now=1.0)
        await rule_rows.put_rule(tx, here, three, by_owner=False, set_by="discord:1", now=1.0)
        await rule_rows.put_rule(tx, here, again, by_owner=True, set_by="operator", now=2.0)
        found = await rule_rows.rules_of_place(tx, "discord", "g")
        assert [(p.scope, p.terms, p.by_owner) for p in found] == [
            (everybody, five, True),
            (here, again, True),
            (role, five, True),
            (here, three, False),
        ]
        assert [p.scope for p in await rule_rows.rules_of_place(tx, "telegram", None)] == [
            everybody,
            Scope(platform="telegram"),
        ]
        assert len(await rule_rows.all_rules(tx)) == 6
        gone = await rule_rows.remove_rule(tx, here, by_owner=True)
        assert gone is not None
        assert gone.terms == again
        assert await rule_rows.remove_rule(tx, here, by_owner=True) is None
        kept = await rule_rows.get_rule(tx, here, by_owner=False)
        assert kept is not None
        assert kept.terms == three


async def test_rules_for_others_and_for_other_roles_are_left_out(db: Database) -> None:
    every = parse_terms("5/hour 20 points/calendar day at-once 2 count 3 size 640x480 steps 9 models demo,sdxl")
    scopes = [Scope(), *(Scope(platform="discord", person=person) for person in ("ann", "bob", "cy"))]
    scopes.append(Scope(platform="discord", place="g", channel="c"))
    scopes += (Scope(platform="discord", place="g", role=role) for role in ("r", "s"))
    ann = Actor("discord", "ann", roles=("s", "t"))
    async with db.write() as tx:
        for scope in scopes:
            await rule_rows.put_rule(tx, scope, every, by_owner=True, set_by="operator", now=1.0)
        person = await people.remember(tx, ann, now=1.0)
        found = await rule_rows.rules_of_person(tx, ann, "g", person.id)
        assert [p.scope for p in found] == [scopes[0], scopes[1], scopes[4], scopes[6]]
        assert {p.terms for p in found} == {every}
        # Cy is the same person, as linked accounts are.
        await tx.execute_fetchall(
            "INSERT INTO accounts (person_id, platform, user_id, created_at) VALUES (?, 'discord', 'cy', 1.0)",
            (person.id,),
        )
        assert [p.scope for p in await rule_rows.rules_of_person(tx, replace(ann, roles=()), "g", person.id)] == [
            scopes[i] for i in (0, 1, 3, 4)
        ]
        assert [p.scope for p in await rule_rows.rules_of_person(tx, Actor("discord", "new"), None, None)] == [Scope()]


async def test_changes_are_written_down_newest_first(db: Database) -> None:
    one = audit_rows.AuditEntry(1.0, "discord:1", "quota.set", "discord", "g", "", "5/day")
    two = audit_rows.AuditEntry(2.0, "operator", "quota.reset", before="5/day")
    async with db.write() as tx:
        await audit_rows.add(tx, one)
        await audit_rows.add(tx, two)
        assert [(e.id, replace(e, id=0)) for e in await audit_rows.recent(tx)] == [(2, two), (1, one)]
        assert [e.id for e in await audit_rows.recent(tx, 1)] == [2]
