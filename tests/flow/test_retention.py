"""Old pictures are swept by the places' rules and when the disk gets full; favourites and what is young never are."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bot.core.cards import ButtonPress
from bot.core.errors import NotFound
from bot.core.jobs import Job, JobState
from bot.core.messages import Address, EventRef
from bot.core.people import Place
from bot.core.requests import DrawForm
from bot.drawing import job_actions
from bot.drawing.admission import draw
from bot.history import service as history_service
from bot.history import store as history_rows
from bot.privacy.deletion import DAY, DAYS, RetentionWorker
from bot.storage import data_files, people, pictures
from tests.fakes.engine import FakeEngine
from tests.fakes.source_images import picture
from tests.fakes.step_gate import StepGate
from tests.fakes.surface import Call, Fault
from tests.flow.conftest import Make
from tests.flow.harness import CHAT, Bot, Hang

CLUB = Place("chat", "club", CHAT)
ALONE = Place("chat", None, CHAT)


@pytest.fixture(autouse=True)
def _by_hand(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bot's own sweeper would come between, but where it is what is tested."""

    async def idle(_: RetentionWorker) -> None:
        await asyncio.Event().wait()

    if "by_itself" not in request.node.name:
        monkeypatch.setattr(RetentionWorker, "run", idle)


async def there(bot: Bot, event: str, place: Place = ALONE, **form: Any) -> Job:
    """A delivered job of that place."""
    ref = EventRef(event, Address("chat", CHAT, user="1"))
    job = await draw(bot.ctx, bot.actor(), place, DrawForm("an apple", **form), ref)
    return await bot.delivered(job.id)


async def keep(bot: Bot, days: float | None, place: Place | None = None) -> None:
    async with bot.db.write() as tx:
        place_id = 0 if place is None else await people.remember_place(tx, place, now=0.0)
        assert place_id is not None
        await people.put_option(tx, place_id, DAYS, days)


def keeping(bot: Bot, free_percent: float = 0.0, room: int = 0) -> RetentionWorker:
    """``room`` files are as many as the disk holds."""

    async def disk(_: Path) -> tuple[int, int]:
        return room, room - len(bot.files())

    return RetentionWorker(bot.db, bot.pictures, bot.clock, free_percent=free_percent, disk=disk)


def numbers(bot: Bot) -> set[int]:
    """The jobs whose files are there."""
    return {int(name.partition("-")[0]) for name in bot.files()}


async def test_each_place_by_its_own_rule_and_none_longer_than_the_service(make: Make) -> None:
    bot = await make()
    other = Place("chat", "other", CHAT)
    here, elsewhere, alone = [(await there(bot, f"e{n}", place)).id for n, place in enumerate((CLUB, other, ALONE))]
    await keep(bot, 3, CLUB)
    bot.clock.advance(2.9 * DAY)
    assert await keeping(bot).sweep() == 0
    bot.clock.advance(0.2 * DAY)
    assert await keeping(bot).sweep() == 1
    assert numbers(bot) == {elsewhere, alone}
    await keep(bot, 30, other)
    await keep(bot, 5)
    bot.clock.advance(2 * DAY)
    assert await keeping(bot).sweep() == 2
    assert (numbers(bot), here) == (set(), 1)
    assert await keeping(bot).sweep() == 0


async def test_the_service_sweeps_by_itself_and_every_hour(make: Make) -> None:
    bot = await make()
    await there(bot, "e", CLUB)
    await keep(bot, 1, CLUB)
    bot.clock.advance(DAY + 3601)
    await bot.until(lambda: not bot.files())


async def test_favourites_what_is_young_and_what_is_not_delivered_stay(make: Make) -> None:
    bot = await make()
    favourite = await there(bot, "favourite", count="2")
    plain = await there(bot, "plain")
    async with bot.db.write() as tx:
        await history_rows.add_favourite(tx, 1, (await pictures.of_job(tx, favourite.id))[:1], now=1.0)
    for call in (Call.FINAL, Call.SEND):
        bot.surface.plan(call, *[Fault.BUSY] * 999)
    stuck = await bot.ask()
    await bot.reaches(stuck.id, JobState.PAINTED)
    await keep(bot, 0.01)
    bot.clock.advance(DAY - 3600)
    full = keeping(bot, 50, room=4)
    assert await full.sweep() == 0, "younger than a day"
    bot.clock.advance(3700)
    assert await full.sweep() == 1
    assert numbers(bot) == {favourite.id, stuck.id}
    assert plain.id not in numbers(bot)


async def test_a_full_disk_is_made_room_on_oldest_first_and_no_more_than_needed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = await make()
    monkeypatch.setattr("bot.privacy.deletion.BATCH", 2)
    for n in range(9):
        await there(bot, f"e{n}")
        bot.clock.advance(60)
    bot.clock.advance(DAY)
    assert await keeping(bot, 10, room=10).sweep() == 0, "1 of 10 is free"
    assert await keeping(bot, 40, room=10).sweep() == 4
    assert numbers(bot) == {5, 6, 7, 8, 9}
    assert await keeping(bot, 90, room=9).sweep() == 5, "when all is swept, it ends"
    assert await keeping(bot, 0, room=0).sweep() == 0


async def test_a_swept_picture_is_found_no_more_but_its_seed_draws_it_again(make: Make) -> None:
    bot = await make()
    job = await there(bot, "e", seed="7")
    shown = list(bot.chats.pictures(job.id))
    edits = [seen.edits for seen in bot.chats.messages.values()]
    await keep(bot, 1)
    bot.clock.advance(2 * DAY)
    assert await keeping(bot).sweep() == 1
    page = await history_service.get_page(bot.ctx, bot.actor(), before=None, limit=9, pictured=True)
    assert page.entries == ()
    card = bot.dispatch._sync._presenter.job(await bot.job(job.id), (), None, None)
    assert "no longer kept" in card.status
    assert [b.press.action for row in card.buttons for b in row] == ["reroll", "edit"]
    await bot.restart()
    await bot.quiet()
    assert bot.chats.pictures(job.id) == shown, "what the platform holds is its own"
    assert [seen.edits for seen in bot.chats.messages.values()] == edits
    ref = EventRef("again", Address("chat", CHAT, user="1"))
    again = await job_actions.draw_from_seed(bot.ctx, bot.actor(), ALONE, ButtonPress("seed", job.id, 0), ref)
    assert again.request.seed == 7
    await bot.delivered(again.id)


async def test_what_it_started_from_goes_with_it_unless_another_needs_it(make: Make) -> None:
    bot = await make()
    folder = bot.folder / "inputs"
    first = await bot.ask(image=picture(), event="first")
    await bot.delivered(first.id)
    ref = EventRef("again", Address("chat", CHAT, user="1"))
    second = await job_actions.reroll(bot.ctx, bot.actor(), ALONE, ButtonPress("reroll", first.id), ref)
    await bot.delivered(second.id)
    async with bot.db.write() as tx:
        await history_rows.add_favourite(tx, 1, await pictures.of_job(tx, second.id), now=1.0)
    await keep(bot, 1)
    bot.clock.advance(2 * DAY)
    assert await keeping(bot).sweep() == 1
    assert len(list(folder.iterdir())) == 1
    async with bot.db.write() as tx:
        await history_rows.remove_favourite(tx, 1, await pictures.of_job(tx, second.id))
    assert await keeping(bot).sweep() == 1
    assert list(folder.iterdir()) == []
    await bot.restart()
    assert (await bot.job(first.id)).request.image == "inputs/unkept"
    late = EventRef("late", Address("chat", CHAT, user="1"))
    with pytest.raises(NotFound) as refused:
        await job_actions.reroll(bot.ctx, bot.actor(), ALONE, ButtonPress("reroll", first.id), late)
    assert refused.value.key == "refusal.again.start_gone"


async def test_a_picture_that_a_waiting_job_starts_from_stays(make: Make) -> None:
    gate = StepGate()
    gate.open()
    bot = await make(engine=FakeEngine(pause=gate))
    job = await there(bot, "e")
    gate.shut()
    reached = gate.further()
    ref = EventRef("larger", Address("chat", CHAT, user="1"))
    larger = await job_actions.upscale(bot.ctx, bot.actor(), ALONE, ButtonPress("upscale", job.id, 0), ref)
    await bot.until(reached)
    await keep(bot, 1)
    bot.clock.advance(2 * DAY)
    assert await keeping(bot).sweep() == 0
    assert numbers(bot) == {job.id}
    gate.open()
    await bot.delivered(larger.id)
    assert await keeping(bot).sweep() == 1
    assert numbers(bot) == {larger.id}


async def test_killed_between_the_commit_and_the_files(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bot = await make()
    old = await there(bot, "old")
    bot.clock.advance(1.5 * DAY)
    young = await there(bot, "young")
    await keep(bot, 1)
    hang = Hang()

    with monkeypatch.context() as patched:
        patched.setattr(data_files, "remove_pictures", hang)
        sweep = asyncio.create_task(keeping(bot).sweep())
        await hang.reached.wait()
        assert numbers(bot) == {old.id, young.id}
        await bot.kill()
        sweep.cancel()
        await asyncio.gather(sweep, return_exceptions=True)
    await bot.start()
    assert numbers(bot) == {young.id}


async def many(bot: Bot, count: int) -> None:
    """So many delivered pictures, one a day."""
    for n in range(count):
        await there(bot, f"e{n}")
        bot.clock.advance(DAY)
        await keeping(bot).sweep(DAY)


@pytest.mark.parametrize("jump", [365 * DAY, 6 * DAY])
async def test_a_clock_that_is_ahead_at_a_start_removes_nothing_by_age(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, jump: float
) -> None:
    monkeypatch.setattr("bot.privacy.deletion.MAX_DOUBTED", 2)
    bot = await make()
    await many(bot, 4)
    await keep(bot, 5)
    await bot.kill()
    bot.clock.advance(jump)
    await bot.start()
    for _ in range(2):
        # A restart is no confirmation.
        await bot.restart()
        assert await keeping(bot).sweep() == 0
    assert len(numbers(bot)) == 4
    assert "DAYS AHEAD" in caplog.text
    # It was wrong: when it is right again, nothing has gone, and what is too old goes as always.
    bot.clock.advance(-jump)
    assert await keeping(bot).sweep() == 0
    bot.clock.advance(1.5 * DAY)
    assert await keeping(bot).sweep(1.5 * DAY) == 1
    assert numbers(bot) == {2, 3, 4}


async def test_a_clock_that_keeps_its_pace_for_a_day_is_believed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.privacy.deletion.MAX_DOUBTED", 2)
    bot = await make()
    await many(bot, 4)
    await keep(bot, 5)
    bot.clock.advance(30 * DAY)  # the service was off
    sweeper = keeping(bot)
    assert await sweeper.sweep() == 0
    for _ in range(23):
        bot.clock.advance(3600)
        assert await sweeper.sweep(3600) == 0
    bot.clock.advance(40 * DAY)  # a jump while it runs: the day begins again
    assert await sweeper.sweep(3600) == 0
    for _ in range(23):
        bot.clock.advance(3600)
        assert await sweeper.sweep(3600) == 0
    bot.clock.advance(3600)
    assert await sweeper.sweep(3600) == 4


async def test_a_full_disk_under_a_clock_that_is_ahead_takes_nothing_young(make: Make) -> None:
    bot = await make()
    await many(bot, 2)
    young = await there(bot, "young")
    await bot.kill()
    bot.clock.advance(365 * DAY)
    await bot.start()
    assert await keeping(bot, 50, room=1).sweep() == 2
    assert numbers(bot) == {young.id}
