"""Presses and forms, by people at the stand-in; whatever comes is answered."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from PIL import Image

from bot.core.cards import Button, ButtonPress, Card, Menu, Tone
from bot.core.errors import NotFound
from bot.core.pictures import PictureFile
from bot.studio import ButtonResult, ShownJob
from tests.fakes.discord import FakeDiscord, Person
from tests.fakes.discord_rest import DEFER_UPDATE, RESPOND, UPDATE
from tests.fakes.discord_world import Message
from tests.unit.adapters.discord.scripted import Scripted, waiting

pytestmark = pytest.mark.usefixtures("service")


@pytest.fixture
def ada(fake: FakeDiscord) -> Person:
    return fake.person("Ada")


@pytest.fixture
async def card(ada: Person, scripted: Scripted) -> Message:
    """A card with every button that finished cards have."""
    buttons = tuple(Button(a, ButtonPress(a, 7, 0 if a == "seed" else None)) for a in ("reroll", "seed"))
    cancel = Button("cancel", ButtonPress("cancel", 7), danger=True)
    scripted.shown = ShownJob(7, Card(Tone.DONE, "Done.", "an apple", job_id=7, buttons=(buttons, (cancel,))))
    return await (await ada.draw("an apple")).answer()


async def test_a_reroll_is_a_new_card_of_a_new_job(
    ada: Person, card: Message, scripted: Scripted, fake: FakeDiscord
) -> None:
    scripted.pressed = ButtonResult(new=ShownJob(8, waiting(8)))
    asked = await ada.press(card, "reroll")
    new = await asked.answer()

    assert new is not card
    assert asked.interaction.response == RESPOND
    actor, place, press, ref = scripted.presses[0]
    assert (actor.user_id, place.channel) == (str(ada.user.id), str(fake.channel.id))
    assert press == ButtonPress("reroll", 7)
    assert ref.event == f"discord:interaction:{asked.interaction.id}"
    await fake.world.until(lambda: len(scripted.bindings) == 2, "the new card is known")
    assert scripted.bindings[1][0] == 8
    assert scripted.bindings[1][1].message == str(new.id)


async def test_cancel_changes_the_card(ada: Person, card: Message, scripted: Scripted) -> None:
    scripted.pressed = ButtonResult(card=Card(Tone.STOPPED, "Cancelled.", job_id=7, final=True))
    asked = await ada.press(card, "cancel")
    assert await asked.answer() is card
    assert asked.interaction.response == UPDATE
    assert "Cancelled" in card.text
    assert card.buttons == {}


async def test_a_cancel_that_comes_too_late_says_so(
    fake: FakeDiscord, ada: Person, card: Message, scripted: Scripted
) -> None:
    scripted.pressed = ButtonResult(card=Card(Tone.DONE, "Done.", job_id=7, final=True), notice="Already ended.")
    asked = await ada.press(card, "cancel")
    await fake.world.until(lambda: bool(asked.interaction.followups), "a sentence")
    assert "Done" in card.text
    assert "Already ended" in asked.interaction.followups[0].text
    assert asked.interaction.followups[0].only_for is ada.user


async def test_a_slow_cancel_still_changes_the_card(ada: Person, card: Message, scripted: Scripted) -> None:
    scripted.delay, scripted.pressed = asyncio.Event(), ButtonResult(card=Card(Tone.STOPPED, "Cancelled.", job_id=7))
    asked = await ada.press(card, "cancel")
    assert (await asked.acknowledged()).response == DEFER_UPDATE
    scripted.delay.set()
    await ada._fake.world.until(lambda: "Cancelled" in card.text, "the card changes")
    assert asked.interaction.followups == []


async def test_a_slow_refusal_of_an_update_is_private_and_leaves_the_card(
    fake: FakeDiscord, ada: Person, card: Message, scripted: Scripted
) -> None:
    scripted.delay, scripted.refusal = asyncio.Event(), NotFound("refusal.job.ended")
    before = card.text
    asked = await ada.press(card, "cancel")
    await asked.acknowledged()
    scripted.delay.set()
    await fake.world.until(lambda: bool(asked.interaction.followups), "a sentence")
    assert "already ended" in asked.interaction.followups[0].text
    assert asked.interaction.followups[0].only_for is ada.user
    assert card.text == before


async def test_a_notice_and_files_are_for_the_presser(
    fake: FakeDiscord, ada: Person, card: Message, scripted: Scripted, tmp_path: Path
) -> None:
    path = tmp_path / "7-0.png"
    Image.new("RGB", (64, 64), "red").save(path)
    picture = PictureFile(path, "7-0.png", "image/png", 64, 64, alt="an apple")
    scripted.pressed = ButtonResult(notice="Here they are.", files=(picture,))
    bob = fake.person("Bob")
    answer = await (await bob.press(card, "reroll")).answer()
    assert "Here they are" in answer.text
    # As they are, although this model's pictures are shown enlarged.
    assert [(a.filename, a.description, a.data) for a in answer.attachments] == [
        ("7-0.png", "an apple", path.read_bytes())
    ]
    assert answer not in ada.sees()


async def test_a_menu_is_for_the_presser_and_turns_its_own_pages_alone(
    fake: FakeDiscord, ada: Person, card: Message, scripted: Scripted
) -> None:
    def menu(word: str) -> ButtonResult:
        rows = ((Button("2", ButtonPress("choose", 7, 1)), Button("⋯", ButtonPress("more", 7))),)
        return ButtonResult(menu=Menu(Card(Tone.INFO, word, buttons=rows, private=True, final=True)))

    before = card.text
    scripted.pressed = menu("First")
    shown = await (await ada.send_press(card, "easel:more:7")).answer()
    assert shown.only_for is ada.user
    scripted.pressed = menu("Second")
    asked = await ada.press(shown, "2")
    assert await asked.answer() is shown
    assert asked.interaction.response == UPDATE
    assert "Second" in shown.text
    # A forged press does not turn a card into a menu.
    forged = await (await ada.send_press(card, "easel:choose:7:1")).answer()
    assert forged.only_for is ada.user
    assert card.text == before


async def test_a_press_that_changes_nothing_is_acknowledged(ada: Person, card: Message) -> None:
    asked = await ada.press(card, "seed")
    assert (await asked.acknowledged()).response == DEFER_UPDATE


@pytest.mark.parametrize("custom_id", ["easel:reroll", "easel:frame:7", "other:thing", "easel:reroll:7:1:2", "x" * 100])
async def test_unknown_buttons_are_answered(ada: Person, card: Message, scripted: Scripted, custom_id: str) -> None:
    answer = await (await ada.send_press(card, custom_id)).answer()
    assert "does not belong to a drawing" in answer.text
    assert answer.only_for is ada.user
    assert scripted.presses == []


async def test_forms_from_before_a_restart_are_answered(ada: Person) -> None:
    answer = await (await ada.submit("easel:reroll:7")).answer()
    assert "no longer known" in answer.text


async def test_presses_on_private_cards_stay_private(fake: FakeDiscord, ada: Person, scripted: Scripted) -> None:
    scripted.shown = ShownJob(7, waiting(7, private=True))
    scripted.pressed = ButtonResult(new=ShownJob(8, waiting(8, private=True)))
    scripted.delay = asyncio.Event()
    scripted.delay.set()
    card = await (await ada.draw("an apple", private=True)).answer()
    scripted.delay.clear()
    asked = await ada.press(card, "Cancel")
    await asked.acknowledged()
    scripted.delay.set()
    await fake.world.until(lambda: bool(scripted.bindings), "an end")
    assert fake.person("Bob").sees() == []


async def test_a_server_that_removes_the_bot_is_closed_and_one_that_is_away_is_not(
    fake: FakeDiscord, scripted: Scripted
) -> None:
    server = str(fake.world.guild_id)
    await fake.gateway.dispatch("GUILD_DELETE", {"id": server, "unavailable": True})
    await fake.gateway.dispatch("GUILD_CREATE", fake.gateway._guild())
    await fake.gateway.dispatch("GUILD_DELETE", {"id": server})
    await fake.world.until(lambda: bool(scripted.closed), "the end")
    assert [(place.platform, place.guild) for place in scripted.closed] == [("discord", server)]
