"""Which updates are handled at the same time and in which order, and how they are read."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from aiogram.types import CallbackQuery, Chat, Message, Update, User

from adapters.telegram.updates import UpdateScheduler, read_update
from tests.unit.adapters.telegram.conftest import bot_for, idle


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


async def test_people_do_not_wait_for_each_other_nor_for_what_they_wrote_elsewhere() -> None:
    handlers = Handlers()
    async with asyncio.TaskGroup() as group:
        turns = UpdateScheduler(handlers)
        for update in (written(1, 501), written(2, 501), written(3, 501, chat=-9), written(4, 502)):
            turns.begin(update, group)
        await idle()
        assert handlers.begun == [1, 3, 4]
        handlers.end(1)
        await idle()
        assert handlers.begun == [1, 3, 4, 2]
        handlers.end(2, 3, 4)
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


async def test_messages_begin_after_a_press() -> None:
    handlers = Handlers()
    async with asyncio.TaskGroup() as group:
        turns = UpdateScheduler(handlers, patient=60)
        for update in (pressed(1, 501), pressed(2, 502), written(3, 503)):
            turns.begin(update, group)
        await idle()
        assert handlers.begun == [1, 2]
        handlers.end(1)
        await idle()
        assert handlers.begun == [1, 2]
        handlers.end(2)
        await idle()
        assert handlers.begun == [1, 2, 3]
        handlers.end(3)


async def test_a_press_that_takes_long_holds_up_no_message() -> None:
    handlers = Handlers()
    async with asyncio.TaskGroup() as group:
        turns = UpdateScheduler(handlers, patient=0.001)
        for update in (pressed(1, 501), written(2, 502)):
            turns.begin(update, group)
        async with asyncio.timeout(10):
            while handlers.begun != [1, 2]:  # noqa: ASYNC110 - nobody is told that a press takes long
                await asyncio.sleep(0.001)
        handlers.end(1, 2)


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


USER = {"id": 501, "is_bot": False, "first_name": "x"}
CHAT = {"id": -1, "type": "group", "title": "x"}


def test_a_member_with_other_fields_than_the_library_knows_is_read() -> None:
    bot = bot_for("http://127.0.0.1:1")
    administrator = {"status": "administrator", "user": USER, "can_do_something_new": True}
    change = {"chat": CHAT, "from": USER, "date": 0, "old_chat_member": administrator, "new_chat_member": administrator}
    for status, there in (("administrator", True), ("kicked", False), ("unheard of", False)):
        change["new_chat_member"] = {"status": status, "user": USER}
        read = read_update({"update_id": 1, "my_chat_member": change}, bot)
        assert read is not None
        assert read.my_chat_member is not None
        assert (read.my_chat_member.new_chat_member.status == "member") is there


def test_what_can_not_be_read_has_nothing_but_its_id() -> None:
    bot = bot_for("http://127.0.0.1:1")
    assert read_update({"update_id": 7, "message": {"message_id": "what?"}}, bot) == Update(update_id=7)
    assert read_update({"update_id": 7, "my_chat_member": "what?"}, bot) == Update(update_id=7)
    assert read_update({"message": {}}, bot) is None
    assert read_update([], bot) is None
