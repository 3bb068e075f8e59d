"""Longer prompts and descriptions on the chats: the card is edited, its buttons draw, and what is private stays so."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.cards.i18n import text
from engine.families.z_image.spec import demo
from tests.e2e.discord.harness import DiscordHarness
from tests.e2e.telegram.harness import GAP, TelegramHarness
from tests.fakes.discord import strict
from tests.fakes.discord_world import Message
from tests.fakes.engine import FakeEngine
from tests.fakes.source_images import RED, picture
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_limits import Flood

RICHER, SHOWS = text("en", "card.expanded"), text("en", "card.described")
SEEN = "a picture of 96 by 64 pixels"


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    """An engine that writes and describes."""
    one = FakeEngine((replace(demo(), expands=True),), describes=True)
    await one.start()
    yield one
    await one.aclose()


def plain(message: Message) -> str:
    """Return what a reader sees, without what keeps Discord from reading markup."""
    return re.sub(r"\\(.)", r"\1", message.text)


async def test_on_discord(tmp_path: Path, engine: FakeEngine) -> None:
    async with strict() as discord:
        bot = DiscordHarness(tmp_path, discord, engine, quota=50)
        await bot.start()
        ann = discord.person("Ann")
        try:
            card = await (await ann.draw("a red cat --seed 5", expand=True)).answer()
            await discord.world.until(lambda: RICHER in plain(card), "the longer prompt")
            assert "a red cat, in " in plain(card)
            drawn = await (await ann.press(card, "Draw")).answer()
            await discord.world.until(lambda: bool(drawn.pictures), "the picture")
            assert "a red cat, in " in plain(drawn)
            assert "seed 5 ·" in plain(drawn)

            menu = await (await ann.press(drawn, "⋯")).answer()
            richer = await (await ann.press(menu, "Richer prompt")).answer()
            await discord.world.until(lambda: RICHER in plain(richer), "the richer prompt")
            opened = await ann.press(richer, "Edit")
            changed = await (await ann.fill(opened, prompt="a blue dog")).answer()
            await discord.world.until(lambda: bool(changed.pictures), "the changed picture")
            assert "a blue dog" in plain(changed)
            await ann.press(richer, "Cancel")
            await discord.world.until(lambda: text("en", "card.expanded.stopped") in plain(richer), "the end")

            seen = await (await ann.run("describe", picture=ann.uploads(picture(96, 64, RED)))).answer()
            await discord.world.until(lambda: SHOWS in plain(seen), "the description")
            assert SEEN in plain(seen)
        finally:
            await bot.stop()


async def test_on_telegram(tmp_path: Path, engine: FakeEngine) -> None:
    async with TelegramStandIn(flood=Flood(gap=GAP, per_minute=1000)).serve() as telegram:
        bot = TelegramHarness(tmp_path, telegram, engine, quota=50)
        await bot.start()
        chat = telegram.private(telegram.person("Ann"))
        ann = chat.members[chat.id]
        try:
            telegram.writes(chat, ann, "a red cat --seed 5 --expand")
            card = await telegram.until(lambda: next((m for m in chat.by_bot() if RICHER in m.words), None))
            assert "a red cat, in " in card.words
            telegram.presses(card, ann, "Draw")
            drawn = await telegram.until(lambda: next((m for m in chat.by_bot() if m.photo), None))
            assert "a red cat, in " in drawn.words
            query = telegram.sends_press(drawn, ann, "easel:richer:1")
            richer = await telegram.until(
                lambda: next((m for m in chat.by_bot() if m is not card and RICHER in m.words), None)
            )
            assert query.answered
            telegram.presses(richer, ann, "Cancel")
            await telegram.until(lambda: text("en", "card.expanded.stopped") in richer.words)

            telegram.sends_photo(chat, ann, picture(96, 64, RED), "/describe")
            seen = await telegram.until(lambda: next((m for m in chat.by_bot() if SHOWS in m.words), None))
            assert SEEN in seen.words
            photo = telegram.sends_photo(chat, ann, picture(64, 64, RED), None)
            telegram.writes(chat, ann, "/describe", reply_to=photo)
            await telegram.until(lambda: next((m for m in chat.by_bot() if "64 by 64" in m.words), None))
            telegram.writes(chat, ann, "/describe")
            alone = text("en", "refusal.describe.pictures")
            await telegram.until(lambda: next((m for m in chat.by_bot() if alone in m.words), None))
        finally:
            await bot.stop()
        assert telegram.problems == []
