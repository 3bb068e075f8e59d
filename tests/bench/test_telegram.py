"""How long people in Telegram wait for a first sign, for their cards and for presses when many ask at one moment."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.bench.test_speed import measured, percentile
from tests.e2e.service import Service
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_limits import Flood
from tests.fakes.telegram_world import Chat, File, Msg, Person

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

PEOPLE = 300
AHEAD = 120
"""Messages that come just before a press."""
FAULTS = 43
"""Sends that Telegram refuses with 429 though no limit was breached."""
SEED = 20261129
PROMPTS = ("a red apple", "夜空中的一只猫", "a castle at dawn --seed 7", "two boats --size 192x128")


class Seen:
    """When each chat got its first sign and its first message, and how many cards and pictures it got."""

    def __init__(self, telegram: TelegramStandIn) -> None:
        self.signs: dict[int, float] = {}
        self.cards: dict[int, float] = {}
        add, action = telegram.world.add, telegram.world.sendchataction

        def added(chat: Chat, sender: Person, **content: Any) -> Msg:
            if sender.is_bot:
                self.signs.setdefault(chat.id, time.perf_counter())
                self.cards.setdefault(chat.id, time.perf_counter())
            return add(chat, sender, **content)

        def acted(p: Mapping[str, Any], files: Mapping[str, File]) -> Any:
            self.signs.setdefault(int(p["chat_id"]), time.perf_counter())
            return action(p, files)

        telegram.world.add = added  # type: ignore[method-assign]
        telegram.world.sendchataction = acted  # type: ignore[method-assign]


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[TelegramStandIn, Seen]]:
    """A service of its own process that draws meanwhile; the stand-in keeps Telegram's own limits."""
    async with TelegramStandIn(flood=Flood()).serve() as telegram:
        seen = Seen(telegram)
        env = {
            "EASEL_TELEGRAM_TOKEN": telegram.token,
            "EASEL_TELEGRAM_API_URL": telegram.url,
            "EASEL_TELEGRAM_ACCESS": "open",
        }
        service = Service(folder, env)
        await asyncio.to_thread(service.start)
        try:
            await telegram.until(lambda: telegram.polled)
            yield telegram, seen
        finally:
            await asyncio.to_thread(service.end)
        assert telegram.problems == []


def crowd(telegram: TelegramStandIn, people: int) -> list[Chat]:
    """Everybody writes a prompt in their own chat at one moment."""
    rng = random.Random(SEED)
    chats = [telegram.private(telegram.person(f"Person {n}")) for n in range(people)]
    for chat in chats:
        telegram.writes(chat, chat.members[chat.id], rng.choice(PROMPTS))
    return chats


async def flood(folder: Path) -> tuple[list[float], list[float]]:
    """Seconds from one moment at which everybody asks to each person's first sign, and to their first message."""
    async with serving(folder) as (telegram, seen):
        telegram.refuse("sendMessage", 429, "Too Many Requests: retry after 1", times=FAULTS, retry_after=1)
        begin = time.perf_counter()
        chats = crowd(telegram, PEOPLE)
        await telegram.until(lambda: len(seen.cards) == PEOPLE, timeout=300)
        await telegram.until(lambda: all(any(m.photo for m in chat.by_bot()) for chat in chats), timeout=300)
        assert [len(chat.by_bot()) for chat in chats] == [1] * PEOPLE
        # Nothing but the injected ones: no limit was breached.
        assert telegram.refused == [("sendMessage", 429)] * FAULTS
    return sorted(at - begin for at in seen.signs.values()), sorted(at - begin for at in seen.cards.values())


async def press_behind(folder: Path) -> float:
    """Seconds from a press that comes just behind many messages to its answer."""
    async with serving(folder) as (telegram, _):
        ann = telegram.private(telegram.person("Ann"))
        telegram.writes(ann, ann.members[ann.id], "a cat")
        card = await telegram.until(lambda: next((m for m in ann.by_bot() if m.photo), None))
        await telegram.until(lambda: telegram.polled and not telegram.updates)
        crowd(telegram, AHEAD)
        begin = time.perf_counter()
        query = telegram.presses(card, ann.members[ann.id], "reroll")
        await telegram.until(lambda: query.answered)
        return time.perf_counter() - begin


def test_signs_and_cards_of_three_hundred_at_one_moment(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """The first sign to each of 300 people in their own chats (limits: p50 under 0.5 s, p99 under 2 s).

    Telegram takes 30 messages a second, so the last card can't come before 9.5 s; "typing…" comes at once.
    """
    signs, cards = measured(benchmark)(lambda: asyncio.run(flood(tmp_path)), rounds=1)
    for name, seconds in (("sign", signs), ("card", cards)):
        for percent in (50, 99):
            benchmark.extra_info[f"{name} p{percent}_s"] = round(percentile(seconds, percent), 2)
    sys.stdout.write(f"first signs and cards: {benchmark.extra_info}\n")
    assert percentile(signs, 50) < 0.5
    assert percentile(signs, 99) < 2.0


def test_a_press_behind_many_messages(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """The answer to a press behind 120 messages (limit: 1 s)."""
    seconds = measured(benchmark)(lambda: asyncio.run(press_behind(tmp_path)), rounds=1)
    benchmark.extra_info["answered_s"] = round(seconds, 2)
    sys.stdout.write(f"a press behind {AHEAD} messages: {benchmark.extra_info}\n")
    assert seconds < 1.0
