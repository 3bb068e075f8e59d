"""The machine's clock is set back while the service runs, or before it starts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot import runner
from bot.commands.model import Invocation
from bot.core.access import Owners
from bot.core.errors import NotAllowed, OverQuota
from bot.core.jobs import JobState
from bot.core.messages import EventRef
from bot.core.people import Place
from bot.core.quotas import Limit
from bot.features import COMMANDS
from bot.moderation import store as moderation_rows
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.flow.conftest import Make
from tests.flow.harness import CHAT, Bot

DAYS = pytest.mark.parametrize("days", [2, 400])
DAY = 86400.0


@DAYS
async def test_everybody_is_answered_and_drawn_for(make: Make, days: int) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    first = await bot.ask()
    await bot.until(lambda: bot.chats.messages and gate.reached)
    bot.clock.jump(-days * DAY)
    before = bot.clock.monotonic()
    second = await bot.ask("another", user="2")
    await bot.until(lambda: len(bot.chats.messages) == 2)
    gate.open()
    for job in (first, second):
        await bot.delivered(job.id)
    assert bot.clock.monotonic() - before < 120
    assert len(bot.chats.pictures(first.id)) == len(bot.chats.pictures(second.id)) == 1


@DAYS
@pytest.mark.parametrize("restart", [False, True])
async def test_nobody_s_quota_is_used_up_for_longer(make: Make, days: int, restart: bool) -> None:
    bot = await make()
    bot.ctx = replace(bot.ctx, default_quota=Limit(2))
    await bot.delivered((await bot.ask(count="2")).id)
    bot.clock.jump(-days * DAY)
    if restart:
        await bot.restart()
        bot.ctx = replace(bot.ctx, default_quota=Limit(2))

    async def refused() -> float:
        try:
            await bot.ask()
        except OverQuota as refusal:
            return float(refusal.params["wait"])
        return 0.0

    async def put_right() -> bool:
        return await refused() <= DAY

    await bot.until(put_right)
    assert await refused() > 0, "what was drawn counts, from now on"
    bot.clock.advance(DAY)
    assert await refused() == 0


async def ban(bot: Bot, span: str) -> None:
    command = COMMANDS.by_name["easel ban"]
    boss = replace(bot.actor("8"), is_owner=True)
    where = Place("chat", None, CHAT)
    await runner.run(bot.ctx, Invocation(boss, where, command, EventRef("ban"), {"person": "1", "span": span}))


@DAYS
@pytest.mark.parametrize("restart", [False, True])
async def test_a_ban_is_as_long_as_it_was_meant(make: Make, days: int, restart: bool) -> None:
    bot = await make()
    bot.owners = Owners({"chat": ["8"]})
    await ban(bot, "3 days")
    bot.clock.jump(-days * DAY)
    if restart:
        await bot.restart()

    async def put_right() -> bool:
        async with bot.db.read() as tx:
            found = await moderation_rows.active_ban_of_account(tx, "chat", "1", 0, now=bot.clock.now())
        return found is not None and found.until is not None and found.until - bot.clock.now() <= 3 * DAY

    await bot.until(put_right)
    with pytest.raises(NotAllowed):
        await bot.ask()
    bot.clock.advance(3 * DAY)
    assert (await bot.ask()).state is JobState.QUEUED


async def test_a_clock_that_is_not_set_yet_changes_no_ban(make: Make) -> None:
    bot = await make()
    bot.owners = Owners({"chat": ["8"]})
    await ban(bot, "3 days")
    until = bot.clock.now() + 3 * DAY
    bot.clock.jump(-bot.clock.now())
    await bot.restart()
    async with bot.db.read() as tx:
        found = await moderation_rows.active_ban_of_account(tx, "chat", "1", 0, now=bot.clock.now())
    assert found is not None
    assert found.until == pytest.approx(until, abs=60)
