"""The Telegram stand-in refuses what the real API refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_limits import Flood
from tests.fakes.telegram_spec import SpecError, spec
from tests.unit.adapters.telegram.conftest import Hand

BUTTON = {"text": "x", "callback_data": "x"}


class Caller:
    """Calls the stand-in without any library."""

    def __init__(self, telegram: TelegramStandIn, http: aiohttp.ClientSession, clock: Hand) -> None:
        self.telegram = telegram
        self.http = http
        self.clock = clock

    async def __call__(self, method: str, **form: Any) -> dict[str, Any]:
        data = {k: v if isinstance(v, str) else json.dumps(v) for k, v in form.items()}
        url = f"{self.telegram.url}/bot{self.telegram.token}/{method}"
        async with self.http.post(url, data=data) as answer:
            body: dict[str, Any] = await answer.json()
            return body


@pytest.fixture
async def call() -> AsyncIterator[Caller]:
    clock = Hand()
    async with (
        TelegramStandIn(flood=Flood(clock=clock)).serve() as telegram,
        aiohttp.ClientSession() as http,
    ):
        telegram.private(telegram.person("Ann"))
        yield Caller(telegram, http, clock)


@pytest.mark.parametrize(
    ("method", "form", "problem"),
    [
        ("sendMessage", {"chat_id": 501}, "needs the parameter text"),
        ("sendMessage", {"chat_id": 501, "text": "x", "colour": "red"}, "no parameter colour"),
        ("sendMessage", {"chat_id": 501, "text": "x", "disable_notification": "perhaps"}, "not a boolean"),
        ("sendMessage", {"chat_id": 501, "text": "x", "message_thread_id": "first"}, "not of type Integer"),
        ("sendMessage", {"chat_id": 501, "text": "x", "entities": [{"type": "bold", "offset": 0}]}, "needs the field"),
        (
            "sendMessage",
            {"chat_id": 501, "text": "x", "reply_markup": {"inline_keyboard": [BUTTON]}},
            "not a list",
        ),
        (
            "sendMessage",
            {"chat_id": 501, "text": "x", "reply_markup": {"inline_keyboard": [[{**BUTTON, "size": 2}]]}},
            "no field size",
        ),
        ("sendMediaGroup", {"chat_id": 501, "media": [{"type": "foto", "media": "x"}] * 2}, "not 'photo'"),
        ("sendPhoto", {"chat_id": 501, "photo": "attach://nothing"}, "was not uploaded"),
        ("answerCallbackQuery", {"text": "x"}, "needs the parameter callback_query_id"),
    ],
)
async def test_what_does_not_fit_the_specification(
    call: Caller, method: str, form: dict[str, Any], problem: str
) -> None:
    answer = await call(method, **form)
    assert answer["error_code"] == 400
    assert problem in answer["description"]
    assert len(call.telegram.problems) == 1


@pytest.mark.parametrize(
    ("method", "form", "problem"),
    [
        ("sendMessage", {"text": "x" * 4097}, "message is too long"),
        ("sendMessage", {"text": " "}, "message text is empty"),
        (
            "sendMessage",
            {"text": "x", "reply_markup": {"inline_keyboard": [[{**BUTTON, "callback_data": "貓" * 22}]]}},
            "BUTTON_DATA_INVALID",
        ),
        ("sendMessage", {"text": "x", "reply_parameters": {"message_id": 999}}, "message to be replied not found"),
        ("sendMediaGroup", {"media": [{"type": "photo", "media": "x"}]}, "2-10 items"),
        ("editMessageText", {"message_id": 999, "text": "x"}, "message to edit not found"),
    ],
)
async def test_what_breaks_a_limit(call: Caller, method: str, form: dict[str, Any], problem: str) -> None:
    answer = await call(method, chat_id=501, **form)
    assert problem in answer["description"]


async def test_one_message_a_second(call: Caller) -> None:
    assert (await call("sendMessage", chat_id=501, text="x"))["ok"]
    answer = await call("sendMessage", chat_id=501, text="x")
    assert (answer["error_code"], answer["parameters"]) == (429, {"retry_after": 1})
    call.clock.now += 1
    assert (await call("sendMessage", chat_id=501, text="x"))["ok"]


async def test_twenty_a_minute_in_a_group(call: Caller) -> None:
    group = call.telegram.group("Painters")
    for _ in range(20):
        assert (await call("sendMessage", chat_id=group.id, text="x"))["ok"]
        call.clock.now += 1
    answer = await call("sendMessage", chat_id=group.id, text="x")
    assert answer["parameters"] == {"retry_after": 40}


async def test_updates_come_again_until_they_are_confirmed(call: Caller) -> None:
    ann = call.telegram.world.chats[501].members[501]
    for text in ("one", "two"):
        call.telegram.writes(call.telegram.world.chats[501], ann, text)
    first = (await call("getUpdates"))["result"]
    assert [u["message"]["text"] for u in first] == ["one", "two"]
    assert (await call("getUpdates"))["result"] == first
    assert (await call("getUpdates", offset=first[0]["update_id"] + 1))["result"] == first[1:]
    assert call.telegram.confirmed == first[0]["update_id"]


async def test_a_long_poll_ends_with_the_first_update_or_with_a_second_reader(call: Caller) -> None:
    chat = call.telegram.world.chats[501]
    poll = asyncio.create_task(call("getUpdates", timeout=60))
    await call.telegram.until(lambda: call.telegram.calls)
    call.telegram.writes(chat, chat.members[501], "one")
    updates = (await poll)["result"]
    assert len(updates) == 1
    older = asyncio.create_task(call("getUpdates", timeout=60, offset=updates[0]["update_id"] + 1))
    await call.telegram.until(lambda: len(call.telegram.calls) == 2)
    younger = asyncio.create_task(call("getUpdates", timeout=60))
    assert (await older)["error_code"] == 409
    call.telegram.writes(chat, chat.members[501], "two")
    assert (await younger)["ok"]


async def test_another_token_is_refused(call: Caller) -> None:
    async with call.http.post(f"{call.telegram.url}/bot1:x/getMe") as answer:
        assert answer.status == 401


async def test_a_press_is_answered_once(call: Caller) -> None:
    chat = call.telegram.world.chats[501]
    sent = call.telegram.world.add(chat, call.telegram.world.bot, text="x")
    query = call.telegram.sends_press(sent, chat.members[501], "data")
    assert (await call("answerCallbackQuery", callback_query_id=query.id, text="done"))["ok"]
    assert query.text == "done"
    assert "query is too old" in (await call("answerCallbackQuery", callback_query_id=query.id))["description"]


def test_what_the_stand_in_says_is_checked_too() -> None:
    with pytest.raises(SpecError, match="needs the field"):
        spec().check("update", {"message": {}}, ["Update"])
