"""Job states and the ledger as a machine: verbs as rules on real rows, beside an oracle written by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bot.model.actions import Action, Press
from bot.model.errors import OverQuota
from bot.model.jobs import MAX_ATTEMPTS, MOVES, Job, JobState
from bot.model.messages import Address, Ref
from bot.model.people import Actor, Place
from bot.model.quotas import Limit, Scope
from bot.model.requests import DrawForm
from bot.store import jobs, quotas
from bot.store.database import Database, Tx
from bot.usecases import admin, quota
from bot.usecases.cancel import cancel
from bot.usecases.draw import draw
from bot.usecases.house import House
from bot.usecases.press import reroll
from engine.catalogue import demo
from tests.fakes.clock import FakeClock
from tests.unit.bot.usecases.conftest import RecordingBacklog

T = TypeVar("T")

DAY = 86400
PEOPLE = ("ada", "bob")
GUILDS = ("red", "blue")
SETTLED = ("failed", "cancelled", "painted", "delivered")


@dataclass
class Expected:
    """What the oracle knows of a job."""

    who: str
    guild: str
    count: int
    at: float
    state: str = "queued"
    attempts: int = 0
    kept: int = 0
    """Pictures that it was charged for in the end."""

    def costs(self) -> int:
        return self.count if self.state in {"queued", "running"} else self.kept


class Ledger(RuleBasedStateMachine):
    """Two people in two guilds draw, cancel, crash and wait; nothing is ever charged that was not painted."""

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.backlog = RecordingBacklog()
        self.expected: dict[int, Expected] = {}
        self.events: dict[str, int] = {}
        self.default, self.own = 6, dict.fromkeys(GUILDS, 10**6)
        path = Path(self.folder.name)
        self.db = self.run(Database.open(path / "easel.db"))
        self.house = House(
            db=self.db,
            backlog=self.backlog,
            clock=self.clock,
            profiles=lambda: (demo(),),
            pictures=path / "pictures",
            quota=Limit(self.default),
        )

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.run(self.db.close())
            self.runner.close()
            self.folder.cleanup()

    def run(self, work: Awaitable[T]) -> T:
        async def whole() -> T:
            return await work

        return self.runner.run(whole())

    def change(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        async def whole() -> T:
            async with self.db.write() as tx:
                return await work(tx)

        return self.runner.run(whole())

    # The oracle's own arithmetic: no window but the day, no rule but the owner's and the guild's.

    def spent(self, who: str, guild: str | None = None) -> int:
        begin = self.clock.now() - DAY
        mine = (e for e in self.expected.values() if e.who == who and guild in {None, e.guild} and e.at > begin)
        return sum(e.costs() for e in mine)

    def fits(self, who: str, guild: str, count: int) -> bool:
        return self.spent(who) + count <= self.default and self.spent(who, guild) + count <= self.own[guild]

    # Verbs.

    def ask(self, who: str, guild: str, count: int, work: Callable[[Actor, Place, Ref], Awaitable[Job]]) -> None:
        event = f"e{len(self.events)}"
        actor, place = Actor("chat", who, who), Place("chat", guild, f"{guild} channel")
        ref = Ref(event, Address("chat", place.channel))
        fits = self.fits(who, guild, count)
        try:
            job = self.run(work(actor, place, ref))
        except OverQuota as refused:
            assert not fits
            left = refused.params.get("n", 0)
            spare = min(self.default - self.spent(who), self.own[guild] - self.spent(who, guild))
            assert left == max(0, spare)
            return
        assert fits
        assert job.id not in self.expected
        self.expected[job.id] = Expected(who, guild, count, self.clock.now())
        self.events[event] = job.id

    @rule(who=st.sampled_from(PEOPLE), guild=st.sampled_from(GUILDS), count=st.integers(1, 4))
    def draw(self, who: str, guild: str, count: int) -> None:
        form = DrawForm("an apple", count=str(count))
        self.ask(who, guild, count, lambda actor, place, ref: draw(self.house, actor, place, form, ref))

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def the_same_event_again(self, data: st.DataObject) -> None:
        event = data.draw(st.sampled_from(sorted(self.events)))
        was = self.expected[self.events[event]]
        actor, place = Actor("chat", was.who, was.who), Place("chat", was.guild, f"{was.guild} channel")
        job = self.run(draw(self.house, actor, place, DrawForm("an apple", count=str(was.count)), Ref(event)))
        assert job.id == self.events[event]

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), who=st.sampled_from(PEOPLE))
    def press_reroll(self, data: st.DataObject, who: str) -> None:
        job_id, was = self.pick(data)
        press = Press(Action.REROLL, job_id)
        self.ask(who, was.guild, was.count, lambda actor, place, ref: reroll(self.house, actor, place, press, ref))

    def pick(self, data: st.DataObject, state: str | None = None) -> tuple[int, Expected]:
        job_id = data.draw(st.sampled_from([i for i, e in self.expected.items() if state in {None, e.state}]))
        return job_id, self.expected[job_id]

    def any_in(self, state: str) -> bool:
        return any(e.state == state for e in self.expected.values())

    @precondition(lambda self: self.any_in("queued"))
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        job_id, job = self.pick(data, "queued")
        assert self.change(lambda tx: jobs.claim(tx, [job_id], now=self.clock.now())) == (job_id,)
        job.state = "running"

    @precondition(lambda self: self.any_in("running"))
    @rule(data=st.data(), missing=st.integers(0, 4))
    def paint(self, data: st.DataObject, missing: int) -> None:
        """All its pictures end; some may have failed, and if all have, so has the job."""
        job_id, job = self.pick(data, "running")
        painted = max(0, job.count - missing)
        state = JobState.PAINTED if painted else JobState.FAILED

        async def end(tx: Tx) -> bool:
            moved = await jobs.move(tx, job_id, JobState.RUNNING, state, now=self.clock.now(), error="failed.failed")
            await quotas.settle(tx, job_id, painted=painted, now=self.clock.now())
            return moved

        assert self.change(end)
        job.state, job.kept = state.value, painted

    @precondition(lambda self: self.any_in("painted"))
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        job_id, job = self.pick(data, "painted")
        now = self.clock.now()
        assert self.change(lambda tx: jobs.move(tx, job_id, JobState.PAINTED, JobState.DELIVERED, now=now))
        job.state = "delivered"

    @precondition(lambda self: self.any_in("running"))
    @rule(data=st.data(), lost=st.booleans())
    def give_back(self, data: st.DataObject, lost: bool) -> None:
        """The engine was lost, or the service stops: it waits again, or fails when that happened too often."""
        job_id, job = self.pick(data, "running")

        async def back(tx: Tx) -> bool:
            stored = await jobs.get(tx, job_id)
            assert stored is not None
            assert stored.attempts == job.attempts
            if lost and stored.attempts >= MAX_ATTEMPTS:
                moved = await jobs.move(tx, job_id, JobState.RUNNING, JobState.FAILED, now=self.clock.now())
                await quotas.refund(tx, job_id, now=self.clock.now())
                return moved
            return await jobs.requeue(tx, job_id, now=self.clock.now(), lost=lost)

        assert self.change(back)
        job.state = "failed" if lost and job.attempts >= MAX_ATTEMPTS else "queued"
        job.attempts += lost and job.state == "queued"

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def press_cancel(self, data: st.DataObject) -> None:
        """Whoever asked presses cancel, at whatever state it is, as often as they like."""
        job_id, was = self.pick(data)
        actor, place = Actor("chat", was.who, was.who), Place("chat", was.guild, f"{was.guild} channel")
        _, won = self.run(cancel(self.house, actor, place, job_id))
        assert won is (was.state in {"queued", "running"})
        if won:
            was.state = "cancelled"

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), move=st.sampled_from([(frm, to) for frm, targets in MOVES.items() for to in targets]))
    def somebody_was_quicker(self, data: st.DataObject, move: tuple[JobState, JobState]) -> None:
        """A move from a state that the job is not in any more changes nothing."""
        job_id, was = self.pick(data)
        if move[0].value != was.state:
            assert not self.change(lambda tx: jobs.move(tx, job_id, *move, now=0.0))

    @precondition(lambda self: any(self.any_in(state) for state in SETTLED))
    @rule(data=st.data(), painted=st.integers(0, 1))
    def settle_again(self, data: st.DataObject, painted: int) -> None:
        """What is settled stays as it is, whatever is said later."""
        job_id, _ = self.pick(data, next(state for state in SETTLED if self.any_in(state)))
        self.change(lambda tx: quotas.settle(tx, job_id, painted=painted, now=self.clock.now()))

    @rule(hours=st.sampled_from((1, 11, 24)))
    def wait(self, hours: int) -> None:
        self.clock.advance(hours * 3600)

    @rule(guild=st.sampled_from(GUILDS), pictures=st.integers(0, 6))
    def admin_sets_rule(self, guild: str, pictures: int) -> None:
        boss, place = Actor("chat", "boss", is_admin=True), Place("chat", guild, "any")
        try:
            self.run(quota.set_rule(self.house, boss, place, f"{pictures}/day"))
        except OverQuota:
            assert pictures > self.default
        else:
            assert pictures <= self.default
            self.own[guild] = pictures

    @rule(pictures=st.integers(2, 8))
    def owner_sets_rule(self, pictures: int) -> None:
        self.run(admin.set_quota(self.db, self.clock, f"{pictures}/day", Scope()))
        self.default = pictures

    # What always holds.

    @invariant()
    def rows_are_as_expected(self) -> None:
        if not hasattr(self, "db"):
            return

        async def look() -> tuple[dict[int, str], list[tuple[int, ...]]]:
            async with self.db.read() as tx:
                states = {row[0]: row[1] for row in await tx.execute_fetchall("SELECT id, state FROM jobs")}
                sums = await tx.execute_fetchall(
                    "SELECT job_id, sum(reserved), sum(charged), min(counted_at), max(counted_at)"
                    " FROM ledger GROUP BY job_id"
                )
                return states, [tuple(row) for row in sums]

        states, sums = self.runner.run(look())
        assert states == {i: e.state for i, e in self.expected.items()}
        open_ = {"queued", "running"}
        assert sums == [
            (i, e.count if e.state in open_ else 0, e.kept, e.at, e.at) for i, e in sorted(self.expected.items())
        ]

    @invariant()
    def what_is_shown_is_what_is_left(self) -> None:
        if not hasattr(self, "db"):
            return
        for who in PEOPLE:
            for guild in GUILDS:
                shown = self.run(quota.show(self.house, Actor("chat", who), Place("chat", guild, "any")))
                left = min(self.default - self.spent(who), self.own[guild] - self.spent(who, guild))
                assert shown.left == max(0, left)


TestLedger = Ledger.TestCase
TestLedger.settings = settings(
    max_examples=200, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
