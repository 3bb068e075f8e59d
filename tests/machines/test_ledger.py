"""Job states, the ledger, rules and credits as a machine: actions as rules on real rows, beside an oracle written by hand."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from bot.audit import changes
from bot.context import AdmissionContext, AppContext, load_admission_context
from bot.core.cards import ButtonPress
from bot.core.errors import NotFound, OverQuota, Refusal
from bot.core.jobs import MAX_ATTEMPTS, MOVES, Job, JobState
from bot.core.messages import Address, EventRef
from bot.core.people import Actor, Place
from bot.core.quotas import CreditKind, Limit
from bot.core.requests import DrawForm
from bot.drawing.admission import DOUBLE_PRESS_SECONDS, RepeatedPress, draw
from bot.drawing.job_actions import cancel, reroll
from bot.maintenance import store
from bot.quotas import service as quota_service
from bot.quotas.changes import CREDIT, QUOTA_RULE
from bot.quotas.store import ledger
from bot.quotas.store import rules as rule_rows
from bot.quotas.usage import reserve
from bot.storage import jobs, people, pictures
from bot.storage.database import Tx
from engine.families.z_image.spec import demo
from tests.fakes.clock import FakeClock
from tests.fakes.empty_database import open_database
from tests.fakes.job_rows import REQUEST, drawn_picture
from tests.machines.ledger_oracle import DEFAULT, GUILDS, NO_BOUND, OPEN, WAITING, Changed, Expected, Extra, Oracle
from tests.unit.bot.conftest import RecordingBacklog

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

T = TypeVar("T")

HOUR = 3600
PEOPLE = ("ada", "bob")
SETTLED = ("failed", "cancelled", "painted", "delivered")
OWNER = Actor("chat", "eve", "Eve", is_owner=True)
KINDS = {kind.name: kind for kind in (QUOTA_RULE, CREDIT)}


def some(*actions: str) -> st.SearchStrategy[list[str]]:
    """A few actions, one after the other."""
    return st.lists(st.sampled_from(actions), min_size=2, max_size=6)


class Ledger(RuleBasedStateMachine):
    """Two people in two guilds draw, cancel, crash and wait, owners and admins set rules, give, lend and take back:
    nothing is ever charged that was not painted, and nobody ever has more than they were given.
    """

    @initialize(
        data=st.data(),
        actions=some("admin_sets_rule", "somebody_gives", "somebody_gives", "draw", "draw_until_refused"),
    )
    def begin(self, data: st.DataObject, actions: list[str]) -> None:
        """A guild may have a rule already, and people may have been given something."""
        self.folder = TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.oracle = Oracle(self.clock)
        self.events: dict[str, int] = {}
        self.pressed: dict[tuple[str, int], tuple[int, float]] = {}
        self.log: list[Changed] = []
        self.numbers = itertools.count()
        self.looks = itertools.cycle(pair for both in itertools.product(PEOPLE, GUILDS) for pair in (both, ("", "")))
        path = Path(self.folder.name)
        self.db = self.run(open_database(path / "easel.db"))
        # Nothing is killed here: waiting for the disk would be most of the time.
        self.run(self.db._writer.execute_fetchall("PRAGMA synchronous = OFF"))
        self.ctx = AppContext(
            db=self.db,
            backlog=RecordingBacklog(),
            clock=self.clock,
            profiles=lambda: (demo(),),
            pictures=path / "pictures",
            default_quota=Limit(DEFAULT),
        )
        self.do(data, actions)

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            try:
                assert self.change(store.faults) == ()
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

    # Each step is a few actions of one sort: one action a step would seldom bring those together that matter to each other.

    @rule(
        data=st.data(),
        actions=some("draw", "draw_until_refused", "press_reroll", "the_same_event_again", "somebody_must_be_let_in"),
    )
    def people_ask(self, data: st.DataObject, actions: list[str]) -> None:
        self.do(data, actions)

    @rule(data=st.data(), actions=some("claim", "paint", "paint", "deliver", "give_back", "an_owner_lets_it_in"))
    def drawing_goes_on(self, data: st.DataObject, actions: list[str]) -> None:
        self.do(data, actions)

    @rule(data=st.data(), actions=some("press_cancel", "somebody_was_quicker", "settle_again", "wait"))
    def things_happen(self, data: st.DataObject, actions: list[str]) -> None:
        self.do(data, actions)

    @rule(
        data=st.data(),
        actions=some(
            "admin_sets_rule", "admin_resets_rule", "owner_sets_rule", "owner_bounds_what_waits", "somebody_undoes"
        ),
    )
    def rules_change(self, data: st.DataObject, actions: list[str]) -> None:
        self.do(data, actions)

    @rule(data=st.data(), actions=some("somebody_gives", "somebody_gives", "the_same_gift_again", "somebody_undoes"))
    def something_is_given(self, data: st.DataObject, actions: list[str]) -> None:
        self.do(data, actions)

    def do(self, data: st.DataObject, actions: list[str]) -> None:
        """Do what can be done now; the rest is left out."""
        for action in actions:
            if self.able(action):
                getattr(self, action)(data)

    def able(self, action: str) -> bool:
        able: dict[str, object] = {
            "press_reroll": self.events,
            "the_same_event_again": self.events,
            "claim": self.any_in("queued"),
            "paint": self.any_in("running") or self.any_in("queued"),
            "deliver": self.any_in("painted"),
            "give_back": self.any_in("running"),
            "an_owner_lets_it_in": self.any_in("held"),
            "press_cancel": self.oracle.expected,
            "somebody_was_quicker": self.oracle.expected,
            "settle_again": any(self.any_in(state) for state in SETTLED),
            "somebody_undoes": self.log,
            "the_same_gift_again": self.oracle.extras,
        }
        return bool(able.get(action, True))

    # Actions: drawing.

    def ask(self, who: str, guild: str, count: int, work: Callable[[Actor, Place, EventRef], Awaitable[Job]]) -> bool:
        event = f"e{next(self.numbers)}"
        ref = EventRef(event, Address("chat", f"{guild} channel"))
        if (
            job := self.admitted(who, guild, count, lambda: work(Actor("chat", who, who), self.place(guild), ref))
        ) is None:
            return False
        assert job.id not in self.oracle.expected
        share = self.oracle.share(who, guild, count)
        assert share is not None
        self.oracle.expected[job.id] = Expected(who, guild, count, self.clock.now())
        self.oracle.pay(job.id, self.oracle.expected[job.id], share)
        self.events[event] = job.id
        return True

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

    def draw(self, data: st.DataObject) -> None:
        who, guild = data.draw(st.sampled_from(PEOPLE)), data.draw(st.sampled_from(GUILDS))
        count = data.draw(st.integers(1, 4))
        form = DrawForm("an apple", count=str(count))
        self.ask(who, guild, count, lambda actor, place, ref: draw(self.ctx, actor, place, form, ref))

    def draw_until_refused(self, data: st.DataObject) -> None:
        """What lies beyond the rules is where credits matter."""
        who, guild = data.draw(st.sampled_from(PEOPLE)), data.draw(st.sampled_from(GUILDS))
        count = data.draw(st.integers(1, 3))
        form = DrawForm("an apple", count=str(count))
        for _ in range(6):
            if not self.ask(who, guild, count, lambda actor, place, ref: draw(self.ctx, actor, place, form, ref)):
                return

    def the_same_event_again(self, data: st.DataObject) -> None:
        event = data.draw(st.sampled_from(sorted(self.events)))
        was = self.oracle.expected[self.events[event]]
        form = DrawForm("an apple", count=str(was.count))
        job = self.run(draw(self.ctx, Actor("chat", was.who, was.who), self.place(was.guild), form, EventRef(event)))
        assert job.id == self.events[event]

    def press_reroll(self, data: st.DataObject) -> None:
        who = data.draw(st.sampled_from(PEOPLE))
        job_id = data.draw(st.sampled_from(sorted(self.events.values())))
        was = self.oracle.expected[job_id]
        press = ButtonPress("reroll", job_id)
        # The same button again at once is no new request.
        made, at = self.pressed.get((who, job_id), (job_id, 0.0))
        repeats = self.clock.now() - at < DOUBLE_PRESS_SECONDS and self.oracle.expected[made].state not in {
            "cancelled",
            "failed",
        }
        again, asked = 0, False
        try:
            asked = self.ask(
                who, was.guild, was.count, lambda actor, place, ref: reroll(self.ctx, actor, place, press, ref)
            )
        except RepeatedPress as repeated:
            again = repeated.job.id
        assert again == 0 or (repeats and again == made)
        assert not (asked and repeats)
        if asked:
            self.pressed[who, job_id] = max(self.events.values()), self.clock.now()

    def somebody_must_be_let_in(self, data: st.DataObject) -> None:
        """A request is held: it reserves nothing."""
        who, guild = data.draw(st.sampled_from(PEOPLE)), data.draw(st.sampled_from(GUILDS))

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
            return (await jobs.add(tx, new)).id

        self.oracle.expected[self.change(hold)] = Expected(who, guild, REQUEST.count, self.clock.now(), state="held")

    async def asking(self, tx: Tx, who: str, guild: str) -> AdmissionContext:
        now, actor = self.clock.now(), Actor("chat", who, who)
        person = await people.remember(tx, actor, now=now)
        place_id = await people.remember_place(tx, self.place(guild), now=now)
        return await load_admission_context(tx, actor, self.place(guild), person, place_id=place_id, now=now)

    def an_owner_lets_it_in(self, data: st.DataObject) -> None:
        """It counts from now on, and stays held where it does not fit."""
        job_id, job = self.pick(data, "held")

        async def allow() -> bool:
            async with self.db.write() as tx:
                stored = await jobs.get(tx, job_id)
                assert stored is not None
                moved = await jobs.move(tx, job_id, JobState.HELD, JobState.QUEUED, now=self.clock.now())
                asking = await self.asking(tx, job.who, job.guild)
                found = await rule_rows.rules_of_person(tx, asking.actor, asking.place.guild, asking.person.id)
                await reserve(tx, self.ctx, asking, stored, found)
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

    def claim(self, data: st.DataObject) -> None:
        job_id, job = self.pick(data, "queued")
        (claimed,) = self.change(lambda tx: jobs.claim(tx, [job_id], now=self.clock.now()))
        assert claimed.id == job_id
        job.state = "running"

    def paint(self, data: st.DataObject) -> None:
        """All its pictures end; some may have failed, and if all have, so has the job."""
        missing = data.draw(st.integers(0, 4))
        if not self.any_in("running"):
            self.claim(data)
        job_id, job = self.pick(data, "running")
        painted = max(0, job.count - missing)
        state, now = JobState.PAINTED if painted else JobState.FAILED, self.clock.now()

        async def end(tx: Tx) -> bool:
            moved = await jobs.move(tx, job_id, JobState.RUNNING, state, now=now, error="failed.failed")
            for index in range(painted):
                name = f"{job_id}-{index}"
                await pictures.add(tx, drawn_picture(job_id, index, path=name, seed=index), now=now)
            await ledger.settle(tx, job_id, painted=painted, now=now)
            return moved

        assert self.change(end)
        self.oracle.end(job_id, state.value, painted)

    def deliver(self, data: st.DataObject) -> None:
        job_id, job = self.pick(data, "painted")
        now = self.clock.now()
        assert self.change(lambda tx: jobs.move(tx, job_id, JobState.PAINTED, JobState.DELIVERED, now=now))
        job.state = "delivered"

    def give_back(self, data: st.DataObject) -> None:
        """The engine was lost, or the service stops: it waits again, or fails when that happened too often."""
        lost = data.draw(st.booleans())
        job_id, job = self.pick(data, "running")

        async def back(tx: Tx) -> bool:
            stored = await jobs.get(tx, job_id)
            assert stored is not None
            assert stored.attempts == job.attempts
            if lost and stored.attempts >= MAX_ATTEMPTS:
                moved = await jobs.move(tx, job_id, JobState.RUNNING, JobState.FAILED, now=self.clock.now())
                await ledger.refund(tx, job_id, now=self.clock.now())
                return moved
            return await jobs.requeue(tx, job_id, now=self.clock.now(), lost=lost)

        assert self.change(back)
        if lost and job.attempts >= MAX_ATTEMPTS:
            self.oracle.end(job_id, "failed")
        else:
            job.state = "queued"
            job.attempts += lost

    def press_cancel(self, data: st.DataObject) -> None:
        """Whoever asked presses cancel, at whatever state it is, as often as they like."""
        job_id, was = self.pick(data)
        _, won = self.run(cancel(self.ctx, job_id))
        assert won is (was.state in WAITING)
        if won:
            self.oracle.end(job_id, "cancelled")

    def somebody_was_quicker(self, data: st.DataObject) -> None:
        """A move from a state that the job is not in any more changes nothing."""
        move = data.draw(st.sampled_from([(frm, to) for frm, targets in MOVES.items() for to in targets]))
        job_id, was = self.pick(data)
        if move[0].value != was.state:
            assert not self.change(lambda tx: jobs.move(tx, job_id, *move, now=0.0))

    def settle_again(self, data: st.DataObject) -> None:
        """What is settled stays as it is, whatever is said later."""
        painted = data.draw(st.integers(0, 1))
        job_id, _ = self.pick(data, next(state for state in SETTLED if self.any_in(state)))
        self.change(lambda tx: ledger.settle(tx, job_id, painted=painted, now=self.clock.now()))

    def wait(self, data: st.DataObject) -> None:
        hours = data.draw(st.sampled_from((1, 1, 2, 12, 24)))
        self.clock.advance(hours * HOUR)

    # Actions: rules and credits.

    def logged(self, what: str, before: int | None, after: int | None) -> None:
        """Note the newest entry of the log; a rule that was set to what it was leaves none."""
        if before != after:
            self.log.append(Changed(self.change(_newest), what, before, after))

    def admin_sets_rule(self, data: st.DataObject) -> None:
        guild, number = data.draw(st.sampled_from(GUILDS)), data.draw(st.sampled_from((0, 1, 1, 2, 3, 6)))
        boss, before = Actor("chat", "boss", is_admin=True), self.oracle.rules[guild]
        try:
            self.run(quota_service.set_rule(self.ctx, boss, self.place(guild), f"{number}/day"))
        except OverQuota:
            assert number > self.oracle.default()
        else:
            assert number <= self.oracle.default()
            self.oracle.rules[guild] = number
            self.logged(guild, before, number)

    def admin_resets_rule(self, data: st.DataObject) -> None:
        guild = data.draw(st.sampled_from(GUILDS))
        boss, before = Actor("chat", "boss", is_admin=True), self.oracle.rules[guild]
        try:
            self.run(quota_service.reset_rule(self.ctx, boss, self.place(guild)))
        except NotFound:
            assert before is None
        else:
            self.oracle.rules[guild] = None
            self.logged(guild, before, None)

    def owner_sets_rule(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(2, 8))
        before = self.oracle.rules["owner"]
        self.run(quota_service.set_rule(self.ctx, OWNER, Place("chat", None, "dm"), f"{number}/day"))
        self.oracle.rules["owner"] = number
        self.logged("owner", before, number)

    def owner_bounds_what_waits(self, data: st.DataObject) -> None:
        """A rule for the platform on something else stands beside the one on how many."""
        number = data.draw(st.sampled_from((2, 3, NO_BOUND, NO_BOUND)))
        where = Actor("chat", "boss", is_owner=True)
        typed = "at-once 1000000" if number == NO_BOUND else f"at-once {number}"
        for who in PEOPLE:
            self.run(
                quota_service.set_rule(
                    self.ctx, where, Place("chat", None, "dm"), typed, quota_service.RuleTarget(person=who)
                )
            )
        self.oracle.at_once = number

    def somebody_gives(self, data: st.DataObject) -> None:
        who, guild = data.draw(st.sampled_from(PEOPLE)), data.draw(st.sampled_from((None, *GUILDS)))
        number, hours = data.draw(st.integers(1, 5)), data.draw(st.sampled_from((2, 12)))
        kind = data.draw(st.sampled_from(CreditKind))
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
        self.run(quota_service.give_credits(self.ctx, actor, where, event=event, kind=kind, **words))

    def the_same_gift_again(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, 5))
        event = data.draw(st.sampled_from(sorted(self.oracle.extras)))
        extra = self.oracle.extras[event]
        self.give(event, extra.who, extra.guild, number, 3, CreditKind.BONUS)

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
            return await changes.undo_change(tx, entry.number, KINDS, None, by="operator", now=self.clock.now())

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
        shown = self.run(quota_service.show_quota(self.ctx, Actor("chat", who), self.place(guild)))
        assert shown.left == self.oracle.left(who, guild)
        assert sum(credit.left for credit in shown.credits) == sum(self.oracle.rooms(who, guild)[2:])


async def _newest(tx: Tx) -> int:
    rows = await tx.execute_fetchall("SELECT max(id) FROM audit")
    return int(next(iter(rows))[0])


def _run(examples: int) -> None:
    run_state_machine_as_test(
        Ledger,
        settings=settings(
            max_examples=examples, stateful_step_count=7, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )


def test_nothing_is_charged_twice_and_nobody_has_more_than_they_were_given() -> None:
    _run(120)


@pytest.mark.chaos
def test_nothing_is_charged_twice_for_long() -> None:
    _run(2000)
