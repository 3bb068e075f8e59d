"""Job states, the ledger, rules and credits as a machine: verbs as rules on real rows, beside an oracle written by hand."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bot.model.actions import Action, Press
from bot.model.errors import NotFound, OverQuota, Refusal
from bot.model.jobs import MAX_ATTEMPTS, MOVES, Job, JobState
from bot.model.messages import Address, Ref
from bot.model.people import Actor, Place
from bot.model.quotas import CreditKind, Limit
from bot.model.requests import DrawForm
from bot.store import jobs, ledger_check, people, pictures, quotas
from bot.store.database import Database, Tx
from bot.usecases import changes, quota
from bot.usecases.asking import Asking
from bot.usecases.cancel import cancel
from bot.usecases.credits import CREDIT
from bot.usecases.draw import draw
from bot.usecases.house import House
from bot.usecases.policies import POLICY
from bot.usecases.press import reroll
from bot.usecases.reserve import reserve
from engine.catalogue import demo
from tests.fakes.clock import FakeClock
from tests.machines.ledger_oracle import DEFAULT, GUILDS, NO_BOUND, OPEN, WAITING, Changed, Expected, Extra, Oracle
from tests.store.rows import REQUEST
from tests.unit.bot.usecases.conftest import RecordingBacklog

T = TypeVar("T")

HOUR = 3600
PEOPLE = ("ada", "bob")
SETTLED = ("failed", "cancelled", "painted", "delivered")
OWNER = Actor("chat", "eve", "Eve", is_owner=True)
KINDS = {kind.name: kind for kind in (POLICY, CREDIT)}


class Ledger(RuleBasedStateMachine):
    """Two people in two guilds draw, cancel, crash and wait, owners and admins set rules, give, lend and take back:
    nothing is ever charged that was not painted, and nobody ever has more than they were given.
    """

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.oracle = Oracle(self.clock)
        self.events: dict[str, int] = {}
        self.log: list[Changed] = []
        self.numbers = itertools.count()
        self.looks = itertools.cycle(pair for both in itertools.product(PEOPLE, GUILDS) for pair in (both, ("", "")))
        path = Path(self.folder.name)
        (path / "easel.db").write_bytes(_fresh())
        self.db = self.run(Database.open(path / "easel.db"))
        self.house = House(
            db=self.db,
            backlog=RecordingBacklog(),
            clock=self.clock,
            profiles=lambda: (demo(),),
            pictures=path / "pictures",
            quota=Limit(DEFAULT),
        )

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            try:
                assert self.change(ledger_check.faults) == ()
            finally:
                self.run(self.db.close())
                self.runner.close()
                self.folder.cleanup()

    def run(self, work: Awaitable[T]) -> T:
        async def whole() -> T:
            return await work

        return self.runner.run(whole())

    def change(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        return self.run(self.whole(work))

    async def whole(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        async with self.db.write() as tx:
            return await work(tx)

    def outcome(self, work: Awaitable[T]) -> T | Refusal:
        try:
            return self.run(work)
        except Refusal as refusal:
            return refusal

    def place(self, guild: str) -> Place:
        return Place("chat", guild, f"{guild} channel")

    # Verbs: drawing.

    def ask(self, who: str, guild: str, count: int, work: Callable[[Actor, Place, Ref], Awaitable[Job]]) -> None:
        event = f"e{next(self.numbers)}"
        ref = Ref(event, Address("chat", f"{guild} channel"))
        if (
            job := self.admitted(who, guild, count, lambda: work(Actor("chat", who, who), self.place(guild), ref))
        ) is None:
            return
        assert job.id not in self.oracle.expected
        share = self.oracle.share(who, guild, count)
        assert share is not None
        self.oracle.expected[job.id] = Expected(who, guild, count, self.clock.now())
        self.oracle.pay(job.id, self.oracle.expected[job.id], share)
        self.events[event] = job.id

    def admitted(self, who: str, guild: str, count: int, work: Callable[[], Awaitable[T]], but: int = 0) -> T | None:
        """Do what admits a request, or see it refused in the right words."""
        fits = self.oracle.share(who, guild, count) is not None
        full = self.oracle.waiting(who, but) >= self.oracle.at_once
        done = self.outcome(work())
        if not isinstance(done, Refusal):
            assert fits
            assert not full
            return done
        assert isinstance(done, OverQuota)
        if full:
            assert done.key == "refusal.quota.at_once"
            assert done.params["n"] == self.oracle.waiting(who, but)
        else:
            assert not fits
            assert done.params.get("n", self.oracle.left(who, guild)) == self.oracle.left(who, guild)
        return None

    @rule(
        requests=st.lists(
            st.tuples(st.sampled_from(PEOPLE), st.sampled_from(GUILDS), st.integers(1, 4)), min_size=1, max_size=4
        )
    )
    def draw(self, requests: list[tuple[str, str, int]]) -> None:
        for who, guild, count in requests:
            self.ask(who, guild, count, partial(self.drawn, DrawForm("an apple", count=str(count))))

    def drawn(self, form: DrawForm, actor: Actor, place: Place, ref: Ref) -> Awaitable[Job]:
        return draw(self.house, actor, place, form, ref)

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def the_same_event_again(self, data: st.DataObject) -> None:
        event = data.draw(st.sampled_from(sorted(self.events)))
        was = self.oracle.expected[self.events[event]]
        form = DrawForm("an apple", count=str(was.count))
        job = self.run(draw(self.house, Actor("chat", was.who, was.who), self.place(was.guild), form, Ref(event)))
        assert job.id == self.events[event]

    @precondition(lambda self: self.oracle.expected)
    @rule(data=st.data(), who=st.sampled_from(PEOPLE))
    def press_reroll(self, data: st.DataObject, who: str) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.events.values()))) if self.events else 0
        if job_id:
            was = self.oracle.expected[job_id]
            press = Press(Action.REROLL, job_id)
            self.ask(who, was.guild, was.count, lambda actor, place, ref: reroll(self.house, actor, place, press, ref))

    @rule(who=st.sampled_from(PEOPLE), guild=st.sampled_from(GUILDS))
    def somebody_must_be_let_in(self, who: str, guild: str) -> None:
        """A request is held: it reserves nothing."""

        async def hold(tx: Tx) -> int:
            asking = await self.asking(tx, who, guild)
            new = jobs.NewJob(
                event=f"h{next(self.numbers)}",
                state=JobState.HELD,
                person_id=asking.person.id,
                account_id=asking.person.account_id,
                place_id=asking.place_id,
                request=REQUEST,
                locale="en",
                asker=who,
                created_at=asking.now,
            )
            return await jobs.add(tx, new)

        self.oracle.expected[self.change(hold)] = Expected(who, guild, REQUEST.count, self.clock.now(), state="held")

    async def asking(self, tx: Tx, who: str, guild: str) -> Asking:
        now, actor = self.clock.now(), Actor("chat", who, who)
        person = await people.remember(tx, actor, now=now)
        return Asking(
            actor, self.place(guild), person, await people.remember_place(tx, self.place(guild), now=now), now
        )

    @precondition(lambda self: self.any_in("held"))
    @rule(data=st.data())
    def an_owner_lets_it_in(self, data: st.DataObject) -> None:
        """It counts from now on, and stays held where it does not fit."""
        job_id, job = self.pick(data, "held")

        async def allow() -> bool:
            async with self.db.write() as tx:
                stored = await jobs.get(tx, job_id)
                assert stored is not None
                moved = await jobs.move(tx, job_id, JobState.HELD, JobState.QUEUED, now=self.clock.now())
                await reserve(tx, self.house, await self.asking(tx, job.who, job.guild), stored)
                return moved

        share = self.oracle.share(job.who, job.guild, job.count)
        if self.admitted(job.who, job.guild, job.count, allow, but=job_id):
            job.state, job.at = "queued", self.clock.now()
            assert share is not None
            self.oracle.pay(job_id, job, share)

    def pick(self, data: st.DataObject, state: str | None = None) -> tuple[int, Expected]:
        job_id = data.draw(st.sampled_from([i for i, e in self.oracle.expected.items() if state in {None, e.state}]))
        return job_id, self.oracle.expected[job_id]

    def any_in(self, state: str) -> bool:
        return any(e.state == state for e in self.oracle.expected.values())

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
        state, now = JobState.PAINTED if painted else JobState.FAILED, self.clock.now()

        async def end(tx: Tx) -> bool:
            moved = await jobs.move(tx, job_id, JobState.RUNNING, state, now=now, error="failed.failed")
            for index in range(painted):
                name = f"{job_id}-{index}"
                await pictures.add(
                    tx,
                    job_id=job_id,
                    index=index,
                    seed=index,
                    path=name,
                    width=64,
                    height=64,
                    size=1,
                    seconds=1.0,
                    now=now,
                )
            await quotas.settle(tx, job_id, painted=painted, now=now)
            return moved

        assert self.change(end)
        self.oracle.end(job_id, state.value, painted)

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
        if lost and job.attempts >= MAX_ATTEMPTS:
            self.oracle.end(job_id, "failed")
        else:
            job.state = "queued"
            job.attempts += lost

    @precondition(lambda self: self.oracle.expected)
    @rule(data=st.data())
    def press_cancel(self, data: st.DataObject) -> None:
        """Whoever asked presses cancel, at whatever state it is, as often as they like."""
        job_id, was = self.pick(data)
        _, won = self.run(cancel(self.house, Actor("chat", was.who, was.who), self.place(was.guild), job_id))
        assert won is (was.state in WAITING)
        if won:
            self.oracle.end(job_id, "cancelled")

    @precondition(lambda self: self.oracle.expected)
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
        self.clock.advance(hours * HOUR)

    # Verbs: rules and credits.

    def logged(self, what: str, before: int | None, after: int | None) -> None:
        """Note the newest entry of the log; a rule that was set to what it was leaves none."""
        if before != after:
            self.log.append(Changed(self.change(_newest), what, before, after))

    @rule(guild=st.sampled_from(GUILDS), number=st.integers(0, 6))
    def admin_sets_rule(self, guild: str, number: int) -> None:
        boss, before = Actor("chat", "boss", is_admin=True), self.oracle.rules[guild]
        try:
            self.run(quota.set_rule(self.house, boss, self.place(guild), f"{number}/day"))
        except OverQuota:
            assert number > self.oracle.default()
        else:
            assert number <= self.oracle.default()
            self.oracle.rules[guild] = number
            self.logged(guild, before, number)

    @precondition(lambda self: any(self.oracle.rules[guild] is not None for guild in GUILDS))
    @rule(guild=st.sampled_from(GUILDS))
    def admin_resets_rule(self, guild: str) -> None:
        boss, before = Actor("chat", "boss", is_admin=True), self.oracle.rules[guild]
        try:
            self.run(quota.reset(self.house, boss, self.place(guild)))
        except NotFound:
            assert before is None
        else:
            self.oracle.rules[guild] = None
            self.logged(guild, before, None)

    @rule(number=st.integers(2, 8))
    def owner_sets_rule(self, number: int) -> None:
        before = self.oracle.rules["owner"]
        self.run(quota.set_rule(self.house, OWNER, Place("chat", None, "dm"), f"{number}/day"))
        self.oracle.rules["owner"] = number
        self.logged("owner", before, number)

    @rule(number=st.sampled_from((2, 3, NO_BOUND)))
    def owner_bounds_what_waits(self, number: int) -> None:
        """A rule for the platform on something else stands beside the one on how many."""
        where = Actor("chat", "boss", is_owner=True)
        typed = "at-once 1000000" if number == NO_BOUND else f"at-once {number}"
        for who in PEOPLE:
            self.run(quota.set_rule(self.house, where, Place("chat", None, "dm"), typed, quota.Whom(person=who)))
        self.oracle.at_once = number

    @rule(
        who=st.sampled_from(PEOPLE),
        guild=st.sampled_from((None, *GUILDS)),
        number=st.integers(1, 5),
        hours=st.sampled_from((2, 12, 30)),
        kind=st.sampled_from(CreditKind),
    )
    def somebody_gives(self, who: str, guild: str | None, number: int, hours: int, kind: CreditKind) -> None:
        event = f"g{next(self.numbers)}"
        self.give(event, who, guild, number, hours, kind)
        extra = Extra(
            len(self.oracle.extras), who, guild, number, self.clock.now() + hours * HOUR, kind is CreditKind.BORROWED
        )
        self.oracle.extras[event] = extra
        self.logged(event, None, 1)

    def give(self, event: str, who: str, guild: str | None, number: int, hours: int, kind: CreditKind) -> None:
        actor = OWNER if guild is None else Actor("chat", "boss", is_admin=True)
        where = Place("chat", None, "dm") if guild is None else self.place(guild)
        words = {"person": who, "number": str(number), "span": f"{hours}h", "name": who}
        self.run(quota.give(self.house, actor, where, event=event, kind=kind, **words))

    @precondition(lambda self: self.oracle.extras)
    @rule(data=st.data(), number=st.integers(1, 5))
    def the_same_gift_again(self, data: st.DataObject, number: int) -> None:
        event = data.draw(st.sampled_from(sorted(self.oracle.extras)))
        extra = self.oracle.extras[event]
        self.give(event, extra.who, extra.guild, number, 3, CreditKind.BONUS)

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def somebody_undoes(self, data: st.DataObject) -> None:
        """Whatever was not undone or changed again since; what is left of a grant is taken back."""
        entry = self.log[data.draw(st.integers(0, len(self.log) - 1))]
        now = (
            self.oracle.rules[entry.what]
            if entry.what in self.oracle.rules
            else int(not self.oracle.extras[entry.what].revoked)
        )
        after = entry.after if entry.what in self.oracle.rules else int(entry.after is not None)

        async def undo(tx: Tx) -> object:
            return await changes.undo(tx, entry.number, KINDS, None, by="operator", now=self.clock.now())

        done = self.outcome(self.whole(undo))
        if isinstance(done, Refusal):
            assert (done.key == "refusal.change.undone") is entry.undone
            assert entry.undone or now != after
            return
        assert not entry.undone
        assert now == after
        entry.undone = True
        if entry.what in self.oracle.rules:
            self.oracle.rules[entry.what] = entry.before
        else:
            self.oracle.extras[entry.what].revoked = entry.before is None
        self.logged(entry.what, entry.after, entry.before)

    # What always holds.

    @invariant()
    def rows_are_as_expected(self) -> None:
        if not hasattr(self, "db"):
            return

        async def look() -> tuple[dict[int, str], list[tuple[int, ...]], list[int]]:
            async with self.db.read() as tx:
                states = {row[0]: row[1] for row in await tx.execute_fetchall("SELECT id, state FROM jobs")}
                sums = await tx.execute_fetchall(
                    "SELECT job_id, sum(reserved), sum(charged), sum(free), sum(free_here), min(counted_at),"
                    " max(counted_at), (SELECT count(*) FROM pictures WHERE pictures.job_id = ledger.job_id)"
                    " FROM ledger GROUP BY job_id"
                )
                uses = await tx.execute_fetchall(
                    "SELECT coalesce((SELECT sum(pictures) FROM credit_uses WHERE credit_id = credits.id), 0)"
                    " FROM credits ORDER BY id"
                )
                return states, [tuple(row) for row in sums], [row[0] for row in uses]

        states, sums, uses = self.runner.run(look())
        assert states == {i: e.state for i, e in self.oracle.expected.items()}
        counted = {i: e for i, e in sorted(self.oracle.expected.items()) if e.state != "held"}
        lines = [
            (i, e.count if e.state in OPEN else 0, e.kept, e.free, e.free_here, e.at, e.at, e.kept)
            for i, e in counted.items()
        ]
        # What was cancelled while it was held has no lines; whatever has lines comes out.
        known = {line[0] for line in sums}
        assert sums == [line for line in lines if line[0] in known]
        assert all(self.oracle.expected[line[0]].state == "cancelled" for line in lines if line[0] not in known)
        assert uses == [sum(x.spent.values()) for x in self.oracle.extras.values()]

    @invariant()
    def what_is_shown_is_what_is_left(self) -> None:
        if not hasattr(self, "db"):
            return
        # One after the other, every other step.
        who, guild = next(self.looks)
        if not who:
            return
        shown = self.run(quota.show(self.house, Actor("chat", who), self.place(guild)))
        assert shown.left == self.oracle.left(who, guild)
        assert sum(credit.left for credit in shown.credits) == sum(self.oracle.rooms(who, guild)[2:])


@cache
def _fresh() -> bytes:
    """A database with its tables and no rows: making them takes longer than all that an example does."""

    async def make(path: Path) -> bytes:
        await (await Database.open(path)).close()
        return path.read_bytes()  # noqa: ASYNC240 - nothing else runs here

    with TemporaryDirectory() as folder:
        return asyncio.run(make(Path(folder) / "easel.db"))


async def _newest(tx: Tx) -> int:
    rows = await tx.execute_fetchall("SELECT max(id) FROM audit")
    return int(next(iter(rows))[0])


TestLedger = Ledger.TestCase
TestLedger.settings = settings(
    max_examples=200, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
