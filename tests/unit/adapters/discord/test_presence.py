"""The presence says how much there is to draw, on every shard, and keeps to Discord's limit."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import discord
import pytest

from adapters.discord.presence import EVERY, Presence
from bot.core.ports import QueueLoad
from tests.unit.adapters.discord.scripted import Scripted


class Shard(SimpleNamespace):
    closed = False

    def is_closed(self) -> bool:
        return self.closed


class Client:
    """Two shards that take presences."""

    def __init__(self, *locales: discord.Locale) -> None:
        self.shards = {0: Shard(), 1: Shard()}
        self.guilds = [SimpleNamespace(preferred_locale=locale) for locale in locales]
        self.said: list[tuple[int, str]] = []
        self.broken = False
        self.faults: list[Exception] = []

    async def change_presence(self, *, activity: discord.CustomActivity, shard_id: int) -> None:
        if self.faults:
            raise self.faults.pop()
        if self.broken:
            raise ConnectionResetError("gone")
        self.said.append((shard_id, str(activity)))


async def test_it_follows_the_queue_and_says_nothing_twice() -> None:
    client, scripted, pauses, ended = Client(), Scripted(), [0.0], asyncio.Event()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        match len(pauses):
            case 3:
                scripted.queue = QueueLoad(waiting=5, drawing=2)
            case 4:
                client.shards[1].closed = True
                presence.is_new(0)
                presence.is_new(1)
            case 5:
                client.broken = True
                scripted.queue = QueueLoad(waiting=6, drawing=2)
            case 6:
                client.broken = client.shards[1].closed = False
            case 7:
                ended.set()
                await asyncio.Event().wait()

    presence = Presence(cast(Any, client), scripted.studio, sleep)
    presence.is_new(0)
    task = asyncio.create_task(presence.run())
    await ended.wait()
    task.cancel()
    idle, five, six = "Type /draw", "Drawing 2 now, 5 waiting.", "Drawing 2 now, 6 waiting."
    assert client.said == [(0, idle), (1, idle), (0, five), (1, five), (0, five), (0, six), (1, six)]
    assert set(pauses[1:]) == {EVERY}


async def test_it_speaks_the_language_of_most_servers() -> None:
    kinds = discord.Locale
    client = Client(kinds.chinese, kinds.british_english, kinds.chinese)
    slept = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        slept.set()
        await asyncio.Event().wait()

    presence = Presence(cast(Any, client), Scripted().studio, sleep)
    presence.is_new(0)
    task = asyncio.create_task(presence.run())
    await slept.wait()
    task.cancel()
    assert client.said[0] == (0, "输入 /draw")


async def test_an_unknown_error_is_logged_and_the_next_presence_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    client, rounds, ended = Client(), [0], asyncio.Event()
    client.faults.append(ZeroDivisionError("inner words"))

    async def sleep(_seconds: float) -> None:
        rounds[0] += 1
        if rounds[0] == 2:
            ended.set()
            await asyncio.Event().wait()

    presence = Presence(cast(Any, client), Scripted().studio, sleep)
    presence.is_new(0)
    task = asyncio.create_task(presence.run())
    done = asyncio.create_task(ended.wait())
    await asyncio.wait({task, done}, return_when=asyncio.FIRST_COMPLETED)
    assert ended.is_set()
    task.cancel()
    assert [shard for shard, _ in client.said] == [0, 1]
    assert "ZeroDivisionError: inner words" in caplog.text
