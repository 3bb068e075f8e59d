"""What people write that is no prompt: bad input, commands, other content. Each gets one clear sentence of its own."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image

from bot.cards import i18n
from tests.e2e.telegram.conftest import Start, photos
from tests.fakes.bad_requests import BAD_REQUESTS
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_world import Chat


@pytest.mark.parametrize("language", ["en", "zh-hans"])
async def test_bad_input_gets_one_sentence_and_costs_nothing(
    start: Start, telegram: TelegramStandIn, language: str
) -> None:
    bot = await start()
    person = telegram.person("Ann", language)
    chat = telegram.private(person)
    # Telegram sends no empty message.
    for n, bad in enumerate((bad for bad in BAD_REQUESTS if bad.typed.strip()), 1):
        asked = telegram.writes(chat, person, bad.typed)
        await telegram.until(lambda n=n: len(chat.by_bot()) == n)  # type: ignore[misc]
        refusal = chat.by_bot()[-1]
        assert refusal.reply_to is asked
        assert bad.words(language[:2], most=4) in refusal.words, bad.what
        assert bool(re.search("[\u4e00-\u9fff]", refusal.words)) is (language != "en")
        assert len(refusal.words.splitlines()) == 1
    assert await bot.count("jobs") == 0
    assert await bot.count("ledger") == 0


@pytest.mark.parametrize("cut_at", [4096])
async def test_a_prompt_that_the_app_cuts_in_two_is_one_refusal(
    start: Start, telegram: TelegramStandIn, ann: Chat, cut_at: int
) -> None:
    bot = await start()
    person = ann.members[ann.id]
    whole = "a very long prompt " * 264
    telegram.writes(ann, person, whole[:cut_at])
    telegram.writes(ann, person, whole[cut_at:])
    telegram.writes(ann, person, "a cat")
    await telegram.until(lambda: photos(ann))
    assert len(ann.by_bot()) == 2
    assert await bot.count("jobs") == 1


async def test_the_quota_says_what_is_left(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    bot = await start(quota=2)
    person = ann.members[ann.id]
    telegram.writes(ann, person, "a cat")
    await telegram.until(lambda: photos(ann))
    telegram.writes(ann, person, "a cat --count 2")
    await telegram.until(lambda: len(ann.by_bot()) == 2)
    assert "only 1 picture is left" in ann.by_bot()[1].words
    telegram.writes(ann, person, "/quota")
    await telegram.until(lambda: len(ann.by_bot()) == 3)
    assert ann.by_bot()[2].words.splitlines() == [
        "You may ask for 1 more picture now.",
        "1 of 2 pictures per day used · +1 in 24 hours",
    ]
    assert await bot.charged() == 1


async def test_owners_have_no_quota(start: Start, telegram: TelegramStandIn) -> None:
    await start(quota=0)
    owner = telegram.person("Owner")
    owner.id = 900
    chat = telegram.private(owner)
    telegram.writes(chat, owner, "a cat")
    await telegram.until(lambda: photos(chat))


async def test_help(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    await start()
    telegram.writes(ann, ann.members[ann.id], "/help")
    (card,) = await telegram.until(ann.by_bot)
    assert "--size" in card.words
    assert "/history" in card.words


async def test_the_greeting_draws_an_example_at_a_press(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    await start()
    person = ann.members[ann.id]
    telegram.writes(ann, person, "/start ref_1")
    (card,) = await telegram.until(ann.by_bot)
    assert len(card.words.splitlines()) == 3
    assert card.labels == [i18n.text("en", "example.1"), i18n.text("en", "example.2")]
    telegram.presses(card, person, "easel:example:2")
    (drawn,) = await telegram.until(lambda: photos(ann))
    assert i18n.text("en", "example.2") in drawn.words


async def test_an_unknown_command_is_no_prompt(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    bot = await start()
    telegram.writes(ann, ann.members[ann.id], "/paint a cat")
    (notice,) = await telegram.until(ann.by_bot)
    assert "/paint" in notice.words
    assert "/help" in notice.words
    assert await bot.count("jobs") == 0


async def test_the_quota_of_a_private_chat_can_not_be_set(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    await start()
    telegram.writes(ann, ann.members[ann.id], "/quota set 5/day")
    (notice,) = await telegram.until(ann.by_bot)
    assert "group" in notice.words


async def test_the_list_of_commands_is_set_in_both_languages(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    await start()
    await telegram.until(lambda: len(telegram.world.commands) == 6)
    everywhere = {"draw", "history", "quota", "loras", "info", "cancel", "help"}
    for scope, more in (
        ("default", ["search", "favourites", "link", "export", "forget", "edit", "queue", "settings"]),
        ("all_group_chats", []),
        ("all_chat_administrators", ["easel"]),
    ):
        english, chinese = telegram.world.commands[scope, ""], telegram.world.commands[scope, "zh"]
        assert [c["command"] for c in english] == [c["command"] for c in chinese]
        assert {c["command"] for c in english} == everywhere | {*more}
        assert all(re.search("[\u4e00-\u9fff]", c["description"]) for c in chinese)
        assert all(1 <= len(c["description"]) <= 256 for c in english + chinese)


@pytest.mark.parametrize(
    ("typed", "prompt"),
    [
        ("/draw一只猫", "一只猫"),
        ("/draw: a cat", "a cat"),
        ("/draw：一只猫", "一只猫"),
        ("/draw\u2060 a cat", "a cat"),
        ("\u200f/DRAW@Easel_Bot a cat", "a cat"),
        ("／draw a cat", "a cat"),
    ],
)
async def test_a_command_is_known_however_it_is_typed(
    start: Start, telegram: TelegramStandIn, ann: Chat, typed: str, prompt: str
) -> None:
    await start()
    person = ann.members[ann.id]
    # Telegram does not tell a group's bot of a full-width slash.
    chat = telegram.group("Painters", person) if typed.startswith("/") else ann
    telegram.writes(chat, person, typed)
    (card,) = await telegram.until(lambda: photos(chat))
    assert prompt in card.code()


@pytest.mark.parametrize("typed", ["/drawing a cat", "/draw2 a cat", "/draw@other_bot a cat"])
async def test_other_commands_of_a_group_are_left_alone(
    start: Start, telegram: TelegramStandIn, ann: Chat, typed: str
) -> None:
    bot = await start()
    person = ann.members[ann.id]
    group = telegram.group("Painters", person)
    telegram.writes(group, person, typed)
    await telegram.until(lambda: telegram.polled and not telegram.updates)
    assert await bot.count("jobs") == 0
    assert group.by_bot() == []


async def test_an_album_without_words_gets_one_sentence(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    bot = await start()
    data = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(data, "PNG")
    for _ in range(3):
        telegram.sends_photo(ann, ann.members[ann.id], data.getvalue(), album="album-7")
    await telegram.until(lambda: not telegram.updates and ann.by_bot())
    await bot.settled()
    (notice,) = ann.by_bot()
    assert notice.words.endswith(i18n.text("en", "refusal.pictures.words"))
