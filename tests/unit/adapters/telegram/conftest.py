"""The real client against the stand-in, with short pauses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiogram import Bot
from PIL import Image

from adapters.telegram.client import make_bot
from adapters.telegram.rate_limit import RateLimiter
from adapters.telegram.settings import TelegramSettings
from adapters.telegram.surface import TelegramSurface
from bot.core.pictures import PictureFile
from bot.settings import Settings
from engine.contract import NegativePromptSupport, Profile, Range
from tests.fakes.telegram import TOKEN, TelegramStandIn
from tests.fakes.telegram_limits import Flood

SMALL = Profile(
    name="small",
    title="Small",
    source="small",
    family="zimage",
    multiple=16,
    side=Range(192, 64, 256),
    presets={"square": (192, 192)},
    steps=Range(8, 1, 50),
    guidance=Range(0.0, 0.0, 0.0),
    negative=NegativePromptSupport.NEVER,
    enlarge=4,
)


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Wire:
    """The stand-in, the client and the surface, all on one clock."""

    telegram: TelegramStandIn
    bot: Bot
    surface: TelegramSurface
    clock: Hand

    def later(self, seconds: float = 2.0) -> None:
        """Let time pass."""
        self.clock.now += seconds


def bot_for(url: str, token: str = TOKEN) -> Bot:
    """A client whose settings lead to a stand-in."""
    return make_bot(TelegramSettings(_env_file=None, token=token, api_url=url), Settings(_env_file=None))


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """A surface that speaks to a stand-in."""
    clock = Hand()
    async with TelegramStandIn(flood=Flood(clock=clock)).serve() as telegram:
        async with bot_for(telegram.url) as bot:
            surface = TelegramSurface(lambda: (SMALL,), RateLimiter(clock=clock))
            surface.use(bot)
            yield Wire(telegram, bot, surface, clock)
        assert telegram.problems == []


def picture(folder: Path, width: int = 192, height: int = 128, name: str = "7-0.png") -> PictureFile:
    """A stored picture."""
    path = folder / name
    Image.new("RGB", (width, height), (200, 30, 30)).save(path)
    return PictureFile(path, name, "image/png", width, height, alt="a red apple")


async def idle() -> None:
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)
