"""One suite for every Engine: whoever keeps these promises can draw for the bot."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from PIL import Image as Pillow

from bot.core.messages import Address, EventRef
from bot.core.people import Place
from bot.drawing import job_actions
from bot.storage import pictures as stored
from engine.comfy.comfy_engine import ComfyEngine, Pauses
from engine.contract import (
    BadImage,
    BadRecipe,
    CannotWrite,
    Engine,
    EngineConfig,
    EngineLost,
    Event,
    Failed,
    Image,
    Lane,
    LoraRequest,
    Phase,
    Preview,
    PromptOnly,
    Recipe,
    Step,
    UnknownLora,
    UnknownModel,
)
from engine.families.z_image.spec import demo
from engine.host.process_engine import ProcessEngine
from engine.host.supervision import Timeouts
from engine.multi_engine import MultiEngine
from engine.ray.placement import SlotPlan
from engine.ray.ray_engine import RayEngine
from tests.fakes import text_models
from tests.fakes.comfy import FakeComfy
from tests.fakes.comfy import comfy as running_comfy
from tests.fakes.comfy_workflow import comfy_workflow
from tests.fakes.engine import FakeEngine
from tests.fakes.ray_cluster import FAKE_WORKER, Cluster
from tests.fakes.surface import FakeSurface
from tests.flow.harness import CHAT, Bot

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(300)]

HALF = "half a pair: \ud800"
"""A prompt that is no text: no tokenizer takes it."""


@dataclass
class Rig:
    """An engine, and how to make its devices die."""

    engine: Engine
    kill: Callable[[], Awaitable[None]]
    draws: bool
    """Whether its pictures follow the prompt."""
    every_step: bool = True
    """Whether it tells of every step."""
    plain: bool = False
    """Whether it draws from a prompt alone, as its slots say."""
    writes: bool = True
    """Whether it writes longer prompts and describes pictures."""
    precise: bool = True
    """Whether it knows the number format that it draws in."""

    def needs_more_than_prompts(self) -> None:
        """Skip a test of pictures that are started from others, or varied."""
        if self.plain:
            pytest.skip("it draws from a prompt alone, and its slots say so")

    def needs_a_writer(self) -> None:
        """Skip a test of texts."""
        if not self.writes:
            pytest.skip("it writes no texts, and its profiles say so")


@contextlib.asynccontextmanager
async def fake(_: Path) -> AsyncIterator[Rig]:
    async with fakes(1) as (rig, _one):
        yield rig


@contextlib.asynccontextmanager
async def two_fakes(_: Path) -> AsyncIterator[Rig]:
    async with fakes(2) as (rig, _two):
        yield rig


@contextlib.asynccontextmanager
async def fakes(count: int) -> AsyncIterator[tuple[Rig, Sequence[FakeEngine]]]:
    """Make an engine of one or several fakes, each of which is a slot."""
    made = [FakeEngine((replace(demo(), expands=True),), describes=True) for _ in range(count)]
    engine = made[0] if count == 1 else MultiEngine({f"fake:{number}": one for number, one in enumerate(made)})
    back: list[asyncio.Task[None]] = []

    async def kill() -> None:
        for one in made:
            await one.lose()
        back.extend(asyncio.create_task(one.recover()) for one in made)

    await engine.start()
    yield Rig(engine, kill, draws=False), made
    await engine.aclose()
    await asyncio.gather(*back)


@contextlib.asynccontextmanager
async def process(folder: Path) -> AsyncIterator[Rig]:
    writer, captioner = text_models.writer(folder / "writer"), text_models.blip(folder / "captioner")
    config = EngineConfig("demo", str(folder), text_model=str(writer), caption_model=str(captioner))
    engine = ProcessEngine(config, Timeouts(first_pause=0.01))

    async def kill() -> None:
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)

    await engine.start()
    yield Rig(engine, kill, draws=True)
    await engine.aclose()
    assert engine.pid is None


@contextlib.asynccontextmanager
async def ray(folder: Path, cluster: Cluster) -> AsyncIterator[Rig]:
    """One slot: the suite looks at the order of paints on a device. Its actor runs FakeEngine as its worker."""
    writer, captioner = text_models.writer(folder / "writer"), text_models.blip(folder / "captioner")
    config = EngineConfig("demo", str(folder), text_model=str(writer), caption_model=str(captioner))
    engine = RayEngine(config, cluster.config, [SlotPlan()], worker=FAKE_WORKER)

    async def kill() -> None:
        (pid,) = engine.pids
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    await engine.start()
    yield Rig(engine, kill, draws=False, every_step=False)
    await engine.aclose()
    assert engine.pids == (None,)


@contextlib.asynccontextmanager
async def comfy(_: Path) -> AsyncIterator[Rig]:
    """The engine of a ComfyUI server; the stand-in draws what it is told as little as FakeEngine."""
    async with comfies(1) as (engines, servers):
        back: list[asyncio.Task[None]] = []

        async def kill() -> None:
            await servers[0].stop()
            back.append(asyncio.create_task(servers[0].start()))

        yield Rig(engines[0], kill, draws=False, plain=True, writes=False, precise=False)
        await asyncio.gather(*back)


@contextlib.asynccontextmanager
async def comfies(count: int) -> AsyncIterator[tuple[Sequence[ComfyEngine], Sequence[FakeComfy]]]:
    """Start stand-ins for ComfyUI servers, and an engine for each."""
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(running_comfy()) for _ in range(count)]
        engines = [
            ComfyEngine(
                server.url, {"demo": comfy_workflow()}, timeouts=Timeouts(first_pause=0.02), pauses=Pauses(look=0.5)
            )
            for server in servers
        ]
        for engine in engines:
            stack.push_async_callback(engine.aclose)
            await engine.start()
        yield engines, servers


MakeRig = Callable[..., contextlib.AbstractAsyncContextManager[Rig]]


def maker(request: pytest.FixtureRequest, make: MakeRig) -> MakeRig:
    """Return a maker of rigs; the one of Ray gets a cluster."""
    return partial(make, cluster=request.getfixturevalue("ray_cluster")) if make is ray else make


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=[fake, two_fakes, process, ray, comfy])
async def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Rig]:
    async with maker(request, request.param)(tmp_path_factory.mktemp("models")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def engine(rig: Rig) -> Engine:
    async with asyncio.timeout(120):
        await rig.engine.warm()
    return rig.engine


def recipe(name: str, prompt: str = "a red apple on a blue background", seed: int = 7, **more: object) -> Recipe:
    quick = Recipe(name, "demo", prompt, "", width=192, height=192, steps=4, guidance=0.0, seed=seed)
    return replace(quick, **more)  # type: ignore[arg-type]  # each test names fields of Recipe


def slow(name: str) -> Recipe:
    """Return a recipe that the demo model needs many seconds for."""
    return recipe(name, width=512, height=512, steps=50)


async def all_of(engine: Engine, recipes: Sequence[Recipe], lane: Lane = Lane.INTERACTIVE) -> list[Event]:
    async with contextlib.aclosing(engine.paint(recipes, lane)) as events:
        return [e async for e in events]


async def picture(engine: Engine, wanted: Recipe) -> Image:
    last = (await all_of(engine, [wanted]))[-1]
    assert isinstance(last, Image), last
    return last


def pixels(image: Image) -> NDArray[np.int16]:
    return np.asarray(Pillow.open(io.BytesIO(image.data)).convert("RGB")).astype(np.int16)


def edge_and_middle(image: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean colours of an eight-pixel frame and of the middle quarter."""
    p = pixels(image).astype(np.float64)
    h, w, _ = p.shape
    frame = np.concatenate(
        [p[:8].reshape(-1, 3), p[-8:].reshape(-1, 3), p[:, :8].reshape(-1, 3), p[:, -8:].reshape(-1, 3)]
    )
    return frame.mean(0), p[h * 3 // 8 : h * 5 // 8, w * 3 // 8 : w * 5 // 8].reshape(-1, 3).mean(0)


async def test_a_profile_whose_defaults_are_within_its_own_limits(engine: Engine) -> None:
    for profile in engine.profiles():
        assert profile.side.low <= profile.side.default <= profile.side.high
        assert profile.steps.low <= profile.steps.default <= profile.steps.high
        assert profile.guidance.low <= profile.guidance.default <= profile.guidance.high
        for width, height in profile.presets.values():
            assert width % profile.multiple == height % profile.multiple == 0
            assert profile.side.low <= min(width, height) <= max(width, height) <= profile.side.high
    slots = engine.slots()
    assert slots
    assert len({slot.id for slot in slots}) == len(slots)
    assert all(slot.calls >= 1 for slot in slots)
    assert any(slot.ready and slot.can_draw("demo") for slot in slots)
    assert engine.batch(recipe("a")) >= 1


async def test_warm_says_what_it_is(rig: Rig, engine: Engine) -> None:
    state = engine.state()
    assert state.phase is Phase.WARM
    assert state.model == engine.profiles()[0].name
    assert state.device
    assert bool(state.precision) is rig.precise
    assert not state.problem
    assert all(slot.plain == ({"demo"} if rig.plain else set()) for slot in engine.slots())


def assert_steps(rig: Rig, events: Sequence[Event], name: str, steps: int) -> None:
    """Assert that a recipe's steps come in order, from the first to the last one."""
    told = [event for event in events if isinstance(event, Step) and event.recipe_id == name]
    if rig.every_step:
        assert told == [Step(name, n, steps) for n in range(1, steps + 1)]
    else:
        assert told == sorted(set(told), key=lambda step: step.step)
        assert (told[0], told[-1]) == (Step(name, 1, steps), Step(name, steps, steps))


async def test_steps_come_in_order_and_a_picture_ends_them(rig: Rig, engine: Engine) -> None:
    events = await all_of(engine, [recipe("a", width=256, height=144)])
    assert_steps(rig, events[:-1], "a", 4)
    end = events[-1]
    assert isinstance(end, Image)
    assert (end.recipe_id, end.width, end.height, end.mime) == ("a", 256, 144, "image/png")
    assert end.seconds > 0
    opened = Pillow.open(io.BytesIO(end.data))
    assert (opened.format, opened.size, opened.info) == ("PNG", (256, 144), {})


async def test_each_of_a_batch_ends_once(rig: Rig, engine: Engine) -> None:
    names = [f"r{n}" for n in range(11)]  # more than are drawn together
    events = await all_of(engine, [recipe(name, seed=n) for n, name in enumerate(names)])
    ends = [e for e in events if not isinstance(e, Step)]
    assert sorted(e.recipe_id for e in ends) == sorted(names)
    assert all(isinstance(e, Image) for e in ends)
    for name in names:
        assert_steps(rig, [e for e in events if e.recipe_id == name][:-1], name, 4)


async def test_a_bad_recipe_fails_alone(engine: Engine) -> None:
    events = await all_of(
        engine, [recipe("good"), recipe("bad", HALF), recipe("stranger", model="nobody"), recipe("fine", "猫")]
    )
    ends = {e.recipe_id: e for e in events if not isinstance(e, Step)}
    assert isinstance(ends["good"], Image)
    assert isinstance(ends["fine"], Image)
    bad, stranger = ends["bad"], ends["stranger"]
    assert isinstance(bad, Failed)
    assert isinstance(bad.error, BadRecipe)
    assert isinstance(stranger, Failed)
    assert isinstance(stranger.error, UnknownModel)
    assert "nobody" in str(stranger.error)
    assert len([e for e in events if not isinstance(e, Step)]) == 4


async def test_an_unknown_lora_fails_alone(rig: Rig, engine: Engine) -> None:
    assert engine.loras() == ()
    unknown = recipe("unknown", loras=(LoraRequest("pixle"),))
    ends = {e.recipe_id: e for e in await all_of(engine, [recipe("good"), unknown]) if not isinstance(e, Step)}
    assert isinstance(ends["good"], Image)
    failed = ends["unknown"]
    assert isinstance(failed, Failed)
    if rig.plain:
        # It would be unknown with every name: another slot may know it.
        assert isinstance(failed.error, PromptOnly)
    else:
        assert isinstance(failed.error, UnknownLora)
        assert "'pixle'" in str(failed.error)


async def test_nothing_to_paint_is_nothing(engine: Engine) -> None:
    assert await all_of(engine, []) == []


async def test_dropped_it_says_nothing_more_and_its_mates_go_on(engine: Engine) -> None:
    after: list[Event] = []
    images: list[str] = []
    dropped = False
    async with contextlib.aclosing(engine.paint([recipe(n, steps=20) for n in ("a", "b", "c")])) as events:
        async for event in events:
            if isinstance(event, Image):
                images.append(event.recipe_id)
            if dropped:
                after.append(event)
            elif event.recipe_id == "b":
                await engine.drop("b")
                dropped = True
    assert "b" not in {e.recipe_id for e in after}
    # The first may be complete before the second begins.
    assert sorted(images) == ["a", "c"]


async def test_dropping_all_ends_the_paint_and_frees_the_device(engine: Engine) -> None:
    seen: list[Event] = []
    async with contextlib.aclosing(engine.paint([slow("a"), slow("b")])) as events:
        async for event in events:
            seen.append(event)
            await engine.drop("a")
            await engine.drop("b")
    assert len(seen) == 1
    await picture(engine, recipe("next"))


async def test_a_recipe_is_dropped_while_it_waits(engine: Engine) -> None:
    async with contextlib.aclosing(engine.paint([slow("first")])) as first:
        await anext(first)
        waiting = asyncio.create_task(all_of(engine, [recipe("waiting")]))
        await asyncio.sleep(0)
        await engine.drop("waiting")
        assert await waiting == []


async def test_dropping_a_stranger_is_nothing(engine: Engine) -> None:
    await engine.drop("nobody")


async def test_leaving_the_loop_drops_the_rest(rig: Rig, engine: Engine) -> None:
    async with contextlib.aclosing(engine.paint([slow("a"), slow("b")])) as events:
        async for _ in events:
            break
    # The same names again: nothing of the first time is left to be heard.
    again = await all_of(engine, [recipe("a"), recipe("b")])
    assert_steps(rig, again, "a", 4)
    assert len([e for e in again if isinstance(e, Image)]) == 2


async def test_cancelling_the_reader_drops_the_rest(engine: Engine) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        async with contextlib.aclosing(engine.paint([slow("a")])) as events:
            async for _ in events:
                begun.set()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await picture(engine, recipe("next"))


async def test_interactive_goes_before_bulk(engine: Engine) -> None:
    order: list[str] = []
    slot = engine.slots()[0].id  # each slot orders its own

    async def paint(name: str, lane: Lane) -> None:
        async with contextlib.aclosing(engine.paint([recipe(name)], lane, slot)) as events:
            order.extend([name async for event in events if isinstance(event, Image)])

    async with contextlib.aclosing(engine.paint([slow("first")], slot=slot)) as first:
        await anext(first)
        async with asyncio.TaskGroup() as group:
            group.create_task(paint("bulk", Lane.BULK))
            group.create_task(paint("chat", Lane.INTERACTIVE))
            for _ in range(3):
                await anext(first)  # both are in the line by now
            await engine.drop("first")
            await first.aclose()
    assert order == ["chat", "bulk"]


async def test_a_short_one_does_not_wait_for_a_long_one_to_end(rig: Rig, engine: Engine) -> None:
    if not rig.draws:
        pytest.skip("a fake draws one paint after the other")
    async with contextlib.aclosing(engine.paint([slow("long")])) as long:
        for _ in range(3):
            await anext(long)
        steps = 0

        async def count() -> None:
            nonlocal steps
            async for _ in long:
                steps += 1

        counting = asyncio.create_task(count())
        async with contextlib.aclosing(engine.paint([recipe("short")])) as short:
            assert await anext(short) == Step("short", 1, 4)
            assert steps <= 2
            assert isinstance([e async for e in short][-1], Image)
        await engine.drop("long")
        await counting


async def test_set_aside_it_goes_on_to_the_same_bytes(rig: Rig, engine: Engine) -> None:
    if not rig.draws:
        pytest.skip("a fake draws one paint after the other")
    long = recipe("long", steps=30)
    undisturbed = await picture(engine, long)
    async with contextlib.aclosing(engine.paint([long])) as events:
        await anext(events)
        await picture(engine, recipe("short", width=128, steps=2))
        rest = [e async for e in events]
    assert isinstance(rest[-1], Image)
    assert rest[-1].data == undisturbed.data


async def test_paints_of_a_size_are_drawn_together_whatever_their_steps(rig: Rig, engine: Engine) -> None:
    if not rig.draws:
        pytest.skip("a fake draws one paint after the other")
    alone = [await picture(engine, recipe("a", seed=n, steps=steps)) for n, steps in enumerate((6, 9, 12))]
    together = await asyncio.gather(
        *(picture(engine, recipe(f"b{n}", seed=n, steps=steps)) for n, steps in enumerate((6, 9, 12)))
    )
    for one, other in zip(alone, together, strict=True):
        assert np.abs(pixels(one) - pixels(other)).max() <= 1


async def test_previews_are_for_those_who_look(engine: Engine) -> None:
    rows = [recipe("looked", steps=20), recipe("not", seed=8, steps=20)]
    async with contextlib.aclosing(engine.paint(rows)) as painted:
        events = [await anext(painted)]
        await engine.set_preview("looked", enabled=True)
        events += [e async for e in painted]
    previews = [e for e in events if isinstance(e, Preview)]
    assert {e.recipe_id for e in previews} == {"looked"}
    for preview in previews:
        rough = Pillow.open(io.BytesIO(preview.data))
        assert (rough.format or "").lower() == preview.mime.removeprefix("image/")
        assert rough.width < 192
    assert len([e for e in events if isinstance(e, Image)]) == 2


async def test_looking_at_a_stranger_is_nothing(engine: Engine) -> None:
    await engine.set_preview("nobody", enabled=True)
    await engine.set_preview("nobody", enabled=False)


async def test_it_starts_from_a_picture(rig: Rig, engine: Engine, tmp_path: Path) -> None:
    rig.needs_more_than_prompts()
    given = tmp_path / "given.png"
    given.write_bytes((await picture(engine, recipe("a", seed=3))).data)
    near = await picture(engine, recipe("near", image=str(given), strength=0.3, steps=8))
    far = await picture(engine, recipe("far", image=str(given), strength=1.0, steps=8))
    start = np.asarray(Pillow.open(given).convert("RGB")).astype(np.int16)
    assert np.abs(pixels(near) - start).mean() < np.abs(pixels(far) - start).mean()


async def test_what_a_mask_keeps_stays(rig: Rig, engine: Engine, tmp_path: Path) -> None:
    rig.needs_more_than_prompts()
    given, mask = tmp_path / "given.png", tmp_path / "mask.png"
    given.write_bytes((await picture(engine, recipe("a", seed=3))).data)
    half = Pillow.new("L", (192, 192), 0)
    half.paste(255, (96, 0, 192, 192))
    half.save(mask)
    found = pixels(await picture(engine, recipe("b", "a cat in space", image=str(given), mask=str(mask), strength=0.9)))
    start = np.asarray(Pillow.open(given).convert("RGB")).astype(np.int16)
    assert np.array_equal(found[:, :96], start[:, :96])
    assert not np.array_equal(found[:, 96:], start[:, 96:])


async def test_a_picture_that_is_none_fails_alone(rig: Rig, engine: Engine, tmp_path: Path) -> None:
    rig.needs_more_than_prompts()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    events = await all_of(
        engine, [recipe("bad", image=str(broken)), recipe("gone", image=str(tmp_path / "x")), recipe("ok")]
    )
    ends = {e.recipe_id: e for e in events if isinstance(e, Image | Failed)}
    for name in ("bad", "gone"):
        end = ends[name]
        assert isinstance(end, Failed)
        assert isinstance(end.error, BadImage)
    assert isinstance(ends["ok"], Image)


async def test_references_for_a_model_that_takes_none_fail_alone(engine: Engine, tmp_path: Path) -> None:
    given = tmp_path / "given.png"
    given.write_bytes((await picture(engine, recipe("a"))).data)
    events = await all_of(engine, [recipe("bad", references=(str(given),)), recipe("ok")])
    ends = {e.recipe_id: e for e in events if isinstance(e, Image | Failed)}
    bad = ends["bad"]
    assert isinstance(bad, Failed)
    assert isinstance(bad.error, BadRecipe)
    assert isinstance(ends["ok"], Image)
    assert engine.edit_model() == ""


async def test_what_needs_more_than_a_prompt_fails_alone_where_nothing_draws_it(rig: Rig, engine: Engine) -> None:
    if not rig.plain:
        pytest.skip("it draws from more than prompts")
    assert all(not profile.can and not profile.samplers and not profile.controls for profile in engine.profiles())
    more = [recipe("image", image="a.png"), recipe("varied", variation=0.2), recipe("sampler", sampler="Heun")]
    ends = {e.recipe_id: e for e in await all_of(engine, [*more, recipe("ok")]) if isinstance(e, Image | Failed)}
    for one in more:
        end = ends[one.id]
        assert isinstance(end, Failed)
        assert isinstance(end.error, PromptOnly)
    assert isinstance(ends["ok"], Image)


async def test_a_variation_is_another_picture_and_none_is_the_same(rig: Rig, engine: Engine) -> None:
    rig.needs_more_than_prompts()
    plain = await picture(engine, recipe("a"))
    varied = await picture(engine, recipe("b", variation=0.2, variation_seed=99))
    assert (await picture(engine, recipe("c", variation=0.0, variation_seed=99))).data == plain.data
    assert varied.data != plain.data
    other = await picture(engine, recipe("d", seed=99))
    assert np.abs(pixels(varied) - pixels(plain)).mean() < np.abs(pixels(other) - pixels(plain)).mean()


async def test_the_same_recipe_is_the_same_bytes(engine: Engine) -> None:
    one, two = await picture(engine, recipe("a")), await picture(engine, recipe("b"))
    assert one.data == two.data
    other = await picture(engine, recipe("c", seed=8))
    assert other.data != one.data


async def test_a_seed_of_63_bits(engine: Engine) -> None:
    top = await picture(engine, recipe("a", seed=2**63 - 1))
    assert top.data != (await picture(engine, recipe("b", seed=2**63 - 2))).data


async def test_alone_or_in_company_it_is_the_same_picture(engine: Engine) -> None:
    alone = await picture(engine, recipe("alone", steps=8))
    company = [
        recipe("b", "夜空中的一只猫", 1),
        recipe("me"),
        recipe("c", "a rocket in space, " * 8, 2),
        recipe("d", "", 3),
    ]
    events = await all_of(engine, [replace(r, steps=8) for r in company])
    (mine,) = (e for e in events if isinstance(e, Image) and e.recipe_id == "me")
    assert np.abs(pixels(alone) - pixels(mine)).max() <= 1


async def test_what_the_bot_draws_again_is_the_same_picture(engine: Engine, tmp_path: Path) -> None:
    bot = Bot(tmp_path, cast("FakeEngine", engine), {"chat": FakeSurface()})
    await bot.start()
    try:
        first = await bot.delivered((await bot.ask("a red apple", count="2", steps="3", seed="7")).id)
        # Beside another's picture, which may share its steps.
        other = await bot.ask("夜空中的一只猫", user="2", steps="3")
        ref = EventRef("again", Address("chat", CHAT, user="1"))
        again = await job_actions.draw_again(bot.ctx, bot.actor(), Place("chat", None, CHAT), first.id, ref)
        await bot.delivered(again.id)
        await bot.delivered(other.id)
        card = bot.chats.shown(again.id)[0].card
        assert card is not None
        assert len(card.notes) == 1
        async with bot.db.read() as tx:
            then, now = await stored.of_job(tx, first.id), await stored.of_job(tx, again.id)
        assert now[0].device == engine.state().device
        for one, same in zip(then, now, strict=True):
            sides = [Pillow.open(bot.pictures / picture.path).convert("RGB") for picture in (one, same)]
            assert np.abs(np.asarray(sides[0], np.int16) - np.asarray(sides[1], np.int16)).max() <= 1
    finally:
        await bot.kill()


async def test_it_draws_what_it_is_told(rig: Rig, engine: Engine) -> None:
    if not rig.draws:
        pytest.skip("a fake follows no prompt")
    edge, middle = edge_and_middle(await picture(engine, recipe("a", steps=8)))
    assert edge.argmax() == 2, edge
    assert edge[2] > 1.5 * edge[0]
    assert middle.argmax() == 0, middle
    assert middle[0] > 1.5 * max(middle[1], middle[2])
    edge, _ = edge_and_middle(await picture(engine, recipe("b", "黄色背景上的火箭", steps=8)))
    assert min(edge[0], edge[1]) > 1.5 * edge[2], edge


async def test_guidance_and_its_negative_prompt_change_the_picture(rig: Rig, engine: Engine) -> None:
    if not rig.draws:
        pytest.skip("a fake follows no guidance")
    plain = recipe("a")
    guided = replace(plain, guidance=3.0)
    pictures = [
        (await picture(engine, r)).data
        for r in (
            plain,
            guided,
            replace(guided, negative="blue background"),
            replace(plain, negative="blue background"),
        )
    ]
    assert len(set(pictures)) == 3
    assert pictures[0] == pictures[3], "without guidance a negative prompt does nothing"


async def test_a_longer_prompt_is_one_line_that_its_seed_decides(rig: Rig, engine: Engine) -> None:
    rig.needs_a_writer()
    assert all(profile.expands for profile in engine.profiles())
    first = await engine.expand("demo", "a red cat", seed=1)
    assert first
    assert first == " ".join(first.split())
    assert await engine.expand("demo", "a red cat", seed=1) == first
    assert await engine.expand("demo", "a red cat", seed=2) != first
    with pytest.raises(UnknownModel, match="nobody"):
        await engine.expand("nobody", "a red cat")


async def test_a_picture_is_described(rig: Rig, engine: Engine, tmp_path: Path) -> None:
    rig.needs_a_writer()
    assert engine.can_describe()
    given = tmp_path / "given.png"
    given.write_bytes((await picture(engine, recipe("a"))).data)
    assert await engine.describe(str(given))
    with pytest.raises(BadImage):
        await engine.describe(str(tmp_path / "none.png"))


async def test_a_text_is_written_while_a_picture_is_drawn(rig: Rig, engine: Engine) -> None:
    rig.needs_a_writer()
    async with contextlib.aclosing(engine.paint([slow("a")])) as events:
        await anext(events)
        writing = asyncio.create_task(engine.expand("demo", "a red cat"))
        async for event in events:
            assert isinstance(event, Step)
            if writing.done():
                break
            await asyncio.sleep(0)
        assert await writing


async def test_a_cancelled_text_is_dropped(rig: Rig, engine: Engine) -> None:
    rig.needs_a_writer()
    writing = asyncio.create_task(engine.expand("demo", "a red cat"))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await engine.expand("demo", "a red cat")
    await picture(engine, recipe("next"))


async def test_a_text_is_lost_with_the_device_and_can_be_asked_for_again(rig: Rig, engine: Engine) -> None:
    rig.needs_a_writer()
    writing = asyncio.create_task(engine.expand("demo", "a red cat"))
    await asyncio.sleep(0)
    await rig.kill()
    if len(engine.slots()) == 1:
        with pytest.raises(EngineLost):
            await writing
    else:
        # A slot that is back before the loss is noticed writes it.
        with contextlib.suppress(EngineLost):
            assert await writing
    async with asyncio.timeout(120):
        await engine.warm()
    assert await engine.expand("demo", "a red cat")


@pytest.mark.parametrize(
    "engine_of",
    [
        FakeEngine,
        lambda: ProcessEngine(EngineConfig("demo", "nowhere")),
        lambda: ComfyEngine("http://nowhere", {"demo": comfy_workflow()}),
    ],
)
async def test_what_can_t_write_says_what_to_set(engine_of: Callable[[], Engine]) -> None:
    engine = engine_of()
    assert not any(profile.expands for profile in engine.profiles())
    assert not engine.can_describe()
    with pytest.raises(CannotWrite, match="EASEL_TEXT_MODEL"):
        await engine.expand("demo", "a red cat")
    with pytest.raises(CannotWrite, match="EASEL_CAPTION_MODEL"):
        await engine.describe("a.png")


async def test_a_dead_device_is_lost_at_once_and_comes_back(rig: Rig, engine: Engine) -> None:
    before = engine.state().restarts
    got: list[Event] = []

    async def read() -> None:
        async with contextlib.aclosing(engine.paint([slow("a"), slow("b")])) as events:
            async for event in events:
                if not got:
                    await rig.kill()
                got.append(event)

    with pytest.raises(EngineLost):
        await read()
    assert not [e for e in got if not isinstance(e, Step)]
    # What is opened while it is away is drawn once it is back.
    await picture(engine, recipe("a"))
    assert engine.state().restarts == before + len(engine.slots())


async def test_every_open_paint_is_lost(rig: Rig, engine: Engine) -> None:
    async with contextlib.aclosing(engine.paint([slow("a")])) as first:
        await anext(first)
        others = [asyncio.create_task(all_of(engine, [slow(n)], lane)) for n, lane in zip("bc", Lane, strict=True)]
        await anext(first)
        await rig.kill()
        ends = await asyncio.gather(*others, return_exceptions=True)
        assert [type(e) for e in ends] == [EngineLost, EngineLost]
        with pytest.raises(EngineLost):
            async for _ in first:
                pass


@pytest.mark.parametrize("make", [fake, two_fakes, process, ray, comfy])
async def test_closed_it_loses_what_is_open_and_takes_nothing_more(
    request: pytest.FixtureRequest, make: MakeRig, tmp_path: Path
) -> None:
    async with maker(request, make)(tmp_path) as rig:
        await rig.engine.warm()
        async with contextlib.aclosing(rig.engine.paint([slow("a")])) as events:
            await anext(events)
            async with asyncio.timeout(5):
                await rig.engine.aclose()
            with pytest.raises(EngineLost):
                async for _ in events:
                    pass
        with pytest.raises(EngineLost):
            await all_of(rig.engine, [recipe("late")])
        with pytest.raises(EngineLost if rig.writes else CannotWrite):
            await rig.engine.expand("demo", "a late cat")
        with pytest.raises(EngineLost):
            await rig.engine.warm()
