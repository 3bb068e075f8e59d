"""Joining and parting accounts in any order: no job is lost, every account has one person, and no quota gets any fresher."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from bot.accounts import commands as account_commands
from bot.context import AppContext
from bot.core.errors import BadInput, NotAllowed
from bot.core.jobs import JobState
from bot.core.people import Actor
from bot.core.quotas import CreditKind, Limit, Unit
from bot.quotas.rules.limits import Measure, UsageKey
from bot.quotas.store import ledger
from bot.quotas.store import ledger as credit_rows
from bot.quotas.store.ledger import Grant
from bot.storage import jobs, people
from bot.storage.database import Database, Tx
from engine.families.z_image.spec import demo
from tests.fakes.clock import FakeClock
from tests.fakes.empty_database import open_database
from tests.fakes.job_rows import REQUEST, spend
from tests.unit.bot.conftest import RecordingBacklog

T = TypeVar("T")

WEEK = 7 * 86400.0
NAMES = ("chat:1", "chat:2", "web:3", "mail:4")
EVENTS = itertools.count()
NAME = st.sampled_from(NAMES)


@dataclass(slots=True)
class Counted:
    """Something that counts against a quota, and from when."""

    at: float
    pictures: int


class Linking(RuleBasedStateMachine):
    """Four accounts, two of them on one platform. The oracle is a set for each person of what counts for it."""

    ctx: AppContext
    runner: asyncio.Runner
    clock: FakeClock

    def run(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return self.runner.run(awaited())

    @initialize()
    def begin(self) -> None:
        # One database for all examples, each with people of its own: a new file takes longer than an example.
        self.example = next(EVENTS)
        self.groups = {name: frozenset({name}) for name in NAMES}
        self.counts: dict[frozenset[str], set[int]] = {group: set() for group in self.groups.values()}
        self.ledger: dict[int, Counted] = {}
        self.drawn: dict[int, str] = {}
        self.seen: dict[str, int] = {}
        for name in NAMES:
            self.run(self._remember(name))

    @rule(name=NAME, count=st.integers(1, 4))
    def draw(self, name: str, count: int) -> None:
        job_id = self.run(self._draw(name, count))
        self.drawn[job_id] = name
        self.ledger[job_id] = Counted(self.clock.now(), count)
        self.counts[self.groups[name]].add(job_id)

    @rule(data=st.data())
    def paint(self, data: st.DataObject) -> None:
        if self.drawn:
            job_id = data.draw(st.sampled_from(sorted(self.drawn)))
            painted = data.draw(st.integers(0, self.ledger[job_id].pictures))
            if self.run(self._settle(job_id, painted)):
                self.ledger[job_id].pictures = painted

    @rule(name=NAME, pictures=st.integers(1, 3), lent_for=st.sampled_from([1.0, WEEK / 2]))
    def borrow(self, name: str, pictures: int, lent_for: float) -> None:
        """Spend something lent at once: it counts from when it is due, and then like what was drawn."""
        job_id = self.run(self._borrow(name, pictures, lent_for))
        self.drawn[job_id] = name
        self.ledger[job_id] = Counted(self.clock.now() + lent_for, pictures)
        self.counts[self.groups[name]].add(job_id)

    @rule(asks=NAME, types=NAME)
    def join(self, asks: str, types: str) -> None:
        one, other = self.groups[asks], self.groups[types]
        code = self.run(account_commands.create_code(self.ctx, self._actor(asks)))
        joining = account_commands.link(self.ctx, self._actor(types), code)
        if one == other:
            with pytest.raises(BadInput):
                self.run(joining)
        elif {name[:4] for name in one} & {name[:4] for name in other}:
            with pytest.raises(NotAllowed):
                self.run(joining)
        else:
            assert self.run(joining) == asks
            self._regroup({one | other: self.counts.pop(one) | self.counts.pop(other)})

    @rule(name=NAME)
    def part(self, name: str) -> None:
        group, alone = self.groups[name], frozenset({name})
        if group == alone:
            with pytest.raises(NotAllowed):
                self.run(account_commands.unlink(self.ctx, self._actor(name)))
        else:
            self.run(account_commands.unlink(self.ctx, self._actor(name)))
            counted = self.counts.pop(group)
            self._regroup({alone: set(counted), group - alone: set(counted)})

    @rule(days=st.sampled_from([0.5, 3.0, 6.9]))
    def wait(self, days: float) -> None:
        self.clock.advance(days * 86400)

    @invariant()
    def nothing_is_lost_and_nothing_gets_fresher(self) -> None:
        now = self.clock.now()
        owners, asked, used = self.run(self._look())
        assert {name: owners[name] for name in NAMES} == owners
        for group, counted in self.counts.items():
            assert len({owners[name] for name in group}) == 1
            due = [c for i in counted if now - WEEK < (c := self.ledger[i]).at <= now]
            assert used[owners[min(group)]] == sum(c.pictures for c in due), (group, self.groups)
        assert len(set(owners.values())) == len(self.counts)
        assert asked == {job_id: owners[name] for job_id, name in self.drawn.items()}

    def _regroup(self, new: dict[frozenset[str], set[int]]) -> None:
        self.counts |= new
        self.groups |= {name: group for group in new for name in group}

    def _actor(self, name: str) -> Actor:
        return Actor(name.partition(":")[0], f"{self.example}/{name}", name)

    async def _remember(self, name: str) -> None:
        async with self.ctx.db.write() as tx:
            await people.remember(tx, self._actor(name), now=self.clock.now())

    async def _draw(self, name: str, count: int, free: int = 0) -> int:
        async with self.ctx.db.write() as tx:
            return await self._add(tx, name, count, free)

    async def _add(self, tx: Tx, name: str, count: int, free: int) -> int:
        now = self.clock.now()
        person = await people.remember(tx, self._actor(name), now=now)
        event = f"test:{next(EVENTS)}"
        new = jobs.NewJob(event, JobState.QUEUED, person.id, person.account_id, None, REQUEST, "en", "", now)
        job_id = (await jobs.add(tx, new)).id
        await ledger.reserve(
            tx, job_id=job_id, person_id=person.id, place_id=None, pictures=count, now=now, free=free, free_here=0
        )
        return job_id

    async def _borrow(self, name: str, pictures: int, lent_for: float) -> int:
        now = self.clock.now()
        async with self.ctx.db.write() as tx:
            job_id = await self._add(tx, name, pictures, pictures)
            person = await people.remember(tx, self._actor(name), now=now)
            grant = Grant(person.id, None, CreditKind.BORROWED, pictures, by_owner=True, expires_at=now + lent_for)
            await credit_rows.add_grant(tx, f"test:{next(EVENTS)}", grant, given_by="operator", now=now)
            await spend(tx, UsageKey(person.id), job_id, pictures, by_owner=True, now=now)
            await ledger.settle(tx, job_id, painted=pictures, now=now)
        return job_id

    async def _settle(self, job_id: int, painted: int) -> bool:
        async with self.ctx.db.write() as tx:
            rows = await tx.execute_fetchall("SELECT count(*) FROM ledger WHERE job_id = ?", (job_id,))
            await ledger.settle(tx, job_id, painted=painted, now=self.clock.now())
            return bool(next(iter(rows))[0] == 1)

    async def _look(self) -> tuple[dict[str, int], dict[int, int], dict[int, int]]:
        """Return each account's person, the person of each job and its ledger lines, and what counts for each person."""
        now = self.clock.now()
        owners, used = {}, {}
        measure = Measure(now - WEEK, Unit.PICTURES, in_place=False, in_channel=False, by_owner=True)
        async with self.ctx.db.read() as tx:
            rows = await tx.execute_fetchall(
                "SELECT a.name, p.id FROM accounts a JOIN people p ON p.id = a.person_id WHERE a.user_id IN (?, ?, ?, ?)",
                [f"{self.example}/{name}" for name in NAMES],
            )
            owners = {str(row[0]): int(row[1]) for row in rows}
            for person_id in set(owners.values()):
                used[person_id] = (await ledger.sum_used(tx, UsageKey(person_id), [measure], now=now))[measure]
            marks = ", ".join(str(job_id) for job_id in self.drawn)
            rows = await tx.execute_fetchall(
                "SELECT j.id, j.person_id FROM jobs j JOIN ledger l ON l.job_id = j.id AND l.person_id = j.person_id"
                f" WHERE j.id IN ({marks})"
            )
        return owners, {int(row[0]): int(row[1]) for row in rows}, used


@pytest.mark.slow
def test_joining_and_parting_in_any_order(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        db = runner.run(open_database(tmp_path / "easel.db"))

        async def hasten() -> None:
            # What is durable is not the question here.
            await db._writer.execute_fetchall("PRAGMA synchronous = OFF")

        runner.run(hasten())
        clock = FakeClock()

        class Here(Linking):
            """The machine on this database."""

        Here.runner, Here.clock = runner, clock
        Here.ctx = AppContext(
            db=db,
            backlog=RecordingBacklog(),
            clock=clock,
            profiles=lambda: (demo(),),
            pictures=tmp_path,
            default_quota=Limit(None),
        )
        checks = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)
        run_state_machine_as_test(
            Here,
            settings=settings(max_examples=100, stateful_step_count=8, deadline=None, suppress_health_check=checks),
        )
        runner.run(_whole(db))
        runner.run(db.close())


async def _whole(db: Database) -> None:
    async with db.read() as tx:
        assert not list(await tx.execute_fetchall("PRAGMA foreign_key_check"))
        lonely = await tx.execute_fetchall("SELECT id FROM people WHERE id NOT IN (SELECT person_id FROM accounts)")
        assert not list(lonely)
