"""Forms as modals: opened by a press, sent back with their values, also after a restart or when they come too late."""

from __future__ import annotations

import asyncio

import pytest

from adapters.discord.service import DiscordService
from bot.core.cards import Button, ButtonPress, Card, Tone
from bot.core.forms import FieldKind, Form, FormChoice, FormField
from bot.studio import ButtonResult, ShownJob
from tests.fakes.discord import FakeDiscord, Person
from tests.fakes.discord_rest import MODAL
from tests.fakes.discord_world import Message
from tests.unit.adapters.discord.scripted import Scripted, waiting

pytestmark = pytest.mark.usefixtures("service")

EDIT = ButtonPress("edit", 7)
FORM = Form(
    "Edit and draw " + "x" * 60,
    EDIT,
    (
        FormField("prompt", "Prompt", "**an** apple", FieldKind.LONG, required=True, max_length=300),
        FormField("seed", "Seed", "7"),
        FormField("steps", "Steps"),
        FormField(
            "model",
            "Model",
            "b",
            FieldKind.CHOICE,
            required=True,
            choices=(FormChoice("a", "Model A"), FormChoice("b", "Model B")),
        ),
    ),
    line="/draw an apple --seed 7",
)


@pytest.fixture
def ada(fake: FakeDiscord) -> Person:
    return fake.person("Ada")


@pytest.fixture
async def card(ada: Person, scripted: Scripted) -> Message:
    """A card with a button that opens a form."""
    scripted.shown = ShownJob(7, Card(Tone.DONE, "Done.", "an apple", job_id=7, buttons=((Button("Edit", EDIT),),)))
    card = await (await ada.draw("an apple")).answer()
    scripted.pressed = ButtonResult(form=FORM)
    return card


async def test_a_form_is_the_first_response_with_the_values_as_they_were(ada: Person, card: Message) -> None:
    asked = await ada.press(card, "Edit")
    interaction = await asked.acknowledged()
    assert interaction.response == MODAL
    assert interaction.modal["custom_id"] == "easel:edit:7"
    assert len(interaction.modal["title"]) == 45
    labels = {part["label"]: part["component"] for part in interaction.modal["components"]}
    assert labels["Prompt"] | {"value": "**an** apple", "max_length": 300, "required": True} == labels["Prompt"]
    assert labels["Seed"]["value"] == "7"
    assert not labels["Steps"]["required"]
    assert [(o["value"], o["default"]) for o in labels["Model"]["options"]] == [("a", False), ("b", True)]


async def test_its_values_come_back_and_the_answer_is_a_new_card(
    fake: FakeDiscord, ada: Person, card: Message, scripted: Scripted
) -> None:
    asked = await ada.press(card, "Edit")
    await asked.acknowledged()
    scripted.pressed = ButtonResult(new=ShownJob(8, waiting(8, prompt="a pear")))
    answer = await (await ada.fill(asked, prompt="a pear", seed="", model="a")).answer()
    assert scripted.submissions == [(EDIT, {"prompt": "a pear", "seed": "", "steps": "", "model": "a"})]
    assert answer is not card
    assert "a pear" in answer.text
    await fake.world.until(lambda: scripted.bindings[-1][0] == 8, "the new card is known")
    assert scripted.bindings[-1][1].message == str(answer.id)


async def test_a_form_that_another_process_has_opened_is_taken(
    ada: Person, card: Message, scripted: Scripted, service: DiscordService
) -> None:
    """Nothing of a form is kept in memory: its custom id says what it is."""
    scripted.pressed = ButtonResult(new=ShownJob(8, waiting(8)))
    await (await ada.submit("easel:edit:7", card, prompt="a pear")).answer()
    assert scripted.submissions == [(EDIT, {"prompt": "a pear"})]


@pytest.mark.parametrize("custom_id", ["easel:reroll:7", "easel:nothing:7", "old", "easel:edit"])
async def test_a_form_that_no_command_has_is_refused(ada: Person, scripted: Scripted, custom_id: str) -> None:
    answer = await (await ada.submit(custom_id, prompt="a pear")).answer()
    assert "no longer known" in answer.text
    assert answer.only_for is ada.user
    assert (scripted.submissions, scripted.presses) == ([], [])


async def test_a_form_that_comes_too_late_is_a_line_to_copy(ada: Person, card: Message, scripted: Scripted) -> None:
    scripted.delay = asyncio.Event()
    asked = await ada.press(card, "Edit")
    await asked.acknowledged()
    scripted.delay.set()
    answer = await asked.answer()
    assert "/draw an apple" in answer.text.replace("\\", "")
    assert answer.only_for is ada.user
