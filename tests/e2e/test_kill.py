"""kill -9 at every state of a job, of the service and of its engine: the picture comes once and is charged once.

CI runs a short form; `make chaos` kills both in every state. People are in Telegram here, since a chat shows what was sent
twice. `Chats` is all that a test knows of the platform.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.service import Service, until
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_world import Msg

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STATES = ("queued", "running", "painted", "delivered")
LONG = "--steps 24 --size 256x256"


class Chats:
    """One person who writes to the bot, and what they are shown."""

    def __init__(self, stand_in: TelegramStandIn) -> None:
        self.stand_in = stand_in
        self.person = stand_in.person("Ann")
        self.chat = stand_in.private(self.person)

    def environment(self) -> dict[str, str]:
        """Settings that lead the service here."""
        return {
            "EASEL_TELEGRAM_TOKEN": self.stand_in.token,
            "EASEL_TELEGRAM_API_URL": self.stand_in.url,
            "EASEL_TELEGRAM_ACCESS": "open",
        }

    def asks(self, prompt: str) -> None:
        """Ask for a picture."""
        self.stand_in.writes(self.chat, self.person, prompt)

    def pictures(self) -> list[Msg]:
        """What the person sees."""
        return [message for message in self.chat.by_bot() if message.photo is not None]

    def hold(self) -> None:
        """Take no pictures for now: what is painted can't be delivered."""
        for method in ("editMessageMedia", "sendPhoto"):
            self.stand_in.refuse(method, 429, "Too Many Requests: retry after 1", times=float("inf"), retry_after=1)

    def release(self) -> None:
        """Take pictures again."""
        self.stand_in.mend()


class KillHarness:
    """The running service, its rows, and the person."""

    def __init__(self, service: Service, chats: Chats) -> None:
        self.service = service
        self.chats = chats
        self.jobs = 0

    def start(self) -> None:
        """Start it, whether for the first time or after a kill."""
        self.service.start(ready=False)

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read the database as it is now."""
        path = self.service.data / "easel.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)) as db:
            try:
                return db.execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []  # its first start has only just begun
                raise

    def state(self, job_id: int) -> str | None:
        """Where a job is."""
        rows = self.query("SELECT state FROM jobs WHERE id = ?", job_id)
        return rows[0][0] if rows else None

    def engine(self) -> psutil.Process | None:
        """The process that draws."""
        return next(iter(self.service.engines()), None)

    async def reach(self, job_id: int, state: str) -> None:
        """Wait until a job is in a state; fails at once when the service ends."""
        await self.wait(lambda: self.state(job_id) == state, f"job {job_id} is {state}")

    async def wait(self, condition: Callable[[], object], what: str, seconds: float = 120) -> None:
        """Wait for a condition without holding up the stand-in, which lives in this process."""

        def holds() -> object:
            assert self.service.running, f"easel serve ended:\n{self.service.log}"
            return condition()

        try:
            await asyncio.to_thread(until, holds, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.chats.stand_in.dump()}\n{self.service.log}") from None

    async def bring_to(self, state: str) -> psutil.Process:
        """Ask for one picture, the next job, and wait until it is in this state; returns the engine's process."""
        self.jobs += 1
        await self.wait(self.engine, "the engine's process")
        engine = self.engine()
        assert engine is not None
        if state == "queued":
            engine.suspend()  # it is not warm yet, and must not become so
        elif state == "painted":
            self.chats.hold()
        self.chats.asks(f"a red apple on a blue background --seed 7 {LONG if state == 'running' else ''}")
        await self.reach(self.jobs, state)
        return engine

    async def mend(self) -> None:
        """The picture comes, and everything is as if nothing had happened."""
        self.chats.release()
        await self.wait(lambda: len(self.chats.pictures()) == self.jobs, "the picture")
        await self.reach(self.jobs, "delivered")

    async def one_more(self) -> None:
        """Another picture is asked for and comes: by then whatever was to be sent twice has been sent twice."""
        self.jobs += 1
        self.chats.asks("a green frog --seed 1")
        await self.mend()

    def check_once(self) -> None:
        """Every picture is shown once, stored once and charged once."""
        numbers = range(1, self.jobs + 1)
        assert len(self.chats.pictures()) == self.jobs
        assert self.chats.stand_in.problems == []
        assert self.query("SELECT id, state FROM jobs") == [(n, "delivered") for n in numbers]
        assert self.query("SELECT job_id, count(*) FROM pictures GROUP BY job_id") == [(n, 1) for n in numbers]
        ledger = (
            "SELECT job_id, kind, sum(reserved), sum(charged) FROM ledger GROUP BY job_id, kind ORDER BY job_id, id"
        )
        assert self.query(ledger) == [line for n in numbers for line in ((n, "reserve", 1, 0), (n, "charge", -1, 1))]
        files = {p.relative_to(self.service.data / "pictures").as_posix() for p in self._files()}
        assert files == {path for (path,) in self.query("SELECT path FROM pictures")}

    def _files(self) -> list[Path]:
        return [p for p in (self.service.data / "pictures").rglob("*") if p.is_file()]


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[KillHarness]:
    async with TelegramStandIn().serve() as stand_in:
        chats = Chats(stand_in)
        one = KillHarness(Service(tmp_path, {**chats.environment(), "EASEL_WEB_PORT": "0"}), chats)
        one.start()
        try:
            yield one
        finally:
            await asyncio.to_thread(one.service.end)


@pytest.mark.parametrize(
    ("of_service", "of_engine"),
    [(("running", "painted"), ("running",)), pytest.param(STATES, STATES, marks=pytest.mark.chaos)],
)
async def test_the_service_and_its_engine_are_killed(
    of_service: Sequence[str], of_engine: Sequence[str], harness: KillHarness
) -> None:
    for state in of_service:
        engine = await harness.bring_to(state)
        harness.service.process.kill()
        await asyncio.to_thread(harness.service.process.wait)
        assert harness.state(harness.jobs) == state
        if state == "queued":
            engine.resume()
        # Killed alone, in the middle of a step as well: its engine must not stay behind and hold the device.
        await asyncio.to_thread(engine.wait, 5)
        harness.start()
        await harness.mend()
    # The engine was just started, so it is not warm when the first of these jobs is asked for.
    for state in of_engine:
        engine = await harness.bring_to(state)
        engine.kill()
        await asyncio.to_thread(engine.wait, 5)
        await harness.mend()
    await harness.one_more()
    harness.check_once()
    # What was being drawn was begun again; nothing else was.
    attempts = [(int(state == "running"),) for state in (*of_service, *of_engine, "")]
    assert harness.query("SELECT attempts FROM jobs") == attempts
