"""Drawings that start from something: their files reach the engine, outlive a kill, and go when nobody needs them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from bot.core.cards import ButtonPress
from bot.core.jobs import Job, JobState
from bot.core.messages import EventRef
from bot.core.people import Place
from bot.core.pictures import Picture
from bot.core.requests import DrawForm
from bot.drawing import job_actions
from bot.drawing.admission import draw
from bot.storage import jobs, pictures
from engine.contract import PROMPT_CUT, Event, Image
from tests.fakes.engine import FakeEngine
from tests.fakes.png_texts import read_texts
from tests.fakes.source_images import RED, half_mask, opened, picture
from tests.fakes.step_gate import StepGate
from tests.flow.conftest import Make
from tests.flow.harness import Bot

PAGE = Place("web", None, "page")
GIVEN = DrawForm("a cat", image=picture(96, 64, RED), strength="0.05", seed="7")


async def ask(bot: Bot, form: DrawForm, event: str = "page") -> Job:
    return await draw(bot.ctx, bot.actor(platform="web"), PAGE, form, EventRef(event))


async def pictures_of(bot: Bot, job: Job) -> tuple[Picture, ...]:
    async with bot.db.read() as tx:
        return await pictures.of_job(tx, job.id)


async def file_of(bot: Bot, job: Job, index: int = 0) -> bytes:
    return (bot.pictures / (await pictures_of(bot, job))[index].path).read_bytes()


def is_near(found: object, colour: tuple[int, ...], by: int = 20) -> bool:
    assert isinstance(found, tuple)
    return all(abs(a - b) <= by for a, b in zip(found, colour, strict=True))


async def test_a_picture_to_start_from_is_in_what_is_drawn(make: Make) -> None:
    bot = await make()
    job = await ask(bot, GIVEN)
    await bot.delivered(job.id)
    drawn = await file_of(bot, job)
    assert (opened(drawn).size, is_near(opened(drawn).getpixel((120, 80)), RED)) == ((240, 160), True)
    assert "Denoising strength: 0.05" in read_texts(drawn)["parameters"]
    # The same again with all of it forgotten is another picture.
    other = await ask(bot, replace(GIVEN, strength="1"), "other")
    await bot.delivered(other.id)
    assert not is_near(opened(await file_of(bot, other)).getpixel((120, 80)), RED)


async def test_what_the_mask_leaves_out_stays(make: Make) -> None:
    bot = await make()
    job = await ask(bot, replace(GIVEN, mask=half_mask(96, 64), strength="1"))
    await bot.delivered(job.id)
    drawn = opened(await file_of(bot, job))
    assert drawn.getpixel((10, 80)) == RED
    assert drawn.getpixel((230, 80)) != RED


async def test_it_is_still_there_after_a_kill_and_goes_with_its_job(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    job = await ask(bot, GIVEN)
    await bot.until(lambda: gate.reached)
    stray, strange = (bot.folder / "inputs" / name for name in (f"{'a' * 64}.png", "holiday.png"))
    stray.write_bytes(b"left by a refusal")
    strange.write_bytes(b"not Easel's")
    await bot.restart()
    assert not stray.exists()
    assert [path.read_bytes() for path in (bot.folder / "orphans").rglob("*.png")] == [b"left by a refusal"]
    assert strange.exists()
    strange.unlink()
    gate.open()
    await bot.delivered(job.id)
    assert is_near(opened(await file_of(bot, job)).getpixel((120, 80)), RED)
    # Rerolls need it as long as the job is kept.
    await bot.restart()
    assert (bot.folder / job.request.image).exists()
    async with bot.db.write() as tx:
        await tx.execute_fetchall("UPDATE jobs SET image = '', mask = ''")
        assert not await jobs.source_files(tx)
    await bot.restart()
    assert not (bot.folder / job.request.image).exists()


async def test_a_file_that_is_gone_fails_with_its_own_sentence(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    job = await ask(bot, GIVEN)
    (bot.folder / job.request.image).unlink()
    gate.open()
    assert (await bot.reaches(job.id, JobState.FAILED)).error == "error.engine.bad_image"


async def test_variations_and_an_upscaling_of_them(make: Make) -> None:
    bot = await make()
    first = await ask(bot, DrawForm("a cat", seed="7"), "1")
    await bot.delivered(first.id)
    where = bot.actor(platform="web"), PAGE
    varied = await job_actions.vary(bot.ctx, *where, ButtonPress("vary", first.id, 0), EventRef("2"))
    await bot.delivered(varied.id)
    original, one, two = [opened(await file_of(bot, *at)) for at in ((first, 0), (varied, 0), (varied, 1))]
    middles = [found.getpixel((96, 96)) for found in (original, one, two)]
    assert len(set(middles)) == 3, "each is a picture of its own"
    assert {p.seed for p in await pictures_of(bot, varied)} == {7}
    large = await job_actions.upscale(bot.ctx, *where, ButtonPress("upscale", varied.id, 1), EventRef("3"))
    await bot.delivered(large.id)
    drawn = await file_of(bot, large)
    assert opened(drawn).size == (384, 384)
    assert {"Size: 192x192", "Hires upscale: 2"} <= set(read_texts(drawn)["parameters"].split(", "))
    # It is mixed with the picture that it enlarges, so it is near to that one.
    found = opened(drawn).getpixel((192, 192))
    assert isinstance(found, tuple)
    assert isinstance(middles[2], tuple)
    assert sum(abs(a - b) for a, b in zip(found, middles[2], strict=True)) < 0.4 * 3 * 255
    again = await job_actions.reroll(bot.ctx, *where, ButtonPress("reroll", large.id), EventRef("4"))
    await bot.delivered(again.id)
    assert (again.request.upscale, again.request.image) == (2.0, large.request.image)


class Noting(FakeEngine):
    """Says of each picture how it was drawn."""

    async def paint(self, *args, **how):  # type: ignore[no-untyped-def]
        async for event in super().paint(*args, **how):
            yield self.noted(event)

    def noted(self, event: Event) -> Event:
        if not isinstance(event, Image):
            return event
        return replace(event, precision="bf16", revision="0123456789abcdef", notes=(PROMPT_CUT,))


async def test_what_the_engine_says_of_a_picture_reaches_its_card_and_its_file(make: Make) -> None:
    bot = await make(engine=Noting())
    job = await bot.ask()
    await bot.delivered(job.id)
    (stored,) = await pictures_of(bot, job)
    assert (stored.precision, stored.revision, stored.notes) == ("bf16", "0123456789abcdef", (PROMPT_CUT,))
    assert {"Precision: bf16", "Model revision: 0123456789"} <= set(
        read_texts(await file_of(bot, job))["parameters"].split(", ")
    )
    (seen,) = bot.chats.shown(job.id)
    assert seen.card is not None
    assert seen.card.notes == ("The prompt is longer than this model can read; its end was ignored.",)


async def test_only_those_who_look_are_sent_previews(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    job = await bot.ask()
    await bot.until(lambda: gate.reached)
    gate.let(2)
    await bot.until(lambda: gate.reached == 3)
    live = bot.dispatch.live
    assert not live.previews(job.id)
    with live.subscribe((job.id,), previews=True) as changes:
        await bot.until(lambda: f"{job.id}:0" in bot.engine.previewed)
        gate.let(1)
        while not live.previews(job.id):
            async with asyncio.timeout(10):
                await anext(changes)
        assert opened(live.previews(job.id)[0].data).size == (24, 24)
    await bot.until(lambda: not bot.engine.previewed)
    gate.open()
    await bot.delivered(job.id)


async def test_who_looked_before_it_began_sees_it_too(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    first, second = await bot.ask(), await bot.ask("another", size="128x64")
    with bot.dispatch.live.subscribe((second.id,), previews=True):
        gate.let(first.request.steps + 2)
        await bot.until(lambda: bot.dispatch.live.previews(second.id))
    gate.open()
    await bot.delivered(second.id)
