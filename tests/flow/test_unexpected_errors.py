"""Faults that nobody expects end one thing at most, never the loops."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import pytest

from bot.core.cards import Card, Tone
from bot.core.messages import Address, MessageState
from bot.storage import messages
from bot.storage.sql import dump_card
from engine.contract import Event, Lane, Recipe
from tests.fakes.engine import FakeEngine
from tests.flow.conftest import Make
from tests.flow.harness import CHAT


class Odd(FakeEngine):
    """Breaks its contract: ``batch`` raises, and ``paint`` raises what is no EngineLost, or says nothing at all."""

    silent = False
    raises = 0

    def batch(self, recipe: Recipe, slot: str = "") -> int:
        raise RuntimeError("planted")

    async def paint(
        self, recipes: Sequence[Recipe], lane: Lane = Lane.INTERACTIVE, slot: str = ""
    ) -> AsyncGenerator[Event]:
        if self.raises:
            self.raises -= 1
            raise RuntimeError("planted")
        if self.silent:
            return
        async for event in super().paint(recipes, lane):
            yield event


async def test_an_engine_that_raises_what_it_must_not(make: Make) -> None:
    engine = Odd()
    engine.raises = 2
    bot = await make(engine=engine)
    job = await bot.ask(count="2")
    done = await bot.delivered(job.id)
    assert done.attempts == 2
    assert await bot.ledger(job.id) == (2, 0, 2)


async def test_an_engine_that_forgets_a_recipe_fails_it(make: Make) -> None:
    engine = Odd()
    engine.silent = True
    bot = await make(engine=engine)
    lost = await bot.ask()
    await bot.until(lambda: bot.registry.get_sample_value("easel_jobs_total", {"outcome": "failed"}))
    assert (await bot.job(lost.id)).error == "error.engine.failed"
    assert await bot.ledger(lost.id) == (2, 0, 0)
    engine.silent = False
    job = await bot.ask(user="2")
    await bot.delivered(job.id)


async def test_rows_that_can_not_be_read_hold_nothing_up(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    bot = await make()
    good = Card(Tone.INFO, "Good.", final=True)
    secret = Address("chat", CHAT, token="a-secret-token")
    async with bot.db.write() as tx:
        for event in ("address", "card"):
            await messages.add_notice(tx, event, secret, dump_card(good))
        await tx.execute("UPDATE messages SET address = replace(address, 'platform', 'plat') WHERE event = 'address'")
        await tx.execute("UPDATE messages SET card = '{\"tone\": \"secret prompt\"}' WHERE event = 'card'")
        await messages.add_notice(tx, "good", secret, dump_card(good))
    bot.dispatch.messages_added()
    await bot.until(lambda: bot.chats.messages)
    await bot.quiet()
    assert [seen.card for seen in bot.chats.messages.values()] == [good]
    async with bot.db.read() as tx:
        row = await messages.by_event(tx, "card")
    assert row is not None
    assert row.state is MessageState.GONE
    assert "can't be read" in caplog.text
    assert "secret" not in caplog.text
