"""A data folder that an earlier version made is migrated, served and checked as one of today's."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.cli import doctor
from bot.core.cards import ButtonPress, Card
from bot.core.errors import NotAllowed, OverQuota
from bot.core.jobs import JobState
from bot.core.messages import Address, EventRef
from bot.core.people import Place
from bot.drawing.job_actions import draw_again
from bot.quotas.service import show_quota
from bot.settings import Settings
from bot.storage import pictures
from bot.storage.migrate import shipped
from bot.studio import ButtonResult, Studio
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeEngine
from tests.fakes.png_texts import pixels
from tests.fakes.surface import FakeSurface, Seen
from tests.flow.harness import CHAT, Bot

FOLDER = Path(__file__).parents[1] / "fakes" / "old_data"
LAST_WRITE = 1_800_000_019.5
"""When the earlier version was stopped."""

HERE = Place("chat", None, CHAT)


def restore(folder: Path) -> None:
    """Make the data folder as the earlier version left it."""
    shutil.copytree(FOLDER / "pictures", folder / "pictures")
    db = sqlite3.connect(folder / "easel.db")
    db.executescript((FOLDER / "easel.sql").read_text(encoding="utf-8"))
    assert db.execute("PRAGMA user_version").fetchone()[0] < len(shipped())
    db.close()


@pytest.fixture
async def bot(tmp_path: Path) -> AsyncIterator[Bot]:
    """A service of today on the folder, a minute later."""
    restore(tmp_path)
    engine = FakeEngine()
    await engine.start()
    one = Bot(tmp_path, engine, {"chat": FakeSurface()})
    one.clock = FakeClock(LAST_WRITE + 60)
    for name in range(1, 10):
        one.chats.messages[str(name)] = Seen(CHAT, None)
    await one.start()
    yield one
    await one.stop()
    await engine.aclose()


@pytest.fixture
def studio(bot: Bot) -> Studio:
    return Studio(
        bot.db,
        bot.engine,
        bot.dispatch,
        bot.dispatch.live,
        clock=bot.clock,
        pictures=bot.pictures,
        sheets=bot.folder / "sheets",
        quota=bot.ctx.default_quota,
    )


async def press(studio: Studio, bot: Bot, button: str, message: str, *, user: str = "1") -> ButtonResult:
    """Press a button of an old message by the text that the earlier version gave it."""
    found = ButtonPress.unpack(button)
    assert found is not None
    address = Address("chat", CHAT, message=message, user=user)
    return await studio.press(bot.actor(user), HERE, found, EventRef(f"press:{button}:{user}", address))


async def data(bot: Bot, job_id: int) -> list[bytes]:
    async with bot.db.read() as tx:
        found = await pictures.of_job(tx, job_id)
    return [(bot.pictures / picture.path).read_bytes() for picture in found]


def ids(cards: tuple[Card, ...]) -> list[int | None]:
    return [card.job_id for card in cards]


async def test_the_history_is_listed_and_searched(bot: Bot, studio: Studio) -> None:
    cards = await studio.items(bot.actor())
    assert ids(cards) == [6, 4, 2, 1]
    assert [len(card.pictures) for card in cards] == [0, 2, 2, 1]
    assert all(picture.path.is_file() for card in cards for picture in card.pictures)
    assert ids(await studio.items(bot.actor(), query="apple")) == [4, 1]
    assert ids(await studio.items(bot.actor("2"), query="火箭")) == [3]
    assert ids(await studio.items(bot.actor(), query="火箭")) == []
    page = await studio.history(bot.actor(), HERE)
    assert page.pictures


async def test_what_waited_is_drawn_and_sent(bot: Bot) -> None:
    job = await bot.delivered(7)
    assert job.request.prompt == "a green frog"
    assert bot.chats.pictures(7) == ["easel-7-1.png"]
    await bot.until(
        lambda: any(s.card and s.card.status == "A notice of the day before." for s in bot.chats.messages.values())
    )
    assert await bot.ledger(7) == (2, 0, 1)


async def test_buttons_of_old_messages_work(bot: Bot, studio: Studio) -> None:
    again = await press(studio, bot, "easel:reroll:1", "1")
    assert again.new is not None
    job = await bot.delivered(again.new.job_id)
    assert (job.request.prompt, job.request.width) == ("a red apple", 64)
    assert job.request.seed != 7

    seeded = await press(studio, bot, "easel:seed:2:1", "2")
    assert seeded.new is not None
    assert (await bot.delivered(seeded.new.job_id)).request.seed == 22

    await press(studio, bot, "easel:favourite:1:0", "1")
    assert ids(await studio.items(bot.actor(), query="is:favourite")) == [2, 1]
    await press(studio, bot, "easel:favourite:2:1", "2")
    assert ids(await studio.items(bot.actor(), query="is:favourite")) == [1]

    before = len(bot.chats.messages)
    await press(studio, bot, "easel:original:2", "2")
    await bot.until(lambda: any(s.originals for s in bot.chats.messages.values()))
    sent = [seen for name, seen in bot.chats.messages.items() if int(name) > before and seen.originals]
    assert [file.path.read_bytes() for seen in sent for file in seen.files] == await data(bot, 2)


async def test_an_old_recipe_makes_the_same_picture(bot: Bot) -> None:
    ref = EventRef("again", Address("chat", CHAT, user="1"))
    job = await draw_again(bot.ctx, bot.actor(), HERE, 1, ref)
    await bot.delivered(job.id)
    assert [pixels(one) for one in await data(bot, job.id)] == [pixels(one) for one in await data(bot, 1)]


async def test_what_was_drawn_counts_with_the_old_rule(bot: Bot) -> None:
    status = await show_quota(bot.ctx, bot.actor(), HERE)
    # Five pictures of jobs 1, 2 and 4; the cancelled job 6 does not count.
    assert [(one.limit.amount, one.used) for one in status.allowances] == [(12, 5)]
    await bot.ask(count="4", event="new:1")
    with pytest.raises(OverQuota):
        await bot.ask(count="4", event="new:2")


async def test_bonus_pictures_are_spent_once_the_rule_is_used_up(bot: Bot) -> None:
    await bot.delivered(7)
    for number, count in enumerate(("4", "4", "4", "1")):  # two were drawn: ten are left, and three more were given
        await bot.delivered((await bot.ask(user="2", count=count, event=f"new:{number}")).id)
    with pytest.raises(OverQuota):
        await bot.ask(user="2", event="new:9")


async def test_a_ban_still_holds(bot: Bot) -> None:
    with pytest.raises(NotAllowed) as refused:
        await bot.ask(user="3", event="new:1")
    assert (refused.value.key, refused.value.params["reason"]) == ("refusal.banned.for_good_because", "spam")


async def test_the_doctor_finds_nothing_wrong(bot: Bot) -> None:
    await bot.delivered(7)
    settings = Settings(_env_file=None, data_dir=bot.folder)
    assert [
        found for found in (await doctor.check_database(settings), await doctor.check_ledger(settings)) if not found.ok
    ] == []
    assert (await bot.job(6)).state is JobState.CANCELLED
    assert len(bot.files()) == 8
