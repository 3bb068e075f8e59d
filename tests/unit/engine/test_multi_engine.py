"""An engine of several devices: what does not fit one card is drawn on another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import pytest

from engine.contract import (
    BadRecipe,
    CannotWrite,
    EngineError,
    EngineLost,
    Event,
    Failed,
    Image,
    OutOfMemory,
    Phase,
    Preview,
    PromptOnly,
    Recipe,
    Step,
)
from engine.families.z_image.spec import demo
from engine.multi_engine import UNFIT_SECONDS, MultiEngine
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate

SMALL = 64 * 64
TOO_LARGE = OutOfMemory("The picture does not fit the memory of cuda:0.")


def recipe(name: str, side: int = 64) -> Recipe:
    return Recipe(name, "demo", "a red apple", "", side, side, 2, 0.0, 7)


def small_card(recipe: Recipe) -> EngineError | None:
    return TOO_LARGE if recipe.width * recipe.height > SMALL else None


@contextlib.asynccontextmanager
async def running(engines: Mapping[str, FakeEngine]) -> AsyncIterator[MultiEngine]:
    engine = MultiEngine(engines)
    await engine.start()
    yield engine
    await engine.aclose()


async def drawn(engine: MultiEngine, recipes: Sequence[Recipe], slot: str = "cuda:0") -> list[Event]:
    async with contextlib.aclosing(engine.paint(recipes, slot=slot)) as events:
        return [event async for event in events]


def ends(events: Sequence[Event]) -> dict[str, type[Event]]:
    return {event.recipe_id: type(event) for event in events if not isinstance(event, Step)}


def test_it_needs_a_device() -> None:
    with pytest.raises(ValueError, match="device"):
        MultiEngine({})


async def test_what_does_not_fit_a_card_is_drawn_on_another() -> None:
    engines = {"cuda:0": FakeEngine(fail=small_card), "cuda:1": FakeEngine()}
    async with running(engines) as engine:
        events = await drawn(engine, [recipe("fits"), recipe("large", 128), recipe("also", 192)])
        assert ends(events) == dict.fromkeys(("fits", "large", "also"), Image)
        assert len(events) == 3 * 3
    assert [one.id for one in engines["cuda:1"].painted] == ["large", "also"]


async def test_what_fits_no_card_fails_once() -> None:
    async with running({name: FakeEngine(fail=small_card) for name in ("cuda:0", "cuda:1", "cuda:2")}) as engine:
        (failed,) = await drawn(engine, [recipe("large", 128)])
        assert failed == Failed("large", TOO_LARGE)


async def test_what_is_wrong_for_every_card_is_tried_on_none() -> None:
    other = FakeEngine()
    async with running({"cuda:0": FakeEngine(fail=lambda _: BadRecipe("no")), "cuda:1": other}) as engine:
        assert ends(await drawn(engine, [recipe("bad")])) == {"bad": Failed}
    assert not other.painted


async def test_a_card_that_is_away_is_not_waited_for() -> None:
    away = FakeEngine(auto_warm=False)
    async with running({"cuda:0": FakeEngine(fail=small_card), "cuda:1": away}) as engine:
        assert ends(await drawn(engine, [recipe("large", 128)])) == {"large": Failed}


async def test_what_was_dropped_before_another_card_draws_it_is_drawn_by_none() -> None:
    gate = StepGate()
    other = FakeEngine()
    async with running({"cuda:0": FakeEngine(pause=gate, fail=small_card), "cuda:1": other}) as engine:
        seen: list[Event] = []
        async with contextlib.aclosing(engine.paint([recipe("large", 128), recipe("fits")], slot="cuda:0")) as events:
            gate.let(1)
            seen.append(await anext(events))
            await engine.drop("large")
            gate.open()
            seen += [event async for event in events]
        assert ends(seen) == {"fits": Image}
    assert not other.painted


async def test_pictures_of_a_card_that_breaks_are_drawn_on_another() -> None:
    broken, other = FakeEngine(), FakeEngine()
    async with running({"cuda:0": broken, "cuda:1": other}) as engine:
        await broken.break_down(EngineError("The model can't be loaded."))
        assert engine.slots()[0].state.phase is Phase.BROKEN
        assert ends(await drawn(engine, [recipe("a")])) == {"a": Image}
        await other.lose()
        with pytest.raises(EngineLost):
            await drawn(engine, [recipe("a")], "nowhere")


async def test_it_is_warm_with_the_first_and_broken_with_the_last() -> None:
    one, other = FakeEngine(auto_warm=False), FakeEngine(auto_warm=False)
    async with running({"cuda:0": one, "cuda:1": other}) as engine:
        await one.break_down(EngineError("The first can't."))
        await other.recover()
        await engine.warm()
        state = engine.state()
        assert (state.phase, state.problem) == (Phase.WARM, "cuda:0: The first can't.")
        await other.break_down(EngineError("The second can't."))
        with pytest.raises(EngineError, match="first"):
            await engine.warm()
        assert engine.state().phase is Phase.BROKEN


class TwoModels(FakeEngine):
    """An engine whose card holds one model and draws ``large`` only where it has room."""

    def __init__(self, *, room: bool = True) -> None:
        profiles = (demo(), replace(demo(), name="large", expands=True))
        super().__init__(profiles, fail=lambda one: TOO_LARGE if one.model == "large" and not room else None)
        self.room = room

    async def expand(self, model: str, prompt: str, *, seed: int = 0) -> str:
        if not self.room:
            raise TOO_LARGE
        return await super().expand(model, prompt, seed=seed)


def large(name: str) -> Recipe:
    return replace(recipe(name), model="large")


async def test_a_model_that_does_not_fit_a_card_is_tried_there_once() -> None:
    small, other = TwoModels(room=False), TwoModels()
    async with running({"cuda:0": small, "cuda:1": other}) as engine:
        while not all(slot.ready for slot in engine.slots()):
            await engine.slots_changed()
        changed = asyncio.create_task(engine.slots_changed())
        (image,) = [one for one in await drawn(engine, [large("a")]) if isinstance(one, Image)]
        assert image.slot == "cuda:1"
        await changed
        assert [slot.models for slot in engine.slots()] == [{"demo"}, set()]
        assert {profile.name for profile in engine.profiles()} == {"demo", "large"}
        await drawn(engine, [large("b")], "")
        assert ends(await drawn(engine, [recipe("c")])) == {"c": Image}
        assert (len(small.painted), len(other.painted)) == (1, 2)
        await other.break_down(EngineError("The card is gone."))
        assert [slot.can_draw("large") for slot in engine.slots()] == [True, True], "no other card draws it"
        await small.lose()
        await small.recover()
        assert not engine.slots()[0].models, "another process may have room"


async def test_a_model_that_did_not_fit_is_tried_again_after_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("engine.multi_engine.time.monotonic", lambda: now)
    async with running({"cuda:0": TwoModels(room=False), "cuda:1": TwoModels()}) as engine:
        await drawn(engine, [large("a")])
        assert not engine.slots()[0].can_draw("large")
        now += UNFIT_SECONDS
        assert engine.slots()[0].can_draw("large")


async def test_a_picture_that_is_too_large_says_nothing_of_its_model() -> None:
    profiles = (demo(), replace(demo(), name="large"))
    async with running({"cuda:0": FakeEngine(profiles, fail=small_card), "cuda:1": FakeEngine()}) as engine:
        await drawn(engine, [recipe("large", 128)])
        assert [slot.models for slot in engine.slots()] == [set(), set()]


async def test_a_picture_that_moves_keeps_its_preview() -> None:
    gate = StepGate()
    second = StepGate()
    engines = {"cuda:0": FakeEngine(pause=gate, fail=small_card), "cuda:1": FakeEngine(pause=second)}
    async with running(engines) as engine:
        gate.let(1)
        async with contextlib.aclosing(
            engine.paint([recipe("fits"), recipe("large", 128), recipe("also", 128)], slot="cuda:0")
        ) as events:
            await anext(events)
            for name in ("large", "also", "nowhere"):
                await engine.set_preview(name, enabled=True)
            await engine.set_preview("also", enabled=False)
            gate.open()
            second.open()
            seen = [event async for event in events]
        assert {event.recipe_id for event in seen if isinstance(event, Preview)} == {"large"}
        assert not engine._previewed
        assert not engine._open


async def test_a_text_that_has_no_room_on_a_card_or_loses_it_is_written_on_another() -> None:
    small, other = TwoModels(room=False), TwoModels()
    async with running({"cuda:0": small, "cuda:1": other}) as engine:
        assert await engine.expand("large", "a cat") == await other.expand("large", "a cat")
        await small.lose()
        assert await engine.expand("large", "a cat")
        with pytest.raises(CannotWrite):
            await engine.expand("demo", "a cat")
        await other.lose()
        await small.recover()
        with pytest.raises(OutOfMemory):
            await engine.expand("large", "a cat")


def with_sampler(name: str) -> Recipe:
    return replace(recipe(name), sampler="Heun")


async def test_what_needs_more_than_a_prompt_is_drawn_by_a_slot_that_can() -> None:
    plain, full = FakeEngine(plain=True), FakeEngine()
    async with running({"plain": plain, "full": full}) as engine:
        assert [slot.plain for slot in engine.slots()] == [{"demo"}, set()]
        assert engine.profiles() == plain.profiles()
        for slot in ("plain", ""):
            events = await drawn(engine, [with_sampler("a"), recipe("b")], slot)
            assert ends(events) == {"a": Image, "b": Image}
        assert with_sampler("a") not in plain.painted
        await full.lose()
        (failed,) = await drawn(engine, [with_sampler("a")], "plain")
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, PromptOnly)


async def test_where_every_slot_draws_from_a_prompt_alone_other_recipes_fail_and_do_not_wait() -> None:
    async with running({"one": FakeEngine(plain=True), "other": FakeEngine(plain=True)}) as engine:
        assert all(slot.can_draw("demo", plain=False) for slot in engine.slots())
        assert ends(await drawn(engine, [with_sampler("a")], "one")) == {"a": Failed}


async def test_texts_are_written_by_slots_that_can() -> None:
    writer = FakeEngine((replace(demo(), expands=True),), describes=True)
    mute = FakeEngine((replace(demo(), title="mute"),))
    async with running({"writer": writer, "mute": mute}) as engine:
        assert engine.can_describe()
        assert [profile.expands for profile in engine.profiles()] == [True]
        for _ in range(3):
            assert await engine.expand("demo", "a cat")
        assert len(writer.texts) == 3
        await writer.lose()
        with pytest.raises(EngineLost):
            await asyncio.wait_for(_lost(engine, writer), 10)


async def _lost(engine: MultiEngine, writer: FakeEngine) -> None:
    """Have a text written by the slot that was lost; it is lost again before it is back."""
    writing = asyncio.create_task(engine.expand("demo", "a cat"))
    await asyncio.sleep(0)
    await writer.lose()
    await writing
