"""Chat actions: shown while a picture is drawn, at most every five seconds, and never against a limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from adapters.telegram.background import ACTION_SECONDS, BackgroundCalls, ChatActions
from adapters.telegram.rate_limit import RateLimiter
from bot.core.cards import Card, Tone
from bot.core.messages import Address
from tests.fakes.telegram_world import Chat
from tests.unit.adapters.telegram.conftest import Wire, idle

RUNNING = Card(Tone.RUNNING, "Drawing", job_id=7)


@pytest.fixture
async def limiter(wire: Wire) -> AsyncIterator[RateLimiter]:
    """The limits of a surface that shows actions."""
    limiter = RateLimiter(clock=wire.clock)
    async with asyncio.TaskGroup() as group:
        actions = ChatActions(wire.bot, limiter, BackgroundCalls(wire.bot, group), clock=wire.clock)
        wire.surface.use(wire.bot, actions)
        yield limiter


async def _calls(wire: Wire, n: int) -> list[int]:
    """Wait until ``n`` actions were asked for; return their chats."""
    await wire.telegram.until(
        lambda: (
            len([m for m, _ in wire.telegram.calls if m == "sendChatAction"])
            + wire.telegram.refused.count(("sendChatAction", 429))
            >= n
        )
    )
    return [p["chat_id"] for m, p in wire.telegram.calls if m == "sendChatAction"]


@pytest.mark.usefixtures("limiter")
async def test_a_chat_sees_every_five_seconds_that_its_picture_is_drawn(wire: Wire) -> None:
    ann = wire.telegram.private(wire.telegram.person("Ann"))
    at = await wire.surface.send(Address("telegram", str(ann.id)), replace(RUNNING, tone=Tone.WAITING), "k")
    for n in range(12):
        wire.later(1.06)
        await wire.surface.edit(at, replace(RUNNING, progress=n / 12))
    await _calls(wire, 3)
    assert ann.actions == ["upload_photo"] * 3
    wire.later(ACTION_SECONDS)
    await wire.surface.edit(at, replace(RUNNING, tone=Tone.DONE, final=True))
    assert ann.actions == ["upload_photo"] * 3


async def test_a_chat_that_is_to_be_left_alone_gets_no_action(wire: Wire, limiter: RateLimiter) -> None:
    ann, bob = (wire.telegram.private(wire.telegram.person(name)) for name in ("Ann", "Bob"))
    limiter.hold(ann.id, 30.0)
    actions = wire.surface._actions
    assert actions is not None
    for chat in (ann, bob):
        actions.show(chat.id, "typing")
    assert await _calls(wire, 1) == [bob.id]


@pytest.mark.usefixtures("limiter")
async def test_after_a_refusal_no_chat_gets_one_for_a_while(wire: Wire) -> None:
    actions = wire.surface._actions
    assert actions is not None
    chats: list[Chat] = [wire.telegram.private(wire.telegram.person(f"Person {n}")) for n in range(3)]
    wire.telegram.refuse("sendChatAction", 429, "Too Many Requests: retry after 9", retry_after=9)
    actions.show(chats[0].id, "typing")
    async with asyncio.timeout(30):
        while not actions._away_until:  # noqa: ASYNC110 - it tells nobody that it was refused
            await asyncio.sleep(0.01)
    actions.show(chats[1].id, "typing")
    wire.later(10.0)
    actions.show(chats[2].id, "typing")
    assert await _calls(wire, 2) == [chats[2].id]


async def test_a_card_that_is_sent_while_the_platform_ends_counts_as_sent(wire: Wire) -> None:
    ann = wire.telegram.private(wire.telegram.person("Ann"))
    sent: list[Address] = []

    async def send_at_the_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            sent.append(await wire.surface.send(Address("telegram", str(ann.id)), RUNNING, "k"))

    async def serve() -> None:
        async with asyncio.TaskGroup() as group:
            actions = ChatActions(wire.bot, RateLimiter(), BackgroundCalls(wire.bot, group), clock=wire.clock)
            wire.surface.use(wire.bot, actions)
            group.create_task(send_at_the_end())

    serving = asyncio.create_task(serve())
    await idle()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert [at.message for at in sent] == [str(message.id) for message in ann.by_bot()]
