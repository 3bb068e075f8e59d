"""Updates that are no new messages: edits, posts of channels, and changes of the bot's membership."""

from __future__ import annotations

import pytest

from bot.cards import i18n
from tests.e2e.telegram.conftest import Start, photos
from tests.fakes.step_gate import StepGate
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_world import Chat, Person

OPEN = "SELECT count(*) FROM jobs WHERE state IN ('held', 'queued', 'running')"


@pytest.fixture
def bob(telegram: TelegramStandIn) -> Person:
    """A member of the group."""
    return telegram.person("Bob")


@pytest.fixture
def group(telegram: TelegramStandIn, bob: Person) -> Chat:
    """A group with the bot in it."""
    return telegram.group("Painters", bob)


async def test_an_edit_replaces_a_request_that_waits(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    gate = StepGate()
    bot = await start(gate, quota=4)
    person = ann.members[ann.id]
    telegram.writes(ann, person, "a first picture --size 192x128")
    await telegram.until(lambda: [m for m in ann.by_bot() if "Cancel" in m.labels])
    asked = telegram.writes(ann, person, "a cat --count 2")
    card = await telegram.until(lambda: next((m for m in ann.by_bot() if "a cat" in m.words), None))
    telegram.edits(asked, "a dog --count 3")
    await telegram.until(lambda: "a dog" in card.words)
    # One for the first, and three instead of two.
    assert await bot.reserved() == 4
    # What is refused changes nothing: one more than the quota has, and a flag that there is not.
    telegram.edits(asked, "a horse --count 4")
    telegram.edits(asked, "a mouse --nonsense")
    await telegram.until(lambda: any("--nonsense" in m.words for m in ann.by_bot()))
    assert await bot.reserved() == 4
    gate.open()
    await telegram.until(lambda: len(photos(ann)) == 1 + 3)
    await bot.settled()
    assert await bot.reserved() == 0
    assert "a dog" in card.words
    assert await bot.charged() == 4
    assert await bot.count("jobs WHERE state = 'cancelled'") == 1


async def test_an_edit_that_changes_nothing_keeps_the_place_in_the_queue(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    gate = StepGate()
    bot = await start(gate)
    person = ann.members[ann.id]
    telegram.writes(ann, person, "a first picture --size 192x128")
    asked = telegram.writes(ann, person, "a cat")
    await telegram.until(lambda: any("a cat" in m.words for m in ann.by_bot()))
    telegram.edits(asked, "a cat")
    await telegram.until(lambda: not telegram.updates)
    assert await bot.count("jobs") == 2
    gate.open()
    await telegram.until(lambda: len(photos(ann)) == 2)


async def test_an_edit_that_comes_too_late_is_told_once(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    bot = await start()
    person = ann.members[ann.id]
    asked = telegram.writes(ann, person, "a cat")
    await telegram.until(lambda: photos(ann))
    telegram.edits(asked, "a dog")
    telegram.edits(asked, "a horse")
    late = i18n.text("en", "refusal.revise.late")
    await telegram.until(lambda: any(late in m.words for m in ann.by_bot()))
    await telegram.until(lambda: not telegram.updates)
    await bot.settled()
    assert len(ann.by_bot()) == 2
    # After a minute nothing is read into an edit, nor into one of talk.
    asked.edits = 90
    telegram.edits(asked, "a mouse")
    group = telegram.group("Painters", person)
    telegram.edits(telegram.world.add(group, person, text="I like cats"), "I like dogs")
    await telegram.until(lambda: not telegram.updates)
    await bot.settled()
    assert len(ann.by_bot()) == 2
    assert await bot.count("jobs") == 1


async def test_a_group_that_removes_the_bot_ends_what_waits(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person, ann: Chat
) -> None:
    gate = StepGate()
    bot = await start(gate)
    private = telegram.private(bob)
    telegram.writes(ann, ann.members[ann.id], "a first picture --size 192x128")
    await telegram.until(ann.by_bot)
    telegram.writes(group, bob, "/draw a cat --count 2")
    await telegram.until(group.by_bot)
    telegram.changes_bot(group, bob, "kicked")
    (notice,) = await telegram.until(private.by_bot)
    assert i18n.text("en", "card.left_chat") in notice.words
    assert "a cat" in notice.words
    assert await bot.number(OPEN) == 1
    assert await bot.reserved() == 1
    gate.open()
    await telegram.until(lambda: photos(ann))
    await bot.settled()
    # Told once, and not again at the next command.
    telegram.writes(private, bob, "/help")
    await telegram.until(lambda: len(private.by_bot()) == 2)
    await telegram.until(lambda: not telegram.updates)
    await bot.settled()
    assert len(private.by_bot()) == 2


async def test_who_can_not_be_told_in_private_is_told_at_the_next_command(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person, ann: Chat
) -> None:
    gate = StepGate()
    bot = await start(gate)
    telegram.writes(ann, ann.members[ann.id], "a first picture --size 192x128")
    await telegram.until(ann.by_bot)
    telegram.writes(group, bob, "/draw a cat")
    await telegram.until(group.by_bot)
    telegram.changes_bot(group, bob, "left")
    await telegram.until(lambda: not telegram.updates)
    await bot.settled()
    private = telegram.private(bob)
    telegram.writes(private, bob, "/help")
    await telegram.until(lambda: any(i18n.text("en", "missed.cancelled", n=1) in m.words for m in private.by_bot()))
    gate.open()


async def test_a_person_who_blocks_the_bot_ends_what_waits(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person, ann: Chat
) -> None:
    gate = StepGate()
    bot = await start(gate)
    private = telegram.private(bob)
    telegram.writes(ann, ann.members[ann.id], "a first picture --size 192x128")
    await telegram.until(ann.by_bot)
    telegram.writes(private, bob, "a cat")
    await telegram.until(private.by_bot)
    telegram.changes_bot(private, bob, "kicked")
    await telegram.until(lambda: not telegram.updates)
    assert await bot.number(OPEN) == 1
    telegram.changes_bot(private, bob, "member", old="kicked")
    telegram.writes(private, bob, "/help")
    await telegram.until(lambda: any(i18n.text("en", "missed.cancelled", n=1) in m.words for m in private.by_bot()))
    gate.open()


async def test_a_group_that_adds_the_bot_is_greeted_once(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person
) -> None:
    bot = await start()
    telegram.changes_bot(group, bob, "member", old="left")
    (greeting,) = await telegram.until(group.by_bot)
    assert greeting.words == i18n.text("en", "telegram.greeting")
    telegram.changes_bot(group, bob, "left")
    telegram.changes_bot(group, bob, "member", old="left")
    await telegram.until(lambda: not telegram.updates)
    await bot.settled()
    assert group.by_bot() == [greeting]


async def test_a_channel_is_answered(start: Start, telegram: TelegramStandIn) -> None:
    bot = await start()
    channel = telegram.channel("News")
    telegram.posts(channel, "Talk about cats")
    asked = telegram.posts(channel, "/draw a cat")
    (card,) = await telegram.until(lambda: photos(channel))
    assert card.reply_to is asked
    telegram.posts(channel, "/quota set 3/day")
    await telegram.until(lambda: len(channel.by_bot()) == 2)
    assert await bot.count("policies") == 1
    assert await bot.count("jobs") == 1
