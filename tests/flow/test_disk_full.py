"""The disk is full, or the database is locked, while something is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.cards import i18n
from bot.core.cards import Tone
from bot.core.errors import Unavailable
from bot.core.jobs import JobState
from bot.storage import data_files
from bot.storage.connection import Body
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.flow.conftest import Make
from tests.flow.harness import Bot

WRITE = data_files.write_now


async def test_a_picture_that_can_not_be_stored_is_refunded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(folder: Path, path: str, data: bytes) -> Path:
        if path.rpartition("/")[2].startswith("1-"):
            raise Unavailable("unavailable.pictures.unwritable")
        return WRITE(folder, path, data)

    monkeypatch.setattr(data_files, "write_now", write)
    bot = await make()
    job = await bot.ask(count="2")
    failed = await bot.reaches(job.id, JobState.FAILED)
    assert failed.error == "error.store.failed"
    assert await bot.ledger(job.id) == (2, 0, 0)
    await bot.quiet()
    (seen,) = bot.chats.shown(job.id)
    assert seen.card is not None
    assert seen.card.tone is Tone.PROBLEM
    after = await bot.ask(user="2")
    await bot.delivered(after.id)


class Disk:
    """A disk that is full while ``full`` is set, for files of pictures."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        self.refused = 0
        monkeypatch.setattr(data_files, "write_now", self._write)

    def _write(self, folder: Path, path: str, data: bytes) -> Path:
        if self.full:
            self.refused += 1
            raise Unavailable("unavailable.disk_full")
        return WRITE(folder, path, data)


def status(bot: Bot, job_id: int) -> str:
    """What the job's card says."""
    (seen,) = bot.chats.shown(job_id)
    assert seen.card is not None
    return seen.card.status


STALLED = i18n.text("en", "card.running.stalled")


async def test_on_a_full_disk_drawn_pictures_wait_and_their_cards_say_so(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk(monkeypatch)
    engine = FakeEngine()
    bot = await make(engine=engine)
    job = await bot.ask(count="2")
    await bot.until(lambda: bot.chats.shown(job.id) and status(bot, job.id) == STALLED)
    later = await bot.ask(user="2")
    await bot.until(lambda: disk.refused > 20)
    assert (await bot.job(later.id)).state is JobState.QUEUED, "what can't be stored is not drawn"
    assert len([r for r in caplog.records if r.levelname in {"ERROR", "WARNING"}]) == 1
    disk.full = False
    for there in (job, later):
        await bot.delivered(there.id)
    assert len(bot.chats.pictures(job.id)) == 2
    assert await bot.ledger(job.id) == (2, 0, 2)
    assert STALLED not in status(bot, job.id)


@pytest.mark.parametrize("how", ["stop", "kill", "cancel"])
async def test_what_waits_for_room_is_lost_by_nothing(make: Make, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    disk = Disk(monkeypatch)
    bot = await make()
    job = await bot.ask()
    await bot.until(lambda: disk.refused)
    if how == "cancel":
        assert await bot.cancel(job.id)
        disk.full = False
        await bot.quiet()
        assert (await bot.job(job.id)).state is JobState.CANCELLED
        assert await bot.ledger(job.id) == (2, 0, 0)
        assert bot.files() == []
        return
    await (bot.stop() if how == "stop" else bot.kill())
    disk.full = False
    await bot.start()
    done = await bot.delivered(job.id)
    assert done.attempts == (0 if how == "stop" else 1)
    assert await bot.ledger(job.id) == (2, 0, 1)


async def test_with_no_room_for_the_database_cards_say_so_and_the_log_once(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    drawn = [await bot.ask(user=str(n)) for n in range(3)]
    await bot.until(lambda: gate.reached)
    await bot.quiet(lambda: all(bot.chats.shown(job.id) for job in drawn))
    await bot.db._writer.execute_fetchall("PRAGMA query_only = ON")
    gate.open()
    await bot.until(lambda: status(bot, drawn[0].id) == STALLED)
    for n in range(8):
        with pytest.raises(Unavailable) as refused:
            await bot.ask(user=f"other {n}")
        assert refused.value.key == "unavailable.database.unwritable"
        bot.clock.advance(900)  # the chores' time comes too
        await bot.quiet(lambda: True)
    assert [r.exc_info for r in caplog.records if r.exc_info] == []
    assert len([r for r in caplog.records if r.levelname in {"ERROR", "WARNING"}]) < 12
    await bot.db._writer.execute_fetchall("PRAGMA query_only = OFF")
    for job in drawn:
        await bot.delivered(job.id)
        assert await bot.ledger(job.id) == (2, 0, 1)


async def test_a_locked_database_is_waited_for(make: Make) -> None:
    bot = await make()
    job = await bot.ask()
    write, refused = bot.db.run_write, 0

    async def locked(body: Body[Any]) -> object:
        nonlocal refused
        if refused < 4:
            refused += 1
            raise Unavailable("unavailable.database.locked")
        return await write(body)

    bot.db.run_write = locked  # type: ignore[method-assign,assignment]  # a planted fault
    await bot.delivered(job.id)
    assert refused == 4
    assert await bot.ledger(job.id) == (2, 0, 1)
    assert len(bot.chats.pictures(job.id)) == 1
