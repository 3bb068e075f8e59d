"""People in Telegram, from a prompt to a picture and back, by the real client and the real core."""

from __future__ import annotations

import asyncio
import io
from functools import partial

import pytest
from PIL import Image

from bot.cards import i18n
from bot.delivery.message_sync import MessageSync
from tests.e2e.telegram.conftest import Start, photos
from tests.fakes.step_gate import StepGate
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_world import Chat, Msg


def pixels(message: Msg) -> bytes:
    """What a photo looks like, without what its file says of it."""
    assert message.photo is not None
    with Image.open(io.BytesIO(message.photo.data)) as image:
        return image.convert("RGB").tobytes()


async def test_from_a_prompt_to_a_picture_reroll_restart_and_its_seed(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    gate = StepGate()
    bot = await start(gate)
    person = ann.members[ann.id]
    asked = telegram.writes(ann, person, "a red apple on a blue background --seed 7")

    card = await telegram.until(lambda: next(iter(ann.by_bot()), None))
    assert card.reply_to is asked
    assert "a red apple on a blue background" in card.code()
    assert card.button("easel:cancel:1")
    gate.let(4)
    await telegram.until(lambda: "█" in card.words)
    gate.open()
    await telegram.until(lambda: card.photo is not None)
    assert "seed 7 ·" in card.words
    assert any("█" in words for words in card.past)
    assert len(ann.by_bot()) == 1

    query = telegram.presses(card, person, "reroll")
    second = await telegram.until(lambda: next(iter(photos(ann)[1:]), None))
    assert query.answered
    assert second.reply_to is card
    assert "seed 7 ·" not in second.words

    await bot.stop()
    await bot.start()
    # The cards of earlier versions had this button; now it is in the menu.
    telegram.sends_press(card, person, "easel:seed:1:0")
    third, beside = await telegram.until(
        lambda: album if len(album := [m for m in photos(ann)[1:] if m is not second]) == 2 else None
    )
    assert third.reply_to is beside.reply_to is card
    assert third.photo is not None
    assert card.photo is not None
    assert pixels(third) == pixels(card)
    assert await bot.count("jobs") == 3
    assert await bot.charged() == 4
    assert await bot.reserved() == 0


@pytest.mark.parametrize("count", [2, 3, 4])
async def test_several_pictures(start: Start, telegram: TelegramStandIn, ann: Chat, count: int) -> None:
    await start()
    asked = telegram.writes(ann, ann.members[ann.id], f"a cat --count {count} --seed 3")
    *album, card = await telegram.until(lambda: said if len(said := ann.by_bot()) > count and said[0].photo else None)
    assert all(m.reply_to is asked for m in (*album, card))
    assert len({m.photo.data for m in album if m.photo}) == count
    assert len({m.album for m in album}) == 1
    assert card.photo is None
    for index in range(count):
        assert card.button(f"easel:upscale:1:{index}")
    assert "seeds 3–" in card.words


async def test_a_kill_between_saving_and_confirming_draws_once(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    bot = await start()
    await telegram.until(lambda: telegram.polled)
    telegram.refuse("getUpdates", 502, "Bad Gateway", times=float("inf"))
    telegram.writes(ann, ann.members[ann.id], "a cat")
    await telegram.until(lambda: photos(ann))
    await bot.settled()
    await bot.kill()
    assert len(telegram.updates) == 1
    telegram.mend()
    await bot.start()
    await telegram.until(lambda: not telegram.updates)
    telegram.writes(ann, ann.members[ann.id], "a dog")
    await telegram.until(lambda: len(photos(ann)) == 2)
    assert len(ann.by_bot()) == 2
    assert await bot.count("jobs") == 2
    assert await bot.charged() == 2


async def test_a_press_on_a_card_whose_id_a_kill_has_lost_brings_it_back(
    start: Start, telegram: TelegramStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bob may not cancel Ann's job, but his press brings the message's id: the card is edited again."""
    ann, bob = telegram.person("Ann"), telegram.person("Bob")
    group = telegram.group("Friends", ann, bob)
    gate, sent = StepGate(), asyncio.Event()

    async def never_recorded(*_args: object, **_more: object) -> None:
        sent.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(MessageSync, "_record_shown", never_recorded)
        bot = await start(gate)
        telegram.writes(group, ann, "/draw a cat")
        await asyncio.wait_for(sent.wait(), 30)
        await bot.kill()
    (card,) = group.by_bot()
    await bot.start()
    assert await bot.number("SELECT count(*) FROM messages WHERE state = 'shown' AND message IS NULL") == 1
    telegram.writes(group, bob, "/help")
    answer = await telegram.until(lambda: next((m for m in group.by_bot() if m is not card), None))

    forged = telegram.sends_press(answer, bob, "easel:cancel:1")
    await telegram.until(lambda: forged.answered)
    assert await bot.number("SELECT count(*) FROM messages WHERE message IS NULL") == 1, "another message's button"
    query = telegram.presses(card, bob, "cancel")
    await telegram.until(lambda: query.answered)
    assert await bot.number("SELECT count(*) FROM messages WHERE message IS NULL") == 0
    gate.let(4)
    await telegram.until(lambda: "█" in card.words)
    gate.open()
    await telegram.until(lambda: card.photo is not None)
    assert group.by_bot() == [card, answer]


async def test_a_press_that_comes_twice_draws_once(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    bot = await start()
    telegram.writes(ann, ann.members[ann.id], "a cat")
    (card,) = await telegram.until(lambda: photos(ann))
    await telegram.until(lambda: not telegram.updates)
    await telegram.until(lambda: telegram.polled)
    telegram.refuse("getUpdates", 502, "Bad Gateway", times=float("inf"))
    telegram.presses(card, ann.members[ann.id], "reroll")
    await telegram.until(lambda: len(photos(ann)) == 2)
    await bot.settled()
    await bot.kill()
    telegram.mend()
    await bot.start()
    await telegram.until(lambda: not telegram.updates)
    assert await bot.count("jobs") == 2


async def test_a_refusal_comes_once_though_the_update_comes_twice(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    bot = await start()
    await telegram.until(lambda: telegram.polled)
    telegram.refuse("getUpdates", 502, "Bad Gateway", times=float("inf"))
    telegram.writes(ann, ann.members[ann.id], "a cat --count 99")
    await telegram.until(lambda: len(ann.by_bot()) == 1)
    await bot.settled()
    await bot.kill()
    telegram.mend()
    await bot.start()
    telegram.writes(ann, ann.members[ann.id], "a cat")
    await telegram.until(lambda: photos(ann))
    assert len(ann.by_bot()) == 2


async def test_cancel_by_button(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    gate = StepGate()
    bot = await start(gate)
    telegram.writes(ann, ann.members[ann.id], "a cat")
    card = await telegram.until(lambda: next((m for m in ann.by_bot() if m.labels), None))
    query = telegram.presses(card, ann.members[ann.id], "cancel")
    await telegram.until(lambda: "Cancelled" in card.words)
    await telegram.until(lambda: query.answered)
    assert await bot.charged() == 0
    assert await bot.reserved() == 0


async def test_cancel_by_command(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    gate = StepGate()
    bot = await start(gate)
    for prompt in ("a cat", "a dog"):
        telegram.writes(ann, ann.members[ann.id], prompt)
    await telegram.until(lambda: len(ann.by_bot()) == 2)
    telegram.writes(ann, ann.members[ann.id], "/cancel")
    await telegram.until(lambda: [m for m in ann.by_bot() if "2 drawings were cancelled" in m.words])
    assert await bot.reserved() == 0
    telegram.writes(ann, ann.members[ann.id], "/cancel")
    await telegram.until(lambda: [m for m in ann.by_bot() if "Nothing of yours" in m.words])


async def test_a_card_that_was_deleted_comes_anew_with_the_picture(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    gate = StepGate()
    await start(gate)
    telegram.writes(ann, ann.members[ann.id], "a cat")
    card = await telegram.until(lambda: next(iter(ann.by_bot()), None))
    telegram.deletes(card)
    gate.open()
    await telegram.until(lambda: photos(ann))
    assert len(ann.by_bot()) == 1


async def test_a_person_who_blocks_the_bot_finds_the_picture_in_the_history(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    gate = StepGate()
    await start(gate)
    telegram.writes(ann, ann.members[ann.id], "a cat")
    await telegram.until(ann.by_bot)
    ann.blocked = True
    gate.open()
    await telegram.until(lambda: ("sendPhoto", 403) in telegram.refused)
    ann.blocked = False
    telegram.writes(ann, ann.members[ann.id], "/history")
    sheet = await telegram.until(lambda: next(iter(photos(ann)), None))
    assert "a cat" in sheet.words


async def test_history_turns_pages(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    await start()
    person = ann.members[ann.id]
    for n in range(10):
        telegram.writes(ann, person, f"picture number {n}")
        await telegram.until(lambda n=n: len(photos(ann)) == n + 1)  # type: ignore[misc]
    telegram.writes(ann, person, "/history")
    sheet = await telegram.until(
        lambda: next((m for m in photos(ann) if "picture number 9" in m.words and "Older" in m.labels), None)
    )
    assert "picture number 0" not in sheet.words
    query = telegram.presses(sheet, person, "page")
    await telegram.until(lambda: "picture number 0" in sheet.words)
    await telegram.until(lambda: query.answered)
    telegram.presses(sheet, person, "easel:page:0")
    await telegram.until(lambda: "picture number 9" in sheet.words)


async def test_originals_come_as_documents(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    await start()
    telegram.writes(ann, ann.members[ann.id], "a cat --seed 5")
    (card,) = await telegram.until(lambda: photos(ann))
    query = telegram.sends_press(card, ann.members[ann.id], "easel:original:1:0")
    document = await telegram.until(lambda: next((m.document for m in ann.by_bot() if m.document), None))
    assert document.data.startswith(b"\x89PNG")
    assert b"parameters" in document.data
    await telegram.until(lambda: query.answered)
    assert query.text


async def test_the_prompt_comes_as_a_line_that_can_be_sent_again(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    bot = await start()
    telegram.writes(ann, ann.members[ann.id], "a *cat* --seed 5")
    (card,) = await telegram.until(lambda: photos(ann))
    telegram.presses(card, ann.members[ann.id], "⋯")
    await telegram.until(lambda: "easel:prompt:1" in str(card.markup))
    query = telegram.presses(card, ann.members[ann.id], "Copy prompt")
    answer = await telegram.until(lambda: next((m for m in ann.by_bot() if m is not card and m.code()), None))
    await telegram.until(lambda: query.answered)
    (line,) = answer.code()
    assert line.startswith("a *cat* --size ")
    telegram.writes(ann, ann.members[ann.id], line)
    await telegram.until(lambda: len(photos(ann)) == 2)
    assert await bot.number("SELECT count(DISTINCT prompt || seed || steps) FROM jobs") == 1


async def test_a_menu_takes_the_place_of_the_buttons_and_a_form_is_a_line(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    """The second page and back, the line of Edit sent back changed, a picture to start from, and the end of the job."""
    bot, person = await start(), ann.members[ann.id]
    telegram.writes(ann, person, "a cat --seed 5 --n 2")
    await telegram.until(lambda: len(photos(ann)) == 2)
    card = await telegram.until(lambda: next((m for m in ann.by_bot() if "easel:more:1" in str(m.markup)), None))
    own = card.markup

    def has(button: str) -> bool:
        return button in str(card.markup)

    for label, wanted in (
        ("⋯", "easel:choose:1:1"),
        ("easel:choose:1:1", "easel:start:1:1"),
        ("← All", "easel:less:1"),
    ):
        telegram.presses(card, person, label)
        await telegram.until(partial(has, wanted))
    telegram.presses(card, person, "← Back")
    await telegram.until(lambda: card.markup == own)

    async def line_of(button: str) -> str:
        before = {m.id for m in ann.by_bot()}
        query = telegram.sends_press(card, person, button)
        answer = await telegram.until(lambda: next((m for m in ann.by_bot() if m.id not in before and m.code()), None))
        await telegram.until(lambda: query.answered)
        return answer.code()[0]

    edit = await line_of("easel:edit:1")
    assert edit == "/draw a cat --size 192x192 --seed 5 --count 2"
    telegram.writes(ann, person, edit.replace("a cat", "a dog").replace(" --count 2", ""))
    await telegram.until(lambda: len(photos(ann)) == 3)
    start_from = await line_of("easel:start:1:1")
    telegram.writes(ann, person, start_from.replace(" --count 2", ""))
    await telegram.until(lambda: len(photos(ann)) == 4)
    assert await bot.number("SELECT count(*) FROM jobs WHERE image LIKE 'pictures/%-1.png' AND strength = 0.6") == 1

    asks = telegram.sends_press(card, person, "easel:delete:1")
    await telegram.until(lambda: asks.answered)
    assert asks.text == i18n.text("en", "card.delete.ask", job=1)
    await telegram.until(lambda: "easel:deletenow:1" in str(card.markup))
    done = telegram.presses(card, person, "easel:deletenow")
    await telegram.until(lambda: len(photos(ann)) == 2)
    assert done.text == i18n.text("en", "card.delete.done", job=1)
    assert await bot.count("pictures") == 2


async def test_many_prompts_never_meet_flood_control(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    await start()
    for n in range(15):
        telegram.writes(ann, ann.members[ann.id], f"picture number {n}")
    await telegram.until(lambda: len(photos(ann)) == 15)
    assert telegram.refused == []


async def test_the_smart_dashes_of_telegrams_apps_are_flags(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    await start()
    telegram.writes(ann, ann.members[ann.id], "a cat —seed 7 —size 192x192")
    (card,) = await telegram.until(lambda: photos(ann))
    assert "seed 7 ·" in card.words
    assert "192" in card.words


async def test_nothing_that_people_write_becomes_markup(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    await start()
    evil = "<b>@everyone_here</b> *x* [a](tg://user?id=1) http://example.com"
    telegram.writes(ann, ann.members[ann.id], evil)
    (card,) = await telegram.until(lambda: photos(ann))
    assert evil in card.code()
    assert card.mentions() == []
    telegram.writes(ann, ann.members[ann.id], "a cat --seed @everyone_here")
    refusal = (await telegram.until(lambda: ann.by_bot()[1:]))[0]
    assert refusal.mentions() == []
    assert "everyone_here" in refusal.words
