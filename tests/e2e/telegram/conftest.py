"""A Telegram stand-in, an Easel that speaks to it, and Ann."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bot.core.access import AccessMode
from engine.contract import LoraInfo, Profile
from tests.e2e.telegram.harness import GAP, TelegramHarness
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_limits import Flood
from tests.fakes.telegram_world import Chat, Msg

Start = Callable[..., Awaitable[TelegramHarness]]


@pytest.fixture
async def telegram() -> AsyncIterator[TelegramStandIn]:
    """A stand-in with all limits, and shorter pauses."""
    async with TelegramStandIn(flood=Flood(gap=GAP, per_minute=200)).serve() as stand_in:
        yield stand_in
        assert stand_in.problems == []


@pytest.fixture
async def start(tmp_path: Path, telegram: TelegramStandIn) -> AsyncIterator[Start]:
    """Start an Easel; it is ended with the test."""
    started: list[TelegramHarness] = []

    async def begin(
        gate: StepGate | None = None,
        *,
        quota: int = 50,
        access: AccessMode = AccessMode.OPEN,
        loras: Sequence[LoraInfo] = (),
        profiles: Sequence[Profile] | None = None,
        **settings: Any,
    ) -> TelegramHarness:
        engine = FakeEngine(profiles, gate, loras=loras) if gate else FakeEngine(profiles, loras=loras)
        await engine.start()
        bot = TelegramHarness(tmp_path, telegram, engine, quota=quota, access=access)
        bot.settings = bot.settings.model_copy(update=settings)
        started.append(bot)
        await bot.start()
        return bot

    yield begin
    for bot in started:
        await bot.stop()
        await bot.engine.aclose()


@pytest.fixture
def ann(telegram: TelegramStandIn) -> Chat:
    """Ann's private chat with the bot."""
    return telegram.private(telegram.person("Ann"))


def photos(chat: Chat) -> list[Msg]:
    """The pictures that the bot shows in a chat."""
    return [m for m in chat.by_bot() if m.photo is not None]
