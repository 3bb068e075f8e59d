"""Where the bot lacks a right: something is shown to somebody, and never a finished card without its picture or a reason."""

from __future__ import annotations

import asyncio

import pytest

from bot.cards import i18n
from tests.e2e.telegram.conftest import Start, photos
from tests.fakes.step_gate import StepGate
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_world import Chat, Person


@pytest.fixture
def bob(telegram: TelegramStandIn) -> Person:
    """A member of the group."""
    return telegram.person("Bob")


@pytest.fixture
def group(telegram: TelegramStandIn, bob: Person) -> Chat:
    """A group with the bot in it."""
    return telegram.group("Painters", bob)


async def test_a_group_without_photos_gets_the_reason_and_the_asker_the_pictures(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person
) -> None:
    bot = await start()
    private = telegram.private(bob)
    group.photos_allowed = group.documents_allowed = False
    telegram.writes(group, bob, "/draw a cat --count 2")
    await telegram.until(lambda: len(photos(private)) == 2)
    note = i18n.text("en", "note.no_pictures.apart")
    await telegram.until(lambda: [note in m.words for m in group.by_bot()] == [True])
    while not await bot.number("SELECT count(*) FROM jobs WHERE state = 'delivered'"):  # noqa: ASYNC110 - rows tell nobody that they change
        await asyncio.sleep(0.01)


async def test_a_closed_topic_is_answered_in_the_private_chat(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person
) -> None:
    gate = StepGate()
    await start(gate)
    private = telegram.private(bob)
    telegram.writes(group, bob, "/draw a cat", thread=33)
    (card,) = await telegram.until(group.by_bot)
    group.closed_topics.add(33)
    telegram.deletes(card)
    gate.open()
    (shown,) = await telegram.until(lambda: photos(private))
    assert i18n.text("en", "note.elsewhere") in shown.words
    telegram.presses(shown, bob, "reroll")
    await telegram.until(lambda: len(photos(private)) == 2)
    assert group.by_bot() == []


async def test_a_closed_topic_without_a_private_chat_is_answered_in_the_group(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person
) -> None:
    await start()
    group.closed_topics.add(33)
    telegram.writes(group, bob, "/draw a cat", thread=33)
    (shown,) = await telegram.until(lambda: photos(group))
    assert shown.thread is None
    assert i18n.text("en", "note.elsewhere") in shown.words


async def test_a_group_that_removes_the_bot_leaves_the_picture_to_the_private_chat(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person
) -> None:
    gate = StepGate()
    await start(gate)
    private = telegram.private(bob)
    telegram.writes(group, bob, "/draw a cat")
    await telegram.until(group.by_bot)
    group.blocked = True
    gate.open()
    await telegram.until(lambda: photos(private))


async def test_a_private_picture_that_can_not_be_sent_is_told_of_in_the_group_and_at_the_next_message(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person
) -> None:
    bot = await start()
    private = telegram.private(bob)
    private.blocked = True
    telegram.writes(group, bob, "/draw a cat --private")
    (notice,) = await telegram.until(group.by_bot)
    assert notice.words == i18n.text("en", "telegram.open_private", bot="https://t.me/easel_bot").replace(
        "@", "@\u2060"
    )
    await telegram.until(lambda: not telegram.updates)
    delivered = "SELECT count(*) FROM jobs WHERE state = 'delivered' AND missed"
    async with asyncio.timeout(30):
        while not await bot.number(delivered):  # noqa: ASYNC110 - rows tell nobody that they change
            await asyncio.sleep(0.01)
    assert photos(group) == photos(private) == []
    private.blocked = False
    telegram.writes(private, bob, "/help")
    await telegram.until(lambda: any(i18n.text("en", "missed.drawn", n=1) in m.words for m in private.by_bot()))


async def test_a_group_that_kicks_the_bot_from_somebody_without_a_private_chat_is_told_of_later(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person
) -> None:
    gate = StepGate()
    bot = await start(gate)
    telegram.writes(group, bob, "/draw a cat")
    await telegram.until(group.by_bot)
    await bot.settled()
    # It is being drawn already, so it is finished.
    telegram.changes_bot(group, bob, "kicked")
    gate.open()
    delivered = "SELECT count(*) FROM jobs WHERE state = 'delivered' AND missed"
    async with asyncio.timeout(30):
        while not await bot.number(delivered):  # noqa: ASYNC110 - rows tell nobody that they change
            await asyncio.sleep(0.01)
    private = telegram.private(bob)
    telegram.writes(private, bob, "/help")
    await telegram.until(lambda: any(i18n.text("en", "missed.drawn", n=1) in m.words for m in private.by_bot()))
