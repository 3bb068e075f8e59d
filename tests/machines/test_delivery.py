"""Delivery under kills, deleted messages and platforms that fail: every picture once, and charged once."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from bot.core.errors import NotFound
from bot.core.jobs import MAX_ATTEMPTS, JobState
from bot.privacy.deletion import forget
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.fakes.surface import ABLE, ABLE_SAFE, Call, FakeSurface, Fault
from tests.flow.harness import TICK, Bot

T = TypeVar("T")

FAULTS = {
    Call.PROGRESS: [Fault.GONE, Fault.BUSY, Fault.BUG, Fault.KILLED_BEFORE, Fault.KILLED_AFTER],
    Call.FINAL: list(Fault),
    Call.SEND: list(Fault),
    Call.FILES: list(Fault),
    Call.REMOVE: [Fault.GONE, Fault.BUSY, Fault.BUG, Fault.KILLED_BEFORE, Fault.KILLED_AFTER],
}
LOSING = {Fault.UNCLEAR_LOST, Fault.UNCLEAR_SENT, Fault.BUG, Fault.KILLED_BEFORE, Fault.KILLED_AFTER}
"""Met while something is sent that can't be sent twice, these leave open whether it is there."""

UNCLEAR = (
    "SELECT job_id FROM messages WHERE state = 'sending' AND shown LIKE 'final:%' AND job_id IS NOT NULL UNION"
    " SELECT job_id FROM messages JOIN jobs ON jobs.id = job_id WHERE messages.state = 'shown' AND message IS NOT NULL"
    " AND messages.kind = 'card' AND shown NOT LIKE 'final:%' AND jobs.state = 'painted'"
)
"""Jobs of which a new process can't know whether their pictures are shown."""


@dataclass
class Expected:
    """What the oracle knows of a job."""

    count: int
    cancelled: bool = False
    excused: bool = False
    """Somebody deleted a message with its pictures."""
    unclear: bool = False
    """The service was killed while it sent pictures that can't be sent twice, or before it knew of the last edit."""
    kills: int = 0
    """How often the service was killed while it drew this."""
    forgotten: bool = False
    orphaned: bool = False
    """The service was killed while something was to be sent: it may be there, and nobody knows its number."""


class Delivery(RuleBasedStateMachine):
    """People ask and cancel, delete messages and shut the chat; the engine draws; the platform fails; the service is
    killed at planted points or anywhere else.
    """

    @initialize(safe=st.booleans())
    def begin(self, safe: bool) -> None:
        self.loop = asyncio.new_event_loop()
        # In memory where there is such a place: 200 runs wait for the disk's fsync else.
        memory = Path("/dev/shm")
        self.folder = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
        self.gate = StepGate()
        self.safe = safe
        self.jobs: dict[int, Expected] = {}

        async def start() -> Bot:
            engine = FakeEngine(pause=self.gate)
            await engine.start()
            surface = FakeSurface(able=ABLE_SAFE if safe else ABLE)
            bot = Bot(Path(self.folder.name), engine, {"chat": surface})
            await bot.start()
            return bot

        self.bot = self.do(start())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    # What is drawn from hypothesis never depends on how far things have come, which threads decide.

    @rule(count=st.integers(1, 3), private=st.booleans())
    def ask(self, count: int, private: bool) -> None:
        job = self.do(self.bot.ask(count=str(count), private=private))
        self.jobs[job.id] = Expected(count)
        self.settle()

    @rule(call=st.sampled_from(list(FAULTS)), data=st.data())
    def plant(self, call: Call, data: st.DataObject) -> None:
        self.bot.surface.plan(call, *data.draw(st.lists(st.sampled_from([None, *FAULTS[call]]), max_size=3)))

    @rule()
    def paint(self) -> None:
        self.gate.open()
        self.do(self.bot.until(self._painted))
        self.gate.shut()
        self.settle()

    @rule(nth=st.integers(0, 7))
    def cancel(self, nth: int) -> None:
        if not self.jobs:
            return
        job_id = sorted(self.jobs)[nth % len(self.jobs)]
        if self.jobs[job_id].forgotten:
            with pytest.raises(NotFound):
                self.do(self.bot.cancel(job_id))
            return
        if self.do(self.bot.cancel(job_id)):
            assert not self.jobs[job_id].cancelled, "cancelled twice"
            self.jobs[job_id].cancelled = True
        self.settle()

    @rule(nth=st.integers(0, 15))
    def delete(self, nth: int) -> None:
        if not self.bot.chats.messages:
            return
        name = list(self.bot.chats.messages)[nth % len(self.bot.chats.messages)]
        seen = self.bot.chats.messages[name]
        self.bot.chats.deleted.add(name)
        about = int(seen.files[0].name.split("-")[1]) if seen.files else seen.card.job_id if seen.card else None
        if about is not None and (seen.files or (seen.card is not None and seen.card.final)):
            self.jobs[about].excused = True

    @rule()
    def forget(self) -> None:
        """Whoever asked has everything forgotten so far."""
        if self.jobs:
            self.do(forget(self.bot.ctx, self.bot.actor()))
            for expected in self.jobs.values():
                expected.forgotten = True
            self.settle()

    @rule()
    def kill(self) -> None:
        self.do(self._restart())
        self.settle()

    @rule(turns=st.integers(0, 60))
    def kill_in_the_middle(self, turns: int) -> None:
        """Anywhere between a step of the engine and the last message, wherever that falls today."""

        async def run() -> None:
            self.gate.open()
            for _ in range(turns):
                await asyncio.sleep(0.0003)
                self.bot.clock.advance(TICK)
            await self._restart()
            self.gate.shut()

        self.do(run())
        self.settle()

    def teardown(self) -> None:
        if not hasattr(self, "bot"):
            return
        try:
            self._end()
        finally:
            self.do(self.bot.kill())
            self.do(self.bot.engine.aclose())
            self.loop.close()
            self.folder.cleanup()

    def _end(self) -> None:
        """The platform recovers, the service is started once more, everything is drawn: now everybody has theirs."""
        for call in Call:
            self.bot.surface.plan(call)
        self.kill()
        self.paint()
        for job_id, expected in self.jobs.items():
            self._check(job_id, expected)

    def _check(self, job_id: int, expected: Expected) -> None:
        job = self.do(self.bot.job(job_id))
        lines, reserved, charged = self.do(self.bot.ledger(job_id))
        self._check_first_cards(job_id)
        pictures = self.bot.chats.pictures(job_id)
        ever = self.bot.chats.pictures(job_id, ever=True)
        assert len(ever) == len(set(ever)), "a picture was shown twice"
        assert (lines, reserved) == (2, 0)
        if expected.forgotten:
            assert job.forgotten
            assert job.state in {JobState.DELIVERED, JobState.CANCELLED, JobState.FAILED}
            assert [name for name in self.bot.files() if name.startswith(f"{job_id}-")] == []
            met = {(call, fault) for call, fault, about in self.bot.surface.met if about == job_id}
            lost = any(call in {Call.SEND, Call.FILES} and fault in LOSING for call, fault in met)
            if not (lost or expected.unclear or expected.orphaned or (Call.REMOVE, Fault.GONE) in met):
                assert pictures == [], "a picture of a forgotten job is still shown"
            return
        if expected.cancelled:
            assert (job.state, charged, pictures) == (JobState.CANCELLED, 0, [])
            return
        if expected.kills > MAX_ATTEMPTS:
            assert (job.state, charged, pictures) == (JobState.FAILED, 0, [])
            return
        assert (job.state, charged) == (JobState.DELIVERED, expected.count)
        met = {(call, fault) for call, fault, about in self.bot.surface.met if about == job_id}
        sends = {Call.SEND, Call.FILES, Call.FINAL}
        unclear = expected.unclear or any(call in sends and fault in LOSING for call, fault in met)
        refused = any(call in {Call.SEND, Call.FILES} and fault is Fault.GONE for call, fault in met)
        if not (expected.excused or unclear or refused):
            assert len(pictures) == expected.count, "a picture is missing"
        if len(pictures) < expected.count and not expected.excused and not refused:
            offers = [
                button.press.action
                for seen in self.bot.chats.shown(job_id)
                if seen.card is not None
                for row in seen.card.buttons
                for button in row
            ]
            assert "original" in offers, "a picture is missing and nothing offers it"

    def _check_first_cards(self, job_id: int) -> None:
        """A kill never makes a second card that says where a job stands; a platform without an answer may."""
        times = Counter(
            seen.key
            for seen in self.bot.chats.messages.values()
            if seen.key.endswith(":now") and seen.first is not None and seen.first.job_id == job_id
        )
        answerless = [
            1
            for call, fault, about in self.bot.surface.met
            if (call, fault, about) == (Call.SEND, Fault.UNCLEAR_SENT, job_id)
        ]
        assert max(times.values(), default=0) <= 1 + len(answerless), "a waiting job has a second card"

    def settle(self) -> None:
        """Until nothing moves; a service that a planted fault has killed is started again."""

        async def run() -> None:
            while True:
                await self.bot.quiet(lambda: not self.alive())
                if self.alive():
                    return
                await self._restart()

        self.do(run())

    def alive(self) -> bool:
        return not self.bot.surface.killed.is_set()

    async def _painted(self) -> bool:
        states = {(await self.bot.job(job_id)).state for job_id in self.jobs}
        return not self.alive() or not {JobState.QUEUED, JobState.RUNNING} & states

    async def _restart(self) -> None:
        await self.bot.kill()
        with sqlite3.connect(self.bot.folder / "easel.db") as db:
            for (job_id,) in db.execute(UNCLEAR):
                self.jobs[job_id].unclear = True
            for (job_id,) in db.execute("SELECT job_id FROM messages WHERE state = 'wanted' AND job_id IS NOT NULL"):
                self.jobs[job_id].orphaned = True
            for (job_id,) in db.execute("SELECT id FROM jobs WHERE state = 'running'"):
                self.jobs[job_id].kills += 1
        db.close()
        self.bot.surface.killed.clear()
        await self.bot.start()


def _run(examples: int) -> None:
    run_state_machine_as_test(
        Delivery,
        settings=settings(
            max_examples=examples,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_picture_once() -> None:
    _run(50)


@pytest.mark.chaos
def test_every_picture_once_for_long() -> None:
    _run(1000)
