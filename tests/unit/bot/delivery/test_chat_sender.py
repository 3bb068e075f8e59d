"""The sender of a chat: the most urgent message first, at the pace that the chat allows."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from bot.core.messages import Address, Message, MessageKind, MessageState
from bot.core.ports import RetryLater
from bot.delivery.chat_sender import FETCHED_AT_ONCE, FETCHED_EVERY, LONGEST_PAUSE, ChatSender, Urgency
from bot.delivery.store import MessageItem
from tests.fakes.clock import FakeClock

PAUSE = 10.0


class Shown:
    """What a sender has synced, and when."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.start = clock.now()
        self.ids: list[tuple[int, float]] = []
        self.items: list[MessageItem | None] = []
        self.plan: dict[int, list[Exception | int]] = {}

    async def sync(self, message_id: int, item: MessageItem | None = None) -> int:
        self.ids.append((message_id, self.clock.now() - self.start))
        self.items.append(item)
        planned = self.plan.get(message_id)
        result = planned.pop(0) if planned else True
        if isinstance(result, Exception):
            raise result
        return result


async def turns(condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came")


async def until_over(task: asyncio.Task[None], clock: FakeClock) -> None:
    """Let time pass, second by second, until the sender has nothing left to do."""
    for _ in range(5000):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if task.done():
            return await task
        clock.advance(1)
    raise AssertionError("the sender never ended")


async def test_the_most_urgent_first_and_a_pause_between() -> None:
    clock = FakeClock()
    shown = Shown(clock)
    sender = ChatSender(shown, PAUSE, clock)
    sender.request(1, Urgency.WAITING)
    sender.request(2, Urgency.PROGRESS)
    sender.request(3, Urgency.NEW)
    sender.request(4, Urgency.FINAL)
    await until_over(asyncio.ensure_future(sender.run()), clock)
    assert [message_id for message_id, _ in shown.ids] == [4, 3, 2, 1]
    times = [at for _, at in shown.ids]
    assert all(b - a >= PAUSE for a, b in itertools.pairwise(times))


async def test_a_repeated_request_is_one_sync_with_the_greater_urgency() -> None:
    clock = FakeClock()
    shown = Shown(clock)
    sender = ChatSender(shown, PAUSE, clock)
    sender.request(1, Urgency.NEW)
    sender.request(2, Urgency.PROGRESS)
    sender.request(2, Urgency.FINAL)
    sender.request(2, Urgency.WAITING)
    await until_over(asyncio.ensure_future(sender.run()), clock)
    assert [message_id for message_id, _ in shown.ids] == [2, 1]


async def test_a_request_during_a_pause_may_overtake() -> None:
    clock = FakeClock()
    shown = Shown(clock)
    sender = ChatSender(shown, PAUSE, clock)
    sender.request(1, Urgency.PROGRESS)
    sender.request(2, Urgency.PROGRESS)
    task = asyncio.ensure_future(sender.run())
    await turns(lambda: len(shown.ids) == 1)
    sender.request(3, Urgency.FINAL)
    await until_over(task, clock)
    assert [message_id for message_id, _ in shown.ids] == [1, 3, 2]


async def test_what_the_limits_put_off_is_not_looked_at_before() -> None:
    clock = FakeClock()
    shown = Shown(clock)
    waits = iter([30.0, 2.0])
    sender = ChatSender(shown, PAUSE, clock, lambda: next(waits, 0.0))
    sender.request(1, Urgency.NEW)
    sender.request(2, Urgency.PROGRESS)
    await until_over(asyncio.ensure_future(sender.run()), clock)
    assert [message_id for message_id, _ in shown.ids] == [1, 2]
    assert shown.ids[0][1] >= 32


async def test_retry_later_pauses_the_whole_chat() -> None:
    clock = FakeClock()
    shown = Shown(clock)
    shown.plan[1] = [RetryLater(60)]
    sender = ChatSender(shown, PAUSE, clock)
    sender.request(1, Urgency.FINAL)
    sender.request(2, Urgency.NEW)
    await until_over(asyncio.ensure_future(sender.run()), clock)
    assert [message_id for message_id, _ in shown.ids] == [1, 1, 2]
    assert shown.ids[1][1] >= 60


async def test_a_failure_delays_its_own_message_and_longer_each_time(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    shown = Shown(clock)
    shown.plan[1] = [RuntimeError("planted")] * 12
    sender = ChatSender(shown, 0.0, clock)
    sender.request(1, Urgency.FINAL)
    sender.request(2, Urgency.PROGRESS)
    await until_over(asyncio.ensure_future(sender.run()), clock)
    assert [message_id for message_id, _ in shown.ids][:2] == [1, 2]
    tries = [at for message_id, at in shown.ids if message_id == 1]
    pauses = [b - a for a, b in itertools.pairwise(tries)]
    assert len(tries) == 13
    # Time moves in seconds here, and the sender needs some turns of the loop to see it.
    for n, pause in enumerate(pauses, start=1):
        least = min(LONGEST_PAUSE, 2**n)
        assert least <= pause <= least + 5
    assert "message 1" in caplog.text


async def test_a_sync_without_a_call_costs_no_pause() -> None:
    clock = FakeClock()
    shown = Shown(clock)
    shown.plan[1] = [False]
    sender = ChatSender(shown, PAUSE, clock)
    sender.request(1, Urgency.FINAL)
    sender.request(2, Urgency.PROGRESS)
    task = asyncio.ensure_future(sender.run())
    await turns(lambda: len(shown.ids) == 2)
    assert shown.ids == [(1, 0.0), (2, 0.0)]
    await until_over(task, clock)


async def test_stop_ends_a_sender_that_waits() -> None:
    clock = FakeClock()
    shown = Shown(clock)
    sender = ChatSender(shown, PAUSE, clock)
    sender.request(1, Urgency.FINAL)
    sender.request(2, Urgency.FINAL)
    task = asyncio.ensure_future(sender.run())
    await turns(lambda: clock.asleep() == 1)
    sender.stop()
    await task
    assert len(shown.ids) == 1
    assert clock.asleep() == 0


async def test_requested_files_leave_room_for_a_finished_picture() -> None:
    clock = FakeClock()
    shown = Shown(clock)
    sender = ChatSender(shown, 1.0, clock)
    for message_id in range(1, 61):
        sender.request(message_id, Urgency.FETCHED)
    running = asyncio.ensure_future(sender.run())
    while clock.now() - shown.start < 60:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if len(shown.ids) == 8:
            sender.request(100, Urgency.FINAL)
        clock.advance(0.5)
    fetched = [message_id for message_id, _ in shown.ids if message_id != 100]
    assert len(fetched) <= FETCHED_AT_ONCE + 60 / FETCHED_EVERY
    assert [message_id for message_id, _ in shown.ids].index(100) == 8
    sender.stop()
    await running


async def test_many_files_in_one_message_count_as_many() -> None:
    clock = FakeClock()
    shown = Shown(clock)
    shown.plan = {message_id: [FETCHED_AT_ONCE] for message_id in (1, 2)}
    sender = ChatSender(shown, 1.0, clock)
    sender.request(1, Urgency.FETCHED)
    sender.request(2, Urgency.FETCHED)
    await until_over(asyncio.ensure_future(sender.run()), clock)
    (_, first), (_, second) = shown.ids
    assert second - first >= FETCHED_EVERY


async def test_a_sender_stays_until_requested_files_are_paid_for() -> None:
    clock = FakeClock()
    shown = Shown(clock)
    sender = ChatSender(shown, 1.0, clock)
    sender.request(1, Urgency.FETCHED)
    running = asyncio.ensure_future(sender.run())
    await turns(lambda: clock.asleep() == 1)
    assert [message_id for message_id, _ in shown.ids] == [1]
    clock.advance(1.5)
    await asyncio.sleep(0)
    assert not running.done()
    await until_over(running, clock)


@pytest.mark.parametrize("days", [2, 400])
async def test_a_clock_that_is_set_back_delays_nothing(days: int) -> None:
    clock = FakeClock()
    shown = Shown(clock)
    shown.plan[2] = [RetryLater(3), RuntimeError("planted"), True]
    sender = ChatSender(shown, PAUSE, clock)
    sender.request(1, Urgency.NEW)
    sender.request(2, Urgency.NEW)
    running = asyncio.ensure_future(sender.run())
    await turns(lambda: clock.asleep() == 1)
    clock.jump(-days * 86400)
    await until_over(running, clock)
    assert [message_id for message_id, _ in shown.ids] == [1, 2, 2, 2]


def read(message_id: int) -> MessageItem:
    """What a look at the rows finds."""
    return MessageItem(Message(message_id, MessageKind.CARD, MessageState.SHOWN, Address("chat", "1"), 7), None)


async def test_what_was_just_read_is_used_for_the_first_message_alone() -> None:
    clock = FakeClock()
    shown = Shown(clock)
    sender = ChatSender(shown, PAUSE, clock)
    first, second = read(1), read(2)
    sender.request(1, Urgency.FINAL, first)
    sender.request(2, Urgency.PROGRESS, second)
    await until_over(asyncio.ensure_future(sender.run()), clock)
    # The second one may have changed while the platform was asked for the first one.
    assert shown.items == [first, None]


async def test_what_was_read_before_a_pause_is_read_again() -> None:
    clock = FakeClock()
    shown = Shown(clock)
    sender = ChatSender(shown, PAUSE, clock)
    sender.request(1, Urgency.FINAL, read(1))
    work = asyncio.ensure_future(sender.run())
    await turns(lambda: len(shown.ids) == 1)
    sender.request(2, Urgency.FINAL, read(2))
    await until_over(work, clock)
    assert shown.items[1:] == [None]


async def test_what_was_read_for_a_failed_try_is_read_again() -> None:
    clock = FakeClock()
    shown = Shown(clock)
    shown.plan[1] = [RetryLater(1.0)]
    sender = ChatSender(shown, PAUSE, clock)
    item = read(1)
    sender.request(1, Urgency.FINAL, item)
    await until_over(asyncio.ensure_future(sender.run()), clock)
    assert shown.items == [item, None]


async def test_a_second_request_takes_the_place_of_what_was_read() -> None:
    clock = FakeClock()
    shown = Shown(clock)
    sender = ChatSender(shown, PAUSE, clock)
    sender.request(1, Urgency.FINAL, read(1))
    newer = read(1)
    sender.request(1, Urgency.WAITING, newer)
    await until_over(asyncio.ensure_future(sender.run()), clock)
    assert len(shown.items) == 1
    assert shown.items[0] is newer


async def test_what_was_read_while_a_message_was_synced_is_read_again() -> None:
    clock = FakeClock()

    class Busy(Shown):
        async def sync(self, message_id: int, item: MessageItem | None = None) -> int:
            if not self.ids:
                sender.request(message_id, Urgency.FINAL, read(message_id))
            return await super().sync(message_id, item)

    shown = Busy(clock)
    sender = ChatSender(shown, 0.0, clock)
    sender.request(1, Urgency.NEW, read(1))
    await until_over(asyncio.ensure_future(sender.run()), clock)
    # The first sync may have sent it: what was read before would have it sent twice.
    assert [item is None for item in shown.items] == [False, True]
