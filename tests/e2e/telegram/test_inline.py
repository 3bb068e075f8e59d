"""Inline mode: one's own pictures and "draw this" in a chat in which the bot is not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bot.cards import i18n
from bot.core.access import AccessMode
from tests.e2e.telegram.conftest import Start, photos
from tests.fakes.step_gate import StepGate
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_world import Chat, Person


async def offered(telegram: TelegramStandIn, person: Person, text: str) -> tuple[str, dict[str, Any]]:
    """Type words behind the bot's name; returns the query's id and the bot's answer."""
    query = telegram.queries(person, text)
    return query, await telegram.until(lambda: telegram.world.offers[query])


async def test_ones_own_pictures_are_offered_by_words_and_nobody_elses(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    bot = await start()
    person, bob = ann.members[ann.id], telegram.person("Bob")
    telegram.private(bob)
    for prompt in ("a red apple --private", "a blue boat --count 2"):
        telegram.writes(ann, person, prompt)
    await telegram.until(lambda: len(photos(ann)) == 3)
    async with asyncio.timeout(30):
        while await bot.count("sent_pictures") < 3:  # noqa: ASYNC110 - rows tell nobody that they change
            await asyncio.sleep(0.01)
    _, answer = await offered(telegram, person, "")
    assert [result["id"] for result in answer["results"]] == ["2-0", "2-1", "1-0"]
    assert answer["is_personal"]
    assert answer["cache_time"] <= 10
    _, answer = await offered(telegram, person, "apple")
    assert [result["id"] for result in answer["results"]] == ["draw", "1-0"]
    _, answer = await offered(telegram, person, '"')
    assert [result["id"] for result in answer["results"]][:1] == ["draw"]
    for words in ("", "apple"):
        _, answer = await offered(telegram, bob, words)
        assert all(result["id"] == "draw" for result in answer["results"])


async def test_draw_this_ends_as_a_picture_in_the_inline_message(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    gate = StepGate()
    bot = await start(gate)
    person = ann.members[ann.id]
    query, _ = await offered(telegram, person, "a cat --count 2")
    message = telegram.chooses(person, query, "draw", text="a cat --count 2")
    await telegram.until(lambda: message.edits > 0)
    assert "a cat" in message.words
    gate.open()
    await telegram.until(lambda: message.photo)
    # With its buttons in the private chat, and once; the other picture as well.
    await telegram.until(lambda: len(photos(ann)) == 2)
    await bot.settled()
    assert message.photo in [shown.photo for shown in photos(ann)]
    assert message.labels == []
    assert photos(ann)[0].labels
    assert await bot.charged() == 2
    telegram.presses(photos(ann)[0], person, "reroll")
    await telegram.until(lambda: len(photos(ann)) == 4)


async def test_a_kill_in_between_shows_one_picture(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    gate = StepGate()
    bot = await start(gate)
    person = ann.members[ann.id]
    query, _ = await offered(telegram, person, "a cat")
    message = telegram.chooses(person, query, "draw", text="a cat")
    await telegram.until(lambda: message.edits > 0)
    await bot.kill()
    gate.open()
    await bot.start()
    await telegram.until(lambda: message.photo)
    await bot.settled()
    assert len(photos(ann)) == 1
    assert await bot.count("jobs") == 1


async def test_the_storage_chat_takes_the_pictures_of_people_without_a_private_chat(
    start: Start, telegram: TelegramStandIn
) -> None:
    store = telegram.group("Storage")
    bot = await start(storage_chat=store.id)
    bob = telegram.person("Bob")
    query, answer = await offered(telegram, bob, "a cat")
    assert "button" not in answer
    message = telegram.chooses(bob, query, "draw", text="a cat")
    await telegram.until(lambda: message.photo)
    await bot.settled()
    (stored,) = photos(store)
    assert stored.labels == []
    assert stored.photo is message.photo


async def test_who_has_no_private_chat_is_shown_the_way_to_it(start: Start, telegram: TelegramStandIn) -> None:
    await start()
    _, answer = await offered(telegram, telegram.person("Bob"), "a cat")
    assert answer["results"] == []
    assert answer["button"] == {"text": i18n.text("en", "telegram.inline.open"), "start_parameter": "inline"}


async def test_a_refusal_or_a_failure_stands_in_the_inline_message(
    start: Start, telegram: TelegramStandIn, ann: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = await start(quota=1)
    person = ann.members[ann.id]
    query, _ = await offered(telegram, person, "a cat --count 4")
    message = telegram.chooses(person, query, "draw", text="a cat --count 4")
    await telegram.until(lambda: message.edits > 0)
    assert "⚠️" in message.words

    async def failing(*_: object) -> None:
        raise OverflowError("Python int too large to convert to SQLite INTEGER")

    monkeypatch.setattr(bot.studio, "draw", failing)
    query, _ = await offered(telegram, person, "a cat")
    message = telegram.chooses(person, query, "draw", text="a cat")
    await telegram.until(lambda: message.edits > 0)
    assert message.words == i18n.text("en", "refusal.unavailable.internal")
    assert await bot.count("jobs") == 0


async def test_a_private_request_is_not_shown_where_others_read(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    bot = await start()
    person = ann.members[ann.id]
    query, _ = await offered(telegram, person, "a cat --private")
    message = telegram.chooses(person, query, "draw", text="a cat --private")
    await telegram.until(lambda: photos(ann))
    await bot.settled()
    assert message.photo is None
    assert message.edits == 0


async def test_a_stranger_gets_nothing_drawn(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    bot = await start(access=AccessMode.LIST)
    person = ann.members[ann.id]
    query, _ = await offered(telegram, person, "a cat")
    message = telegram.chooses(person, query, "draw", text="a cat")
    await telegram.until(lambda: message.edits > 0)
    assert await bot.count("jobs") == 0


async def test_what_is_forgotten_leaves_the_inline_message(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    bot = await start()
    person = ann.members[ann.id]
    query, _ = await offered(telegram, person, "a cat")
    message = telegram.chooses(person, query, "draw", text="a cat")
    await telegram.until(lambda: message.photo)
    await bot.settled()
    drawn = message.photo
    telegram.writes(ann, person, "/forget")
    await telegram.until(lambda: any("/forget yes" in m.words for m in ann.by_bot()))
    telegram.writes(ann, person, "/forget yes")
    await telegram.until(lambda: message.photo is not drawn)
    assert "a cat" not in message.words
