"""Which updates are handled at the same time, in which order, and from which one on Telegram is asked again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from aiogram.types import CallbackQuery, Chat, Message, Update, User

from adapters.telegram.service import UpdateScheduler, UpdateWindow


class Handlers:
    """Handlers that end when the test says so."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self._ends: dict[int, asyncio.Event] = {}

    async def __call__(self, update: Update) -> None:
        self.begun.append(update.update_id)
        await self._ends.setdefault(update.update_id, asyncio.Event()).wait()

    def end(self, *update_ids: int) -> None:
        for update_id in update_ids:
            self._ends.setdefault(update_id, asyncio.Event()).set()


def written(update_id: int, person: int, chat: int = -1, **content: Any) -> Update:
    """A message."""
    user = User(id=person, is_bot=False, first_name="x")
    where = Chat(id=chat, type="group")
    message = Message(message_id=update_id, date=datetime.now(UTC), chat=where, from_user=user, text="x", **content)
    return Update(update_id=update_id, message=message)


def pressed(update_id: int, person: int) -> Update:
    """A press of a button."""
    user = User(id=person, is_bot=False, first_name="x")
    query = CallbackQuery(id="1", from_user=user, chat_instance="1", data="x")
    return Update(update_id=update_id, callback_query=query)


async def idle() -> None:
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_people_do_not_wait_for_each_other_and_keep_their_own_order() -> None:
    handlers = Handlers()
    async with asyncio.TaskGroup() as group:
        turns = UpdateScheduler(handlers)
        for update in (written(1, 501), written(2, 501, chat=-9), written(3, 502)):
            turns.begin(update, group)
        await idle()
        assert handlers.begun == [1, 3]
        handlers.end(1)
        await idle()
        assert handlers.begun == [1, 3, 2]
        handlers.end(2, 3)
    assert turns._last == {}


async def test_a_press_waits_for_no_message_and_for_the_earlier_presses_of_its_person() -> None:
    handlers = Handlers()
    async with asyncio.TaskGroup() as group:
        turns = UpdateScheduler(handlers, slots=2, patient=60)
        for update in (*(written(n, 500 + n) for n in range(1, 61)), pressed(61, 501), pressed(62, 501)):
            turns.begin(update, group)
        await idle()
        assert sorted(handlers.begun) == [1, 2, 61]
        handlers.end(61)
        await idle()
        assert handlers.begun[-1] == 62
        handlers.end(*range(1, 63))
    assert len(handlers.begun) == 62


async def test_a_handler_that_takes_long_makes_room() -> None:
    handlers = Handlers()
    async with asyncio.TaskGroup() as group:
        turns = UpdateScheduler(handlers, slots=1, patient=0.001)
        turns.begin(written(1, 501), group)
        turns.begin(written(2, 502), group)
        async with asyncio.timeout(10):
            while handlers.begun != [1, 2]:  # noqa: ASYNC110 - the slot tells nobody
                await asyncio.sleep(0.001)
        handlers.end(1, 2)
    # The one slot is free again, and there is no second one.
    await turns._slots.acquire()
    assert turns._slots.locked()


async def test_a_group_that_moves_is_handled_alone() -> None:
    handlers = Handlers()
    async with asyncio.TaskGroup() as group:
        turns = UpdateScheduler(handlers)
        turns.begin(written(1, 501), group)
        turns.begin(written(2, 501, migrate_to_chat_id=-1002), group)
        turns.begin(written(3, 502, chat=-1002), group)
        await idle()
        assert handlers.begun == [1]
        handlers.end(1)
        await idle()
        assert handlers.begun == [1, 2]
        handlers.end(2, 3)
    assert handlers.begun == [1, 2, 3]


def test_nothing_is_confirmed_before_what_came_earlier_is_saved() -> None:
    window = UpdateWindow()
    assert [window.begin(n) for n in (7, 8, 9)] == [True, True, True]
    assert window.offset == 7
    window.finish(8)
    assert window.offset == 7
    # Telegram tells them again, and none is begun twice.
    assert [window.begin(n) for n in (7, 8, 9, 10)] == [False, False, False, True]
    window.finish(7)
    assert window.offset == 9
    window.finish(10)
    window.finish(9)
    assert window.offset == 11


def test_ids_that_begin_anew_are_followed() -> None:
    """After a week without updates Telegram chooses the next id at random."""
    window = UpdateWindow()
    window.begin(9_000_000)
    window.finish(9_000_000)
    assert window.begin(17)
    window.finish(17)
    assert window.offset == 18


async def test_telegram_is_asked_at_once_when_nothing_is_open_or_much_is_finished() -> None:
    window = UpdateWindow()
    window._pause = 60.0
    async with asyncio.timeout(10):
        await window.ready()
        for n in range(100):
            window.begin(n)
        window._pause = 60.0
        asking = asyncio.create_task(window.ready())
        await idle()
        assert not asking.done()
        for n in range(10):
            window.finish(n)
        await asking
    assert window.offset == 10


async def test_telegram_is_asked_now_and_then_while_something_takes_long() -> None:
    window = UpdateWindow()
    window.begin(1)
    window._pause = 0.001
    async with asyncio.timeout(10):
        for _ in range(3):
            await window.ready()
    assert window._pause == 0.008
    window.begin(2)
    assert window._pause == 0.1


def test_an_update_is_begun_once_though_it_is_told_again() -> None:
    window = UpdateWindow()
    assert [window.begin(7), window.begin(8), window.begin(7)] == [True, True, False]
    window.finish(7)
    assert window.offset == 8
    # The answer was under way when it was finished.
    assert not window.begin(7)
    assert window.offset == 8


def test_nothing_is_confirmed_before_what_came_earlier_is_finished() -> None:
    window = UpdateWindow()
    for update_id in (7, 8, 9):
        window.begin(update_id)
    window.finish(8)
    assert window.offset == 7
    window.finish(7)
    assert window.offset == 9


def test_ids_that_begin_anew_are_taken() -> None:
    window = UpdateWindow()
    window.begin(1_000_000)
    window.finish(1_000_000)
    assert window.begin(5)
    window.finish(5)
    assert window.offset == 6
