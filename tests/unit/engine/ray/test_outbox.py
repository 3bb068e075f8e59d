from __future__ import annotations

import asyncio
import contextlib

import pytest

from engine.host import wire
from engine.ray import outbox as outboxes
from engine.ray.outbox import Outbox


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def step(done: int, ticket: int = 1, steps: int = 10) -> wire.StepDone:
    return wire.StepDone((ticket,), (done,), (steps,), 0.1)


async def told(outbox: Outbox) -> list[wire.Message]:
    """Return what the next item of a stream holds."""
    async with contextlib.aclosing(outbox.stream()) as stream:
        return wire.CODEC.decode_all(await anext(stream))


async def test_steps_that_follow_too_quickly_become_one() -> None:
    clock = Clock()
    outbox = Outbox(clock)
    for done in (1, 2, 3):
        outbox.put(step(done))
    assert await told(outbox) == [step(1)]
    outbox.put(step(4))
    clock.now += outboxes.STEP_SECONDS
    assert await told(outbox) == [step(4)]
    outbox.put(step(5))
    outbox.put(step(10))
    assert await told(outbox) == [step(10)], "the last one comes at once"


async def test_jobs_are_thinned_out_by_themselves_and_nothing_else_is() -> None:
    outbox = Outbox(Clock())
    messages: list[wire.Message] = [
        step(1),
        step(1, 2),
        step(2),
        step(2, 2),
        wire.Notice("a"),
        step(3),
        wire.RequestFailed(1, "lost", ""),
    ]
    for message in messages:
        outbox.put(message)
    assert await told(outbox) == [
        *(step(1), step(1, 2), step(2), step(2, 2), wire.Notice("a")),
        *(step(3), wire.RequestFailed(1, "lost", "")),
    ]


async def test_a_sign_of_life_is_said_once_until_it_is_fetched() -> None:
    outbox = Outbox(Clock())
    for _ in range(3):
        outbox.put(wire.Heartbeat())
    assert await told(outbox) == [wire.Heartbeat()]


async def test_large_items_are_divided_and_small_ones_go_together() -> None:
    outbox = Outbox(Clock())
    large = wire.Notice("x" * outboxes.ITEM_BYTES)
    for message in (wire.Notice("a"), large, wire.Notice("b")):
        outbox.put(message)
    assert await told(outbox) == [wire.Notice("a"), large]
    assert await told(outbox) == [wire.Notice("b")]


async def test_a_stream_ends_after_a_while_and_the_next_one_goes_on() -> None:
    clock = Clock()
    outbox = Outbox(clock)
    seen = []
    async with asyncio.timeout(20), contextlib.aclosing(outbox.stream()) as stream:
        outbox.put(wire.Notice("a"))
        seen += wire.CODEC.decode_all(await anext(stream))
        clock.now += outboxes.STREAM_SECONDS
        outbox.put(wire.Notice("b"))
        seen += [message async for item in stream for message in wire.CODEC.decode_all(item)]
    assert seen == [wire.Notice("a"), wire.Notice("b")]


async def test_the_end_follows_what_was_said_before() -> None:
    outbox = Outbox(Clock())
    outbox.put(wire.Broken("unknown_model", "of cheese"))
    outbox.end()
    items = [item async for item in outbox.stream()]
    assert items[-1] == b""
    assert wire.CODEC.decode_all(items[0]) == [wire.Broken("unknown_model", "of cheese")]


async def test_notices_that_nobody_fetches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outboxes, "MOST_WAITING", 3)
    outbox = Outbox()
    for number in range(9):
        outbox.put(wire.Notice(str(number)))
    outbox.put(wire.Resident(("demo",)))
    assert await told(outbox) == [*(wire.Notice(str(number)) for number in range(3)), wire.Resident(("demo",))]
