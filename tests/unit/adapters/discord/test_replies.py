"""Answers that Discord refuses, in part or whole: something is always said, and nothing is said twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.discord.replies import CROWD
from bot.cards.i18n import text
from bot.core.cards import Button, ButtonPress, Card, Tone
from bot.core.errors import BadInput
from bot.delivery.service import MissedNotice
from bot.studio import ButtonResult, ShownJob
from tests.fakes.discord import FakeDiscord, Person
from tests.fakes.discord_rest import DEFER, RESPOND
from tests.fakes.discord_spec import TEXT_DISPLAY
from tests.fakes.discord_world import Message
from tests.unit.adapters.discord.scripted import Scripted, waiting
from tests.unit.adapters.discord.test_pictures import picture
from tests.unit.adapters.discord.test_service import without_sleep

pytestmark = pytest.mark.usefixtures("service")


@pytest.fixture
def ada(fake: FakeDiscord) -> Person:
    return fake.person("Ada")


def is_plain(message: Message) -> bool:
    """Whether it is one text, without a container, files and buttons."""
    return [c["type"] for c in message.components] == [TEXT_DISPLAY] and not message.attachments


@pytest.mark.parametrize("status", [400, 403])
async def test_a_refused_answer_is_a_plain_sentence(
    fake: FakeDiscord, ada: Person, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    refusals = [(status, 50035)]
    fake.rest.refuse = lambda name: refusals.pop() if "/callback" in name and refusals else None
    answer = await (await ada.run("help")).answer()
    assert "Say what to draw" in answer.text
    assert is_plain(answer)
    assert answer.only_for is ada.user
    assert "code 50035" in caplog.text


async def test_a_refused_answer_after_a_deferral_is_a_plain_sentence(
    fake: FakeDiscord, ada: Person, scripted: Scripted
) -> None:
    scripted.delay = asyncio.Event()
    asked = await ada.run("history")
    await asked.acknowledged()
    refusals = [(400, 50035)]
    fake.rest.refuse = lambda name: refusals.pop() if name.startswith("PATCH /webhooks") and refusals else None
    scripted.delay.set()
    answer = await asked.answer()
    assert "last drawings" in answer.text
    assert is_plain(answer)
    assert answer.only_for is ada.user


async def test_in_a_crowd_everybody_gets_a_sign_before_the_work_is_begun(fake: FakeDiscord, scripted: Scripted) -> None:
    waiting_for, scripted.delay = True, asyncio.Event()
    fake.rest.held = lambda name: waiting_for and "/callback" in name
    asked = [await fake.person(f"Person {n}").draw("an apple") for n in range(CROWD + 8)]
    # Those who came first are at work already; they get a sign a little later.
    await fake.world.until(lambda: sum("/callback" in a for a in fake.rest.asked) == len(asked), "all signs")
    assert len(scripted.drawn) == CROWD
    waiting_for = False
    scripted.delay.set()
    await fake.world.until(lambda: len(scripted.bindings) == len(asked), "each message is known to delivery")
    shown = {one.interaction.original for one in asked}
    assert {address.message for _, address in scripted.bindings} == {str(m.id) for m in shown if m is not None}
    assert {one.interaction.response for one in asked} == {DEFER}
    assert len(scripted.drawn) == len(asked)
    # The crowd has gone: an answer is the first response again.
    one = await fake.person("Late").draw("an apple")
    await one.answer()
    assert one.interaction.response == RESPOND


async def test_an_answer_that_is_refused_in_every_form_is_an_apology(fake: FakeDiscord, ada: Person) -> None:
    refusals = [(400, 50035)] * 2
    fake.rest.refuse = lambda name: refusals.pop() if "/callback" in name and refusals else None
    answer = await (await ada.run("help")).answer()
    assert "Something went wrong" in answer.text
    assert answer.only_for is ada.user


async def test_a_job_whose_card_is_refused_is_bound_to_the_sentence(
    fake: FakeDiscord, ada: Person, scripted: Scripted
) -> None:
    refusals = [(400, 50035)]
    fake.rest.refuse = lambda name: refusals.pop() if "/callback" in name and refusals else None
    answer = await (await ada.draw("an apple")).answer()
    assert "Next in line" in answer.text
    assert is_plain(answer)
    assert "apple" not in answer.text, "what people wrote may be what was refused"
    await fake.world.until(lambda: bool(scripted.bindings), "the message is known")
    assert scripted.bindings[0][1].message == str(answer.id)


async def test_a_history_where_no_files_are_taken_is_answered(
    fake: FakeDiscord, ada: Person, scripted: Scripted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake.channel.attach_files = False
    scripted.card = Card(Tone.INFO, "Your last drawings.", pictures=(picture(tmp_path),), private=True)
    answer = await (await ada.run("history")).answer()
    assert "Your last drawings" in answer.text
    assert "Attach Files" in answer.text
    assert answer.attachments == []
    assert "code 50013" in caplog.text


async def test_originals_where_no_files_are_taken_say_so(
    fake: FakeDiscord, ada: Person, scripted: Scripted, tmp_path: Path
) -> None:
    button = Button("original", ButtonPress("original", 7))
    scripted.shown = ShownJob(7, replace(waiting(7), buttons=((button,),)))
    card = await (await ada.draw("an apple")).answer()
    fake.channel.attach_files = False
    scripted.pressed = ButtonResult(files=(picture(tmp_path),))
    wen = fake.person("Wen", locale="zh-CN")
    answer = await (await wen.press(card, "original")).answer()
    assert "附加文件" in answer.text
    assert answer.only_for is wen.user


async def test_a_chosen_language_is_that_of_help_refusals_and_apologies(ada: Person, scripted: Scripted) -> None:
    scripted.languages[str(ada.user.id)] = "zh_CN"
    assert text("zh_CN", "help.title") in (await (await ada.run("help")).answer()).text
    scripted.refusal = BadInput("refusal.job.ended")
    assert text("zh_CN", "refusal.job.ended") in (await (await ada.run("history")).answer()).text
    scripted.refusal, scripted.fault = None, ZeroDivisionError("inner words")
    assert text("zh_CN", "refusal.unavailable.internal") in (await (await ada.run("history")).answer()).text


def broken(*_: object, **__: object) -> None:
    raise ZeroDivisionError("inner words")


async def test_a_card_that_can_not_be_made_is_answered(
    ada: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("adapters.discord.render.view_of", broken)
    answer = await (await ada.run("history")).answer()
    assert "Something went wrong" in answer.text
    assert answer.only_for is ada.user
    assert "inner words" in caplog.text


async def test_a_fault_before_studio_is_asked_is_answered(
    ada: Person, card: Message, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("adapters.discord.client.ref_of", broken)
    monkeypatch.setattr("adapters.discord.commands.actor_of", broken)
    for asked in (await ada.run("history"), await ada.send_press(card, "easel:reroll:7"), await ada.submit("old")):
        answer = await asked.answer()
        assert "Something went wrong" in answer.text
        assert "inner words" not in answer.text
        assert answer.only_for is ada.user
    assert caplog.text.count("ZeroDivisionError: inner words") >= 3


async def test_what_was_missed_is_said_once(fake: FakeDiscord, ada: Person, scripted: Scripted) -> None:
    scripted.told = MissedNotice("A drawing of yours could not be shown.", 7)
    asked = await ada.draw("an apple")
    await asked.answer()
    await fake.world.until(lambda: bool(asked.interaction.followups), "the sentence")
    (said,) = asked.interaction.followups
    assert "could not be shown" in said.text
    assert said.only_for is ada.user
    await fake.world.until(lambda: scripted.told is None, "it is noted")
    again = await ada.run("help")
    await again.answer()
    assert again.interaction.followups == []


async def test_a_sentence_about_what_was_missed_that_is_refused_is_said_later(
    fake: FakeDiscord, ada: Person, scripted: Scripted
) -> None:
    scripted.told = told = MissedNotice("A drawing of yours could not be shown.", 7)
    fake.rest.refuse = lambda name: (403, 50013) if name.startswith("POST /webhooks") else None
    await (await ada.draw("an apple")).answer()
    await fake.world.until(lambda: any(a.startswith("POST /webhooks") for a in fake.rest.asked), "a try")
    assert scripted.told == told
    fake.rest.refuse = lambda _name: None
    await (await ada.run("help")).answer()
    await fake.world.until(lambda: scripted.told is None, "it is said")


async def test_a_follow_up_that_arrived_is_not_sent_again_after_a_server_error(
    fake: FakeDiscord, ada: Person, card: Message, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("discord.webhook.async_.asyncio", without_sleep())
    scripted.pressed = ButtonResult(card=Card(Tone.DONE, "Done.", job_id=7, final=True), notice="Already ended.")
    spoils = [502]
    fake.rest.spoil = lambda name: spoils.pop() if name.startswith("POST /webhooks") and spoils else None
    asked = await ada.press(card, "Cancel")
    await fake.world.until(lambda: bool(asked.interaction.followups), "a sentence")
    await (await ada.run("help")).answer()
    assert [f.text for f in asked.interaction.followups if "Already" in f.text] == ["**Already ended\\.**"]


async def test_a_deferral_that_arrived_without_a_response_is_answered(
    fake: FakeDiscord, ada: Person, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("discord.webhook.async_.asyncio", without_sleep())
    spoils = [502]
    fake.rest.spoil = lambda name: spoils.pop() if "/callback" in name and spoils else None
    scripted.delay = asyncio.Event()
    asked = await ada.run("history")
    await asked.acknowledged()
    scripted.delay.set()
    answer = await asked.answer()
    assert "last drawings" in answer.text
    assert answer.only_for is ada.user


@pytest.fixture
async def card(ada: Person) -> Message:
    """The card of job 7, with its Cancel."""
    return await (await ada.draw("an apple")).answer()


@pytest.mark.parametrize("custom_id", ["easel:page:0", "easel:page:7", "easel:page:0:1"])
async def test_a_forged_page_press_leaves_somebody_elses_card(
    fake: FakeDiscord, card: Message, scripted: Scripted, custom_id: str
) -> None:
    scripted.pressed = ButtonResult(card=Card(Tone.INFO, "You have drawn nothing yet.", private=True, final=True))
    before = card.text, card.buttons
    mallory = fake.person("Mallory")
    answer = await (await mallory.send_press(card, custom_id)).answer()
    assert (card.text, card.buttons) == before
    assert answer is not card
    assert answer.only_for is mallory.user
    assert scripted.presses == []


@pytest.mark.parametrize("custom_id", ["easel:cancel:8", "easel:allow:3", "easel:refuse:3"])
async def test_a_press_changes_only_the_message_that_has_its_button(
    fake: FakeDiscord, card: Message, scripted: Scripted, custom_id: str
) -> None:
    scripted.pressed = ButtonResult(card=Card(Tone.STOPPED, "Cancelled.", job_id=8, final=True))
    before = card.text, card.buttons
    mallory = fake.person("Mallory")
    answer = await (await mallory.send_press(card, custom_id)).answer()
    assert (card.text, card.buttons) == before
    assert answer is not card
    assert answer.only_for is mallory.user


async def test_a_page_turns_for_its_owner(fake: FakeDiscord, ada: Person, scripted: Scripted) -> None:
    older = Button("Older", ButtonPress("page", 7))
    scripted.card = Card(Tone.INFO, "Your last drawings.", buttons=((older,),), private=True)
    page = await (await ada.run("history")).answer()
    scripted.pressed = ButtonResult(card=Card(Tone.INFO, "Older drawings.", private=True, final=True))
    assert await (await ada.press(page, "Older")).answer() is page
    assert "Older drawings" in page.text


@pytest.mark.parametrize(
    "custom_id",
    [
        "easel:reroll:" + "9" * 26,
        "easel:reroll:-1",
        "easel:page:0:9999",
        "easel:reroll:１２",
        "easel:cancel:7:" + "0" * 80,
    ],
)
async def test_numbers_of_buttons_are_bounded(card: Message, ada: Person, scripted: Scripted, custom_id: str) -> None:
    answer = await (await ada.send_press(card, custom_id)).answer()
    assert "does not belong to a drawing" in answer.text
    assert scripted.presses == []
