"""How long people in Telegram wait for the first answer when many ask at one moment."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.bench.test_speed import measured, percentile
from tests.e2e.service import Service
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_limits import Flood
from tests.fakes.telegram_world import Chat, Msg, Person

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

PEOPLE = 500
SEED = 20261129
PROMPTS = ("a red apple", "夜空中的一只猫", "a castle at dawn --seed 7", "two boats --size 192x128")


async def first_answers(folder: Path) -> list[float]:
    """Seconds from one moment at which everybody asks to each person's first answer.

    The service is a process of its own that draws meanwhile; the stand-in keeps Telegram's own limits.
    """
    rng = random.Random(SEED)
    async with TelegramStandIn(flood=Flood()).serve() as telegram:
        answered: dict[int, float] = {}
        add = telegram.world.add

        def noted(chat: Chat, sender: Person, **content: Any) -> Msg:
            if sender.is_bot:
                answered.setdefault(chat.id, time.perf_counter())
            return add(chat, sender, **content)

        telegram.world.add = noted  # type: ignore[method-assign]
        env = {
            "EASEL_TELEGRAM_TOKEN": telegram.token,
            "EASEL_TELEGRAM_API_URL": telegram.url,
            "EASEL_TELEGRAM_ACCESS": "open",
        }
        service = Service(folder, env)
        await asyncio.to_thread(service.start)
        try:
            await telegram.until(lambda: telegram.polled)
            chats = [telegram.private(telegram.person(f"Person {n}")) for n in range(PEOPLE)]
            begin = time.perf_counter()
            for chat in chats:
                telegram.writes(chat, chat.members[chat.id], rng.choice(PROMPTS))
            await telegram.until(lambda: len(answered) == PEOPLE, timeout=300)
        finally:
            await asyncio.to_thread(service.end)
        assert telegram.problems == []
        assert telegram.refused == []
    return sorted(at - begin for at in answered.values())


def test_first_answers_of_five_hundred_at_one_moment(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """The first answer to each of 500 people in their own chats (limit: p50 under 5 s on two cores)."""
    seconds = measured(benchmark)(lambda: asyncio.run(first_answers(tmp_path)), rounds=1)
    for percent in (1, 50, 99):
        benchmark.extra_info[f"p{percent}_s"] = round(percentile(seconds, percent), 2)
    sys.stdout.write(f"first answers: {benchmark.extra_info}\n")
    assert percentile(seconds, 50) < 5.0
