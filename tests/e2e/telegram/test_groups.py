"""Groups: commands alone, the asker's own buttons, admins, privacy, topics."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.cards import i18n
from engine.contract import LoraInfo
from engine.families.z_image.spec import demo
from tests.e2e.telegram.conftest import Start, photos
from tests.fakes.step_gate import StepGate
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_world import Chat, Person


@pytest.fixture
def boss(telegram: TelegramStandIn) -> Person:
    """The group's admin."""
    return telegram.person("Boss")


@pytest.fixture
def bob(telegram: TelegramStandIn) -> Person:
    """A member."""
    return telegram.person("Bob", "zh-hans")


@pytest.fixture
def group(telegram: TelegramStandIn, boss: Person, bob: Person) -> Chat:
    """A group that the bot hears every word of."""
    telegram.privacy = False
    return telegram.group("Painters", bob, admin=boss)


@pytest.mark.parametrize("command", ["/draw", "/draw@easel_bot", "/DRAW", "/draw@Easel_Bot"])
async def test_draw_in_a_group(start: Start, telegram: TelegramStandIn, group: Chat, bob: Person, command: str) -> None:
    await start()
    asked = telegram.writes(group, bob, f"{command} a cat --seed 7")
    (card,) = await telegram.until(lambda: photos(group))
    assert card.reply_to is asked
    assert "a cat" in card.code()


async def test_plain_talk_and_others_commands_are_left_alone(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person
) -> None:
    bot = await start()
    for words in ("hello all", "/draw@other_bot a cat", "/weather", "draw a cat"):
        telegram.writes(group, bob, words)
    telegram.writes(group, bob, "/draw a dog")
    (card,) = await telegram.until(lambda: photos(group))
    telegram.writes(group, bob, "nice!", reply_to=card)
    await telegram.until(lambda: not telegram.updates)
    assert len(group.by_bot()) == 1
    assert await bot.count("jobs") == 1


@pytest.mark.parametrize("words", ["@easel_bot a cat", "@Easel_Bot: a cat", "@easel_bot，a cat"])
async def test_a_message_that_begins_with_the_bots_name_is_a_request(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person, words: str
) -> None:
    telegram.privacy = False
    bot = await start()
    for talk in ("I like @easel_bot", "@easel_bottle a dog", "hello all"):
        telegram.writes(group, bob, talk)
    asked = telegram.writes(group, bob, words)
    (card,) = await telegram.until(lambda: photos(group))
    assert card.reply_to is asked
    assert "a cat" in card.words
    assert "@" not in card.words
    await telegram.until(lambda: not telegram.updates)
    assert await bot.count("jobs") == 1


async def test_an_answer_to_what_the_bot_has_said_is_a_request(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person
) -> None:
    await start()
    telegram.writes(group, bob, "/draw")
    (asked,) = await telegram.until(group.by_bot)
    telegram.writes(group, bob, "a cat", reply_to=asked)
    (card,) = await telegram.until(lambda: photos(group))
    assert "a cat" in card.words


async def test_draw_without_a_prompt_says_what_to_write(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person
) -> None:
    await start()
    asked = telegram.writes(group, bob, "/draw")
    (refusal,) = await telegram.until(group.by_bot)
    assert refusal.reply_to is asked
    assert "提示词" in refusal.words


async def test_others_may_reroll_but_not_cancel(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person
) -> None:
    gate = StepGate()
    bot = await start(gate)
    cy = telegram.person("Cy")
    group.members[cy.id] = cy
    telegram.writes(group, bob, "/draw a cat")
    card = await telegram.until(lambda: next((m for m in group.by_bot() if m.labels), None))
    query = telegram.presses(card, cy, "cancel")
    await telegram.until(lambda: query.answered)
    assert query.text == i18n.text("en", "refusal.rights.author")
    assert query.alert
    gate.open()
    await telegram.until(lambda: card.photo is not None)
    telegram.presses(card, cy, "reroll")
    await telegram.until(lambda: len(photos(group)) == 2)
    assert await bot.count("people") == 2


@pytest.mark.parametrize("by_admin", [False, True])
async def test_a_groups_admin_may_cancel_and_the_asker_needs_no_look_up(
    start: Start, telegram: TelegramStandIn, group: Chat, boss: Person, bob: Person, by_admin: bool
) -> None:
    await start(StepGate())
    telegram.writes(group, bob, "/draw a cat")
    card = await telegram.until(lambda: next((m for m in group.by_bot() if m.labels), None))
    query = telegram.presses(card, boss if by_admin else bob, "cancel")
    await telegram.until(lambda: query.answered)
    assert not query.alert
    await telegram.until(lambda: i18n.text("zh_CN", "card.cancelled") in card.words)
    asked = [p["user_id"] for method, p in telegram.calls if method == "getChatMember"]
    assert asked == ([boss.id] if by_admin else [])


async def test_a_lora_for_admins_is_theirs_by_one_look_up_when_it_is_named(
    start: Start, telegram: TelegramStandIn, group: Chat, boss: Person, bob: Person
) -> None:
    big = replace(demo(), name="big", title="Big", who=("admins",))
    loras = [LoraInfo("ink", "Ink Wash", who=("admins",)), LoraInfo("oil", "Oil")]
    bot = await start(loras=loras, profiles=[demo(), big])

    def asked() -> list[object]:
        return [p["user_id"] for method, p in telegram.calls if method == "getChatMember"]

    telegram.writes(group, bob, "/draw a cat --lora oil")
    await telegram.until(lambda: len(photos(group)) == 1)
    assert asked() == []
    telegram.writes(group, bob, "/draw a cat --lora ink")
    await telegram.until(lambda: "管理员" in group.by_bot()[-1].words)
    telegram.writes(group, boss, "/draw a cat <lora:ink:0.5>")
    await telegram.until(lambda: len(photos(group)) == 2)
    card = photos(group)[-1]
    refused = telegram.presses(card, bob, "reroll")
    await telegram.until(lambda: refused.answered)
    assert "管理员" in refused.text
    telegram.presses(card, boss, "reroll")
    await telegram.until(lambda: len(photos(group)) == 3)
    assert asked() == [bob.id, boss.id]
    assert await bot.count("jobs") == 3
    telegram.writes(group, bob, "/loras")
    await telegram.until(lambda: "Oil" in group.by_bot()[-1].words)
    assert "Ink" not in group.by_bot()[-1].words
    telegram.writes(group, boss, "/loras")
    await telegram.until(lambda: "Ink" in group.by_bot()[-1].words)
    # A default model for admins alone is theirs too, and passed over for others.
    telegram.writes(group, boss, "/easel defaults model big")
    await telegram.until(lambda: "big" in group.by_bot()[-1].words)
    telegram.writes(group, bob, "/draw a dog")
    telegram.writes(group, boss, "/draw a bird")
    telegram.writes(group, boss, "/edit a fish", reply_to=card)
    await telegram.until(lambda: len(photos(group)) == 6)
    await bot.settled()
    for model, words in (("demo", "a dog"), ("big", "a bird"), ("big", "a fish")):
        assert await bot.number(f"SELECT count(*) FROM jobs WHERE model = '{model}' AND typed = '{words}'") == 1, words


async def test_a_button_of_another_chat_does_nothing(
    start: Start, telegram: TelegramStandIn, group: Chat, ann: Chat, bob: Person
) -> None:
    bot = await start()
    telegram.writes(ann, ann.members[ann.id], "a secret cat")
    await telegram.until(lambda: photos(ann))
    telegram.writes(group, bob, "/draw a dog")
    (card,) = await telegram.until(lambda: photos(group))
    query = telegram.sends_press(card, bob, "easel:reroll:1")
    await telegram.until(lambda: query.answered)
    assert query.alert
    assert await bot.count("jobs") == 2


@pytest.mark.parametrize(
    "data", ["easel:frobnicate:1", "easel:reroll:", "other:1", "easel:frob:1:0", "easel:reroll:999"]
)
async def test_an_unknown_or_old_button_gets_a_sentence(
    start: Start, telegram: TelegramStandIn, ann: Chat, data: str
) -> None:
    await start()
    telegram.writes(ann, ann.members[ann.id], "a cat")
    (card,) = await telegram.until(lambda: photos(ann))
    query = telegram.sends_press(card, ann.members[ann.id], data)
    await telegram.until(lambda: query.answered)
    assert query.alert
    assert query.text.endswith(".")


async def test_a_button_on_a_message_that_telegram_has_forgotten_works(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    await start()
    telegram.writes(ann, ann.members[ann.id], "a cat")
    (card,) = await telegram.until(lambda: photos(ann))
    telegram.presses(card, ann.members[ann.id], "reroll", forgotten=True)
    await telegram.until(lambda: len(photos(ann)) == 2)


async def test_admins_set_the_quota_and_others_are_told_who_may(
    start: Start, telegram: TelegramStandIn, group: Chat, boss: Person, bob: Person
) -> None:
    bot = await start()
    telegram.writes(group, bob, "/quota set 3/day")
    await telegram.until(lambda: len(group.by_bot()) == 1)
    assert "管理员" in group.by_bot()[0].words
    telegram.writes(group, boss, "/quota set 3/day")
    await telegram.until(lambda: len(group.by_bot()) == 2)
    assert "3 pictures per day" in group.by_bot()[1].words
    telegram.writes(group, boss, "/quota set 2/day")
    await telegram.until(lambda: len(group.by_bot()) == 3)
    asked = [p["user_id"] for method, p in telegram.calls if method == "getChatMember"]
    assert asked == [bob.id, boss.id]
    telegram.writes(group, bob, "/draw a cat --count 3")
    await telegram.until(lambda: len(group.by_bot()) == 4)
    assert "2" in group.by_bot()[3].words
    telegram.writes(group, bob, "/quota show")
    await telegram.until(lambda: len(group.by_bot()) == 5)
    assert await bot.count("jobs") == 0
    assert await bot.count("policies") == 1


async def test_nobody_is_asked_about_for_a_look_at_the_quota(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person
) -> None:
    await start()
    telegram.writes(group, bob, "/quota")
    await telegram.until(group.by_bot)
    assert all(method != "getChatMember" for method, _ in telegram.calls)


async def test_when_telegram_does_not_tell_who_is_admin_nothing_changes(
    start: Start, telegram: TelegramStandIn, group: Chat, boss: Person
) -> None:
    bot = await start()
    telegram.refuse("getChatMember", 500, "Internal Server Error")
    telegram.writes(group, boss, "/quota set 3/day")
    (notice,) = await telegram.until(group.by_bot)
    assert "nothing was changed" in notice.words
    assert await bot.count("policies") == 0


async def test_how_to_write_a_command(
    start: Start, telegram: TelegramStandIn, group: Chat, boss: Person, bob: Person
) -> None:
    await start()
    for number, (who, words, said) in enumerate(
        [
            (boss, "/quota set", "/quota set [role=ROLE] [PERSON] [CHANNEL] RULE"),
            (bob, "/quota set  ", "/quota set [role=身份组] [成员] [频道] 规则"),
            (boss, "/quota frobnicate", "behind /quota stands one of show"),
            (boss, "/easel bann", "did you mean /easel ban"),
            (boss, "/easel admins", "have no roles"),
            (boss, "/quota set role=7 3/day", "have no roles"),
            (boss, "/easel ban @nobody_here", "answer one of their messages"),
        ],
        1,
    ):
        telegram.writes(group, who, words)
        await telegram.until(lambda n=number: len(group.by_bot()) == n)  # type: ignore[misc]
        assert said in group.by_bot()[-1].words.replace("\u2060", ""), words
        assert group.by_bot()[-1].mentions() == []


async def test_whom_a_command_means(
    start: Start, telegram: TelegramStandIn, group: Chat, boss: Person, bob: Person
) -> None:
    bot = await start()
    bob.username = "Bob_Paints"
    carl = telegram.person("Carl")
    group.members[carl.id] = carl
    said = telegram.writes(group, bob, "/draw a cat")
    await telegram.until(lambda: photos(group))
    # By an answer to their message, by a name that was seen, by pointing at somebody without a name, by an id.
    mention = [{"type": "text_mention", "offset": 11, "length": 4, "user": carl.json()}]
    for words, content in (
        ("/easel ban 3 days spam", {"reply_to": said}),
        ("/easel ban @bob_paints", {}),
        ("/easel ban Carl 2 weeks", {"more": mention}),
        (f"/easel ban telegram:{carl.id}", {}),
    ):
        seen = len(group.by_bot())
        telegram.writes(group, boss, words, **content)
        await telegram.until(lambda n=seen: len(group.by_bot()) == n + 1)  # type: ignore[misc]
    async with bot.db.read() as tx:
        rows = await tx.execute_fetchall("SELECT json_extract(subject, '$.user_id') FROM audit ORDER BY id")
    assert [row[0] for row in rows] == [str(bob.id), str(bob.id), str(carl.id), str(carl.id)]
    telegram.writes(group, bob, "/draw a dog")
    await telegram.until(lambda: "不能再在这里" in group.by_bot()[-1].words)
    telegram.writes(group, boss, "/easel changes")
    await telegram.until(lambda: "#4 easel ban" in group.by_bot()[-1].words)
    # The bot's own messages are nobody to be banned.
    telegram.writes(group, boss, "/easel ban", reply_to=photos(group)[0])
    await telegram.until(lambda: "PERSON is missing" in group.by_bot()[-1].words)


async def test_an_admin_of_one_group_reaches_into_no_other(
    start: Start, telegram: TelegramStandIn, group: Chat, boss: Person, bob: Person
) -> None:
    bot = await start()
    other = telegram.group("Sculptors", boss, admin=bob)
    telegram.writes(group, boss, f"/easel log {other.id}")
    await telegram.until(lambda: len(group.by_bot()) == 1)
    assert "administrator of that chat too" in group.by_bot()[0].words
    telegram.writes(other, boss, "/easel pause")
    await telegram.until(lambda: len(other.by_bot()) == 1)
    assert "Only admins" in other.by_bot()[0].words
    assert await bot.count("audit") == 0
    telegram.writes(group, boss, "/easel log here")
    await telegram.until(lambda: len(group.by_bot()) == 2)
    assert await bot.count("audit") == 1


async def test_limits_tell_admins_how_to_go_on(
    start: Start, telegram: TelegramStandIn, group: Chat, boss: Person, bob: Person
) -> None:
    await start()
    telegram.writes(group, boss, "/easel")
    await telegram.until(lambda: len(group.by_bot()) == 1)
    assert "/easel preset club" in group.by_bot()[0].words
    telegram.refuse("getChatMember", 500, "Internal Server Error")
    telegram.writes(group, bob, "/easel limits")
    await telegram.until(lambda: len(group.by_bot()) == 2)
    # Whoever can't be told apart from a member is one, where nothing hangs on it.
    assert "50" in group.by_bot()[1].words
    assert "/easel preset" not in group.by_bot()[1].words


@pytest.mark.parametrize("words", ["/export", "/search cats", "/link", "/forget yes"])
async def test_what_is_ones_own_is_asked_for_in_private(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person, words: str
) -> None:
    await start()
    telegram.writes(group, bob, words)
    (notice,) = await telegram.until(group.by_bot)
    assert "https://t.me/easel_bot" in notice.words
    assert words.split(maxsplit=1)[0] in notice.words


async def test_an_anonymous_admin_is_an_admin(start: Start, telegram: TelegramStandIn, group: Chat) -> None:
    bot = await start()
    shared = Person(1087968824, "Group", None, is_bot=True, username="GroupAnonymousBot")
    telegram.writes(group, shared, "/quota set 3/day", sender_chat=group)
    await telegram.until(group.by_bot)
    assert await bot.count("policies") == 1


async def test_a_person_who_writes_as_the_group_gets_no_private_picture_in_it(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person
) -> None:
    bot = await start()
    shared = Person(1087968824, "Group", None, is_bot=True, username="GroupAnonymousBot")
    telegram.writes(group, shared, "/draw a cat --private", sender_chat=group)
    (notice,) = await telegram.until(group.by_bot)
    assert "https://t.me/easel_bot" in notice.words
    await bot.settled()
    assert photos(group) == []


async def test_a_private_picture_goes_to_the_private_chat(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person
) -> None:
    await start()
    private = telegram.private(bob)
    telegram.writes(group, bob, "/draw a cat --private")
    await telegram.until(lambda: photos(private))
    assert group.by_bot() == []


async def test_a_prompt_that_is_copied_in_a_group_goes_to_the_private_chat(
    start: Start, telegram: TelegramStandIn, group: Chat, boss: Person, bob: Person
) -> None:
    await start()
    private = telegram.private(boss)
    telegram.writes(group, bob, "/draw a cat --seed 7")
    (card,) = await telegram.until(lambda: photos(group))
    query = telegram.sends_press(card, boss, "easel:prompt:1")
    (line,) = await telegram.until(private.by_bot)
    assert "--seed 7" in line.words
    await telegram.until(lambda: query.answered)
    assert query.alert
    assert "@easel_bot" in str(query.text)
    assert group.by_bot() == [card]


async def test_without_a_private_chat_the_group_says_how_to_open_one(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person
) -> None:
    await start()
    telegram.writes(group, bob, "/draw a cat --private")
    (notice,) = await telegram.until(group.by_bot)
    assert "https://t.me/easel_bot" in notice.words
    assert notice.photo is None
    private = telegram.private(bob)
    telegram.writes(private, bob, "/history")
    await telegram.until(lambda: photos(private))


async def test_history_is_not_shown_to_a_group(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person
) -> None:
    await start()
    telegram.writes(group, bob, "/history")
    (notice,) = await telegram.until(group.by_bot)
    assert "https://t.me/easel_bot" in notice.words


async def test_a_topic_of_a_forum_gets_its_answers(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person
) -> None:
    await start()
    telegram.writes(group, bob, "/draw a cat", thread=33)
    (card,) = await telegram.until(lambda: photos(group))
    assert card.thread == 33
    telegram.presses(card, bob, "reroll")
    await telegram.until(lambda: len(photos(group)) == 2)
    assert photos(group)[1].thread == 33


async def test_a_group_that_becomes_a_supergroup_gets_its_picture(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person
) -> None:
    gate = StepGate()
    await start(gate)
    telegram.writes(group, bob, "/draw a cat")
    await telegram.until(group.by_bot)
    new = telegram.upgrade(group)
    gate.open()
    (card,) = await telegram.until(lambda: photos(new))
    telegram.presses(card, bob, "reroll")
    await telegram.until(lambda: len(photos(new)) == 2)


async def test_what_a_group_has_set_goes_with_it_into_the_supergroup(
    start: Start, telegram: TelegramStandIn, group: Chat, bob: Person, boss: Person
) -> None:
    bot = await start()
    telegram.writes(group, boss, "/quota set 1/day")
    await telegram.until(group.by_bot)
    telegram.writes(group, bob, "/draw a cat")
    await telegram.until(lambda: photos(group))
    new = telegram.upgrade(group)
    telegram.writes(new, bob, "/draw a dog")
    (refusal,) = await telegram.until(new.by_bot)
    assert "1 张" in refusal.words
    # Its admins can still take back what they did before.
    telegram.writes(new, boss, "/easel undo 1")
    await telegram.until(lambda: len(new.by_bot()) == 2)
    telegram.writes(new, bob, "/draw a dog")
    await telegram.until(lambda: photos(new))
    assert await bot.count("places") == 1


async def test_somebody_who_writes_as_a_channel_is_told_to_write_as_themselves(
    start: Start, telegram: TelegramStandIn, group: Chat
) -> None:
    bot = await start()
    shared = Person(136817688, "Channel", None, is_bot=True, username="Channel_Bot")
    channel = Chat(-3001, "channel", "News")
    telegram.writes(group, shared, "/draw a cat", sender_chat=channel)
    (notice,) = await telegram.until(group.by_bot)
    assert notice.words == i18n.text("en", "telegram.as_channel")
    await telegram.until(lambda: not telegram.updates)
    assert await bot.count("jobs") == 0


async def test_other_bots_are_not_answered(start: Start, telegram: TelegramStandIn, group: Chat, bob: Person) -> None:
    bot = await start()
    telegram.writes(group, Person(77, "Echo", None, is_bot=True, username="echo_bot"), "/draw a cat")
    telegram.writes(group, telegram.world.bot, "/draw a dog")
    telegram.writes(group, bob, "/draw a bird")
    await telegram.until(lambda: photos(group))
    await telegram.until(lambda: not telegram.updates)
    assert await bot.count("jobs") == 1


async def test_a_forged_page_takes_no_cards_place(
    start: Start, telegram: TelegramStandIn, group: Chat, ann: Chat, bob: Person
) -> None:
    bot = await start()
    person = ann.members[ann.id]
    telegram.writes(group, person, "/draw a cat")
    (card,) = await telegram.until(lambda: photos(group))
    telegram.writes(ann, person, "a dog")
    (own,) = await telegram.until(lambda: photos(ann))
    for message, presser in ((card, bob), (card, person), (own, person)):
        words = message.words
        query = telegram.sends_press(message, presser, "easel:page:0")
        await telegram.until(lambda query=query: query.answered)  # type: ignore[misc]
        assert query.alert
        assert (message.words, message.photo is not None) == (words, True)
    await bot.settled()
    assert card.photo is not None


async def test_an_administrator_is_one_whatever_else_telegram_tells_of_them(
    start: Start, telegram: TelegramStandIn, bob: Person
) -> None:
    bot = await start()
    group = telegram.group("Painters", admin=bob)
    group.bare_admins = telegram.loose = True
    telegram.writes(group, bob, "/quota set 3/day")
    await telegram.until(group.by_bot)
    assert await bot.count("policies") == 1
