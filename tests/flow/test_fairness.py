"""Several people at once: fair, batched, and one bad prompt spoils nobody else's."""

from __future__ import annotations

from bot.core.jobs import JobState
from engine.contract import BadRecipe, EngineError, Recipe
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.flow.conftest import Make


async def test_one_bad_prompt_fails_alone(make: Make) -> None:
    def fail(recipe: Recipe) -> EngineError | None:
        return BadRecipe("planted") if recipe.prompt == "bad" else None

    bot = await make(engine=FakeEngine(fail=fail, auto_warm=False))
    good = [await bot.ask(f"good {n}", user=str(n)) for n in range(3)]
    bad = await bot.ask("bad", user="9")
    await bot.engine.recover()
    for job in good:
        await bot.delivered(job.id)
    failed = await bot.reaches(bad.id, JobState.FAILED)
    assert failed.error == "error.engine.bad_recipe"
    assert await bot.ledger(bad.id) == (2, 0, 0)


async def test_who_asks_much_does_not_hold_others_up(make: Make) -> None:
    bot = await make(engine=FakeEngine(auto_warm=False))
    many = [await bot.ask("much", user="1", size="192x192", count="4") for _ in range(5)]
    one = await bot.ask("little", user="2", size="256x144")
    assert bot.dispatch.position(many[0].id) is not None
    place = bot.dispatch.position(one.id)
    assert place is not None
    # Twenty pictures are a flood: whoever asks for one passes it.
    assert place.position == 1
    await bot.engine.recover()
    for job in (*many, one):
        await bot.delivered(job.id)
    order = list(dict.fromkeys(r.id.partition(":")[0] for r in bot.engine.painted))
    # The first batch has room for two of the many.
    assert order.index(str(one.id)) <= 2


async def test_a_waiting_card_shows_that_it_moved_up(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    sizes = ("192x192", "256x144", "144x256")
    first, second, third = [await bot.ask(user=str(n), size=size) for n, size in enumerate(sizes)]
    await bot.until(lambda: len(bot.chats.messages) == 3)
    before = bot.chats.shown(third.id)[0].card
    gate.let(first.request.steps)
    await bot.delivered(first.id)
    await bot.reaches(second.id, JobState.RUNNING)
    await bot.until(lambda: bot.chats.shown(third.id)[0].card != before)
    place = bot.dispatch.position(third.id)
    assert place is not None
    assert place.position == 1
    assert place.eta is None or 0 < place.eta.low <= place.eta.high
