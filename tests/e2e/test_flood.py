"""Many people ask at one moment while a platform refuses calls: each is shown their picture once, and no limit is breached."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.chats import on_discord, on_telegram
from tests.fakes.engine import FakeEngine
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_world import Chat

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SEED = 20261130
PROMPTS = ("a red apple", "夜空中的一只猫", "a castle at dawn --seed 7", "two boats --size 192x128")
PEOPLE = [60, pytest.param(300, marks=pytest.mark.soak)]


class Faults:
    """Makes a seeded share of the calls of each kind fail; counts how often each happened."""

    def __init__(self) -> None:
        self.rng = random.Random(SEED)
        self.left = {"route": 20, "global": 3, "before": 6, "after": 6}
        self.total = sum(self.left.values())

    def happens(self, kind: str) -> bool:
        """Whether this call fails."""
        if not self.left[kind] or self.rng.random() > 0.25:
            return False
        self.left[kind] -= 1
        return True


@pytest.mark.parametrize("people", PEOPLE)
async def test_on_discord(tmp_path: Path, people: int) -> None:
    async with on_discord(tmp_path, FakeEngine()) as bot:
        discord, faults = bot.discord, Faults()
        world, rest = discord.world, discord.rest

        def throttle(name: str) -> tuple[float, str] | None:
            if "/interactions/" not in name and "/webhooks/" not in name and faults.happens("global"):
                return 0.2, "global"
            return (0.2, faults.rng.choice(("user", "shared"))) if faults.happens("route") else None

        def is_edit(name: str) -> bool:
            return name.startswith("PATCH")

        rest.throttle = throttle
        rest.refuse = lambda name: (503, 0) if is_edit(name) and faults.happens("before") else None
        rest.spoil = lambda name: 502 if is_edit(name) and faults.happens("after") else None
        rng = random.Random(SEED)
        # Each in a thread of their own: discord.py repeats a call after 502 at once, and a channel takes 5 edits in 5 s.
        asked = [
            await discord.person(f"Person {n}").draw(rng.choice(PROMPTS), channel=discord.thread(f"drawings {n}"))
            for n in range(people)
        ]
        cards = [await one.answer(60) for one in asked]
        await world.until(lambda: all(len(card.attachments) == 1 for card in cards), "every picture", 600)
        await bot.settled()
        # The globals are of calls by the bot's own token alone, of which few are left.
        assert {kind: n for kind, n in faults.left.items() if kind != "global"} == dict.fromkeys(
            ("route", "before", "after"), 0
        )
        assert len([m for m in world.messages.values() if not m.deleted]) == people
        assert world.limited == 0
        assert await bot.charged() == await bot.count("jobs") == people


@pytest.mark.parametrize("people", PEOPLE)
async def test_on_telegram(tmp_path: Path, people: int) -> None:
    async with on_telegram(tmp_path, FakeEngine()) as bot:
        telegram = bot.telegram
        planted = plant(telegram)
        rng = random.Random(SEED)
        chats = [telegram.private(telegram.person(f"Person {n}")) for n in range(people)]
        for chat in chats:
            telegram.writes(chat, chat.members[chat.id], rng.choice(PROMPTS))
        await telegram.until(lambda: all(map(shown(), chats)), timeout=600)
        await bot.settled()
        assert [len(chat.by_bot()) for chat in chats] == [1] * people
        # Nothing but what was planted: no limit was breached.
        assert sorted(telegram.refused) == sorted(planted)
        assert await bot.charged() == await bot.count("jobs") == people


def plant(telegram: TelegramStandIn) -> list[tuple[str, int]]:
    """Refuse calls: by one method's limit, by that of the whole bot, and since Telegram is in trouble; returns which."""
    planted = []
    for method, status, times in (
        ("sendMessage", 429, 16),
        ("editMessageMedia", 429, 4),
        ("getUpdates", 429, 1),
        ("sendPhoto", 429, 1),
        ("sendChatAction", 429, 3),
        ("getUpdates", 502, 2),
        ("editMessageMedia", 502, 4),
    ):
        limit = {"retry_after": 1} if status == 429 else {}
        words = "Too Many Requests: retry after 1" if status == 429 else "Bad Gateway"
        telegram.refuse(method, status, words, times=times, **limit)
        planted += [(method, status)] * times
    return planted


def shown() -> Callable[[Chat], bool]:
    return lambda chat: any(m.photo is not None for m in chat.by_bot())
