"""At start, files without a row are put aside where this database certainly made them, and left alone otherwise."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
from pathlib import Path

import pytest

from bot.core.cards import Card, Tone
from bot.core.jobs import JobState
from bot.core.messages import Address
from bot.core.pictures import PictureFile
from bot.privacy.deletion import RetentionWorker
from bot.storage import messages, orphans
from bot.storage.sql import dump_card
from tests.fakes.engine import FakeEngine
from tests.fakes.source_images import picture
from tests.fakes.step_gate import StepGate
from tests.flow.conftest import Make
from tests.flow.harness import CHAT, Bot

DAY = 86400.0


def aside(bot: Bot) -> list[str]:
    """What lies in the folder for orphans, without the name of its sweep."""
    folder = bot.folder / orphans.FOLDER
    return sorted(path.relative_to(folder).as_posix().partition("/")[2] for path in folder.rglob("*") if path.is_file())


async def drawn(bot: Bot, count: int) -> list[Path]:
    """The files of so many delivered jobs."""
    for _ in range(count):
        await bot.delivered((await bot.ask()).id)
    return sorted(bot.pictures.rglob("*.png"))


async def test_with_another_database_every_file_stays(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    bot = await make()
    await drawn(bot, 4)
    await bot.delivered((await bot.ask(image=picture())).id)
    holiday = bot.pictures / "holiday.png"
    outside = bot.folder / "outside"
    outside.mkdir()
    for path in (holiday, outside / "7-0.png"):
        path.write_bytes(b"mine")
    (bot.pictures / "link").symlink_to(outside)
    before = {path: path.read_bytes() for path in bot.folder.rglob("*.png")}
    assert len(before) == 8
    await bot.kill()
    for path in bot.folder.glob("easel.db*"):
        path.rename(bot.folder / f"old-{path.name}")
    with caplog.at_level(logging.WARNING):
        await bot.start()
    assert {path: path.read_bytes() for path in bot.folder.rglob("*.png")} == before
    assert "THE DATABASE IS NEW OR RESTORED: 5 of the 5" in caplog.text
    # Not at later starts either, when it has pictures of its own; and these are not written over the old ones.
    await drawn(bot, 3)
    for _ in range(2):
        await bot.restart()
    after = {path: path.read_bytes() for path in bot.folder.rglob("*.png")}
    assert after.items() >= before.items()
    assert len(after) == 11
    assert aside(bot) == []


async def test_with_an_older_database_what_is_newer_stays(make: Make) -> None:
    bot = await make()
    await drawn(bot, 2)
    await bot.kill()
    copy = bot.folder / "copy.db"
    shutil.copyfile(bot.folder / "easel.db", copy)
    await bot.start()
    files = await drawn(bot, 2)
    assert len(files) == 4
    await bot.kill()
    copy.replace(bot.folder / "easel.db")
    for _ in range(2):
        await bot.start()
        await drawn(bot, 1)
        await bot.kill()
    assert set(files) < set(bot.pictures.rglob("*.png"))
    await bot.start()


async def test_what_a_kill_left_is_put_aside_for_days(make: Make) -> None:
    gate = StepGate()
    gate.open()
    bot = await make(engine=FakeEngine(pause=gate))
    kept = (await drawn(bot, 1))[0]
    bot.clock.advance(DAY + 1)  # on another day than the orphan's
    job = await bot.ask(count="2")
    await bot.delivered(job.id)
    files = set(bot.pictures.rglob("*.png")) - {kept}
    half = kept.with_name("1-0.png.0a1b2c3d.part")
    half.write_bytes(b"half")
    strange = kept.with_name(f"{job.id}-0.png")  # on a day on which this job was not asked for
    strange.write_bytes(b"strange")
    async with bot.db.write() as tx:
        await tx.execute_fetchall("DELETE FROM pictures WHERE job_id = ?", (job.id,))
    await bot.restart()
    assert sorted(bot.pictures.rglob("*.png")) == sorted([kept, strange])
    assert not half.exists()
    assert aside(bot) == sorted(f"pictures/{path.relative_to(bot.pictures).as_posix()}" for path in files)
    # The service's own sweeps look at the same stored clock, and would see it jump by a day in an hour.
    task = bot.dispatch._task
    assert task is not None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    keeping = RetentionWorker(bot.db, bot.pictures, bot.clock)
    for _ in range(7):
        assert len(aside(bot)) == 2
        bot.clock.advance(0.99 * DAY)
        await keeping.sweep(0.99 * DAY)
    bot.clock.advance(0.1 * DAY)
    await keeping.sweep(0.1 * DAY)
    assert aside(bot) == []


async def test_too_many_at_once_are_no_rest_of_a_kill(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(orphans, "MAX_FEW", 2)
    bot = await make()
    files = await drawn(bot, 4)
    async with bot.db.write() as tx:
        await tx.execute_fetchall("DELETE FROM pictures WHERE job_id > 1")
    with caplog.at_level(logging.WARNING):
        await bot.restart()
    assert sorted(bot.pictures.rglob("*.png")) == files
    assert "3 of the 4 picture files are unknown to the database and stay" in caplog.text
    # What somebody had forgotten goes, however much it was.
    async with bot.db.write() as tx:
        await tx.execute_fetchall("UPDATE jobs SET forgotten = 1 WHERE id > 1")
    await bot.restart()
    assert sorted(bot.pictures.rglob("*.png")) == files[:1]


async def test_a_foreign_row_names_no_file_outside(make: Make) -> None:
    bot = await make()
    await drawn(bot, 1)
    letter = bot.folder / "letter.png"
    letter.write_bytes(b"private")
    await bot.kill()
    with sqlite3.connect(bot.folder / "easel.db") as db:
        db.execute("UPDATE pictures SET path = '../letter.png'")
        db.execute("UPDATE jobs SET image = '../../letter.png', mask = '/etc/passwd'")
    db.close()
    await bot.start()
    job = await bot.job(1)
    assert (job.state, job.request.image, job.request.mask) == (JobState.DELIVERED, "inputs/unkept", "inputs/unkept")
    async with bot.db.write() as tx:
        await tx.execute_fetchall("INSERT INTO options VALUES (0, 'keep_days', '1')")
    bot.clock.advance(2 * DAY)
    assert await RetentionWorker(bot.db, bot.pictures, bot.clock).sweep() == 1
    assert letter.read_bytes() == b"private"


async def test_a_stored_card_sends_no_file_that_is_not_easels(make: Make) -> None:
    bot = await make()
    letter = bot.folder / "letter.png"
    sheet = bot.folder / "sheets" / f"{'a' * 24}.png"
    sheet.parent.mkdir()
    for path in (letter, sheet):
        path.write_bytes(picture())
    files = tuple(PictureFile(path, path.name, "image/png", 1, 1) for path in (letter, sheet))
    async with bot.db.write() as tx:
        card = dump_card(Card(Tone.INFO, "a page", pictures=files))
        await messages.add_notice(tx, "foreign", Address("chat", CHAT, user="1"), card)
    bot.dispatch.messages_added()
    await bot.until(lambda: bot.chats.messages)
    (seen,) = bot.chats.messages.values()
    assert seen.card is not None
    assert [file.name for file in seen.card.pictures] == [sheet.name]
