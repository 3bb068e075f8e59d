"""People in Discord, from /draw to a picture and back, by the real client and the real core."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from discord import Client
from PIL import Image

from adapters.discord.replies import CROWD
from engine.contract import BadRecipe
from tests.e2e.discord.conftest import Start
from tests.e2e.discord.harness import DiscordHarness
from tests.fakes.discord import FakeDiscord, Person
from tests.fakes.discord_rest import DEFER, never
from tests.fakes.discord_world import Message
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _within_limits(discord: FakeDiscord) -> Iterator[None]:
    yield
    assert discord.world.limited == 0


@pytest.fixture
def ada(discord: FakeDiscord) -> Person:
    return discord.person("Ada")


async def finished(discord: FakeDiscord, message: Message, count: int = 1) -> Message:
    """Wait until a card shows its pictures."""
    await discord.world.until(lambda: len(message.pictures) == count, f"{count} pictures on the card", 30)
    return message


def pixels(message: Message, index: int = 0) -> bytes:
    """What a picture looks like."""
    with Image.open(io.BytesIO(message.attachments[index].data)) as image:
        return image.convert("RGB").tobytes()


async def test_from_draw_to_a_picture_reroll_restart_and_its_seed(
    start: Start, discord: FakeDiscord, ada: Person
) -> None:
    gate = StepGate()
    bot = await start(gate)
    card = await (await ada.draw("a red apple on a blue background", seed="7")).answer()
    assert "a red apple on a blue background" in card.text
    assert "easel:cancel:1" in card.buttons
    assert "Ada" in card.text

    gate.let(4)
    await discord.world.until(lambda: "▰" in card.text, "progress")
    gate.open()
    await finished(discord, card)
    assert "seed 7 ·" in card.text
    assert re.search(r"^-# seed 7 · 8 steps · 192×192 · Easel demo · [\d\\.]+ s$", card.text, re.MULTILINE), card.text
    assert card.attachments[0].description == "a red apple on a blue background"
    with Image.open(io.BytesIO(card.attachments[0].data)) as image:
        # The demo model's pictures are small; they are shown three times as large, and say what they were made from.
        assert image.size == (576, 576)
        assert "Seed: 7" in image.info["parameters"]
    assert ada.sees() == [card]

    second = await finished(discord, await (await ada.press(card, "Reroll")).answer())
    assert "seed 7 ·" not in second.text
    assert pixels(second) != pixels(card)

    await bot.stop()
    await bot.start()
    third = await finished(discord, await (await ada.send_press(card, "easel:seed:1:0")).answer(), 2)
    assert pixels(third) == pixels(card)
    assert pixels(third, 1) != pixels(card)
    await bot.settled()
    assert await bot.count("jobs") == 3
    assert await bot.charged() == 4
    assert len(ada.sees()) == 3
    assert discord.world.syncs == 1
    assert all(not m.pings for m in ada.sees())


async def test_the_prompt_is_copied_as_a_line_for_the_presser_alone(
    start: Start, discord: FakeDiscord, ada: Person
) -> None:
    await start()
    card = await finished(discord, await (await ada.draw("a **red** @everyone", seed="7")).answer())
    bob = discord.person("Bob")
    menu = await (await bob.press(card, "⋯")).answer()
    assert menu.only_for is bob.user
    answer = await (await bob.press(menu, "Copy prompt")).answer()
    assert answer.only_for is not None
    assert answer not in ada.sees()
    assert "--size 192x192 --seed 7" in answer.text.replace("\\", "")
    assert "**red**" not in answer.text
    assert not answer.pings


async def test_a_form_changes_the_request_and_a_menu_deletes_the_job(
    start: Start, discord: FakeDiscord, ada: Person
) -> None:
    bot = await start()
    card = await finished(discord, await (await ada.draw("a cat", seed="7", count=2)).answer(), 2)
    opened = await ada.press(await (await ada.press(card, "⋯")).answer(), "Edit")
    await opened.acknowledged()
    # The form was opened by a process that is gone.
    await bot.stop()
    await bot.start()
    second = await finished(discord, await (await ada.fill(opened, prompt="a dog --n 1", steps="3")).answer())
    assert second.only_for is None
    assert "a dog" in second.text
    assert "seed 7 · 3 steps" in second.text.replace("\\", "")

    menu = await (await ada.press(card, "⋯")).answer()
    page = await ada.press(menu, "2")
    await discord.world.until(lambda: "easel:start:1:1" in menu.buttons, "the picture's page")
    assert (await page.acknowledged()).original is menu
    third = await finished(discord, await (await ada.fill(await ada.press(menu, "Start from this"))).answer(), 2)
    assert "strength 0.6" in third.text.replace("\\", "")
    await ada.press(menu, "← All")
    await discord.world.until(lambda: "easel:delete:1" in menu.buttons, "the job's page")
    await ada.press(menu, "Delete")
    await discord.world.until(lambda: set(menu.buttons) == {"easel:deletenow:1"}, "a question")
    await ada.press(menu, "Delete for good")
    await discord.world.until(lambda: card.deleted, "the card is gone")
    await discord.world.until(lambda: not menu.buttons, "the menu says so")
    assert "is deleted" in menu.text
    assert await bot.count("pictures") == 3


@pytest.mark.parametrize("count", [2, 4])
async def test_several_pictures_with_a_seed_button_each(
    start: Start, discord: FakeDiscord, ada: Person, count: int
) -> None:
    await start()
    card = await finished(discord, await (await ada.draw("a cat", count=count, seed="3")).answer(), count)
    assert len({a.data for a in card.attachments}) == count
    assert {f"easel:upscale:1:{i}" for i in range(count)} <= set(card.buttons)
    assert len({a.filename for a in card.attachments}) == count


async def test_a_private_drawing_is_seen_by_nobody_else(start: Start, discord: FakeDiscord, ada: Person) -> None:
    await start()
    bob = discord.person("Bob")
    card = await finished(discord, await (await ada.draw("夜空中的一只猫", private=True)).answer())
    again = await finished(discord, await (await ada.press(card, "Reroll")).answer())
    assert again.only_for is ada.user
    assert bob.sees() == []
    answer = await (await bob.send_press(card, "easel:reroll:1")).answer()
    assert answer.only_for is bob.user
    assert answer.attachments == []


async def test_others_may_reroll_what_was_shown_to_them_and_not_cancel_it(
    start: Start, discord: FakeDiscord, ada: Person
) -> None:
    gate = StepGate()
    bot = await start(gate)
    bob = discord.person("Bob")
    card = await (await ada.draw("a cat")).answer()
    answer = await (await bob.press(card, "Cancel")).answer()
    assert answer.only_for is bob.user
    gate.open()
    await finished(discord, card)
    await finished(discord, await (await bob.press(card, "Reroll")).answer())
    await bot.settled()
    assert await bot.charged() == 2


async def test_cancel_while_it_waits(start: Start, discord: FakeDiscord, ada: Person) -> None:
    gate = StepGate()
    bot = await start(gate)
    await (await ada.draw("a cat")).answer()
    waiting = await (await ada.draw("a dog")).answer()
    assert await (await ada.press(waiting, "Cancel")).answer() is waiting
    await discord.world.until(lambda: "Cancelled" in waiting.text, "the card says so")
    gate.open()
    await bot.settled()
    assert await bot.states() == ["delivered", "cancelled"]
    assert await bot.charged() == 1


async def test_history_pages_and_quota(start: Start, discord: FakeDiscord, ada: Person) -> None:
    bot = await start(quota=12)
    # In several channels, since each takes five edits in a window and no more.
    channels = [discord.channel, discord.thread("one"), discord.thread("two"), discord.world.direct(ada.user)]
    for card in [await (await ada.draw(f"apple {i}", channel=channels[i % 4])).answer() for i in range(11)]:
        await finished(discord, card)
    await bot.settled()
    page = await (await ada.run("history")).answer()
    assert page.only_for is ada.user
    assert len(page.attachments) == 1
    assert "apple 10" in page.text
    older = await (await ada.press(page, "Older")).answer()
    assert older is page
    await discord.world.until(lambda: "apple 0" in page.text, "the older page")

    assert "1 more" in (await (await ada.run("quota show")).answer()).text
    refused = await (await ada.draw("two more", count=2)).answer()
    assert "only 1 picture is left" in refused.text.replace("\\", "")
    assert refused.only_for is ada.user
    assert await bot.count("jobs") == 11


async def test_the_server_sets_its_own_quota(start: Start, discord: FakeDiscord, ada: Person) -> None:
    await start()
    boss = discord.person("Boss", manages=True)
    refused = await (await ada.run("quota set", rule="1/day")).answer()
    assert refused.only_for is ada.user
    assert "admins" in refused.text
    for rule, words in (("every day", "not a quota"), ("99/day", "above what the owner")):
        assert words in (await (await boss.run("quota set", rule=rule)).answer()).text.replace("\\", "")
    told = await (await boss.run("quota set", rule="1/day")).answer()
    assert told in ada.sees()
    await finished(discord, await (await ada.draw("a cat")).answer())
    assert "in this place" in (await (await ada.draw("a dog")).answer()).text
    # Members of a role that an admin names are admins too; what they did is read, and taken back.
    painters = discord.world.guild_id + 1
    helper = discord.person("Hal", roles=(painters,))
    assert "Only admins" in (await (await helper.run("easel pause")).answer()).text
    assert "from now on" in (await (await boss.run("easel admins", role=str(painters))).answer()).text
    paused = await (await helper.run("easel pause")).answer()
    assert paused in ada.sees()
    banned = await (await helper.run("easel ban", person=str(ada.user.id), span="3 days", reason="spam")).answer()
    assert "Ada can't draw here" in banned.text.replace("\\", "")
    read = await (await boss.run("easel changes")).answer()
    assert read.only_for is boss.user
    assert [line for line in ("easel ban", "easel pause", "easel admins", "quota set") if line in read.text] == [
        "easel ban",
        "easel pause",
        "easel admins",
        "quota set",
    ]
    assert "taken back" in (await (await helper.run("easel undo", number=4)).answer()).text
    assert "paused" in (await (await ada.draw("a dog")).answer()).text
    hints = (await (await boss.run("easel limits")).answer()).text.replace("\\", "")
    assert "/easel undo" in hints
    assert discord.world.problems == []


async def test_a_private_card_after_fifteen_minutes_comes_as_a_direct_message(
    start: Start, discord: FakeDiscord, ada: Person
) -> None:
    gate = StepGate()
    bot = await start(gate)
    await (await ada.draw("a cat", private=True)).answer()
    await discord.world.until(lambda: gate.reached > 0, "drawing")
    discord.expire_tokens()
    gate.open()
    await bot.settled()
    (direct,) = ada.direct_messages()
    assert len(direct.attachments) == 1
    assert discord.person("Bob").sees() == []
    again = await finished(discord, await (await ada.press(direct, "Reroll")).answer())
    assert again in ada.direct_messages()


async def test_a_card_that_was_deleted_comes_again_once(start: Start, discord: FakeDiscord, ada: Person) -> None:
    gate = StepGate()
    bot = await start(gate)
    card = await (await ada.draw("a cat")).answer()
    await discord.world.until(lambda: gate.reached > 0, "drawing")
    discord.delete(card)
    # The first answer to the new message is lost on its way: the nonce keeps the second try from being a second one.
    losses = [0]
    discord.rest.spoil = lambda name: losses.pop() if name.startswith("POST /channels") and losses else None
    gate.open()
    await bot.settled()
    (late,) = ada.sees()
    assert late.pings == {str(ada.user.id)}
    assert len(late.attachments) == 1
    assert late.nonce
    assert await bot.charged() == 1


async def test_a_crowd_is_answered_once_each_within_discords_limits(start: Start, discord: FakeDiscord) -> None:
    bot = await start()
    places = [discord.world.channel(f"place {n}") for n in range(CROWD + 8)]
    people = [discord.person(f"Person {n}") for n in range(len(places))]
    asked = [await one.draw("a cat", channel=place) for one, place in zip(people, places, strict=True)]
    for one in asked:
        await finished(discord, await one.answer())
    await bot.settled()
    assert DEFER in {one.interaction.response for one in asked}
    assert [len(one.sees(place)) for one, place in zip(people, places, strict=True)] == [1] * len(places)
    assert await bot.charged() == len(places)


async def test_a_drawing_that_fails_says_why_and_costs_nothing(
    tmp_path: Path, discord: FakeDiscord, ada: Person
) -> None:
    engine = FakeEngine(fail=lambda r: BadRecipe("no") if "poison" in r.prompt else None)
    await engine.start()
    bot = DiscordHarness(tmp_path, discord, engine)
    await bot.start()
    card = await (await ada.draw("poison")).answer()
    await discord.world.until(lambda: "could not draw" in card.text, "why")
    await bot.settled()
    assert await bot.charged() == 0
    assert list(card.buttons) == ["easel:reroll:1", "easel:edit:1"]
    await bot.stop()


async def test_a_dropped_connection_and_a_new_session_lose_nothing(
    start: Start, discord: FakeDiscord, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(*_: object, **__: object) -> None:
        """Begin a new session without the pause of 5 s that Discord wants before it."""

    monkeypatch.setattr(Client, "before_identify_hook", at_once)
    bot = await start()
    await discord.gateway.drop()
    first = await (await ada.draw("while away")).answer()
    await finished(discord, first)
    assert discord.gateway.resumed == 1
    # Without resuming: what had arrived is answered all the same; of what had not, Discord itself tells the person.
    discord.gateway.forgetful, held = True, True
    discord.rest.held = lambda name: held and "/callback" in name
    asked = await ada.draw("in the middle")
    await asked.acknowledged()
    await discord.gateway.drop()
    held = False
    await finished(discord, await asked.answer())
    await discord.world.until(lambda: discord.gateway.identified == 2, "a new session", 30)
    await finished(discord, await (await ada.press(first, "Reroll")).answer())
    await bot.settled()
    assert await bot.charged() == 3


KILLED_WHILE = ["answering", "waiting", "drawing", "delivering"]


@pytest.mark.parametrize("moment", KILLED_WHILE)
async def test_a_kill_loses_nothing_and_shows_nothing_twice(
    start: Start, discord: FakeDiscord, ada: Person, moment: str
) -> None:
    gate = StepGate()
    bot = await start(gate)
    if moment == "waiting":
        await (await ada.draw("somebody else's")).answer()
    if moment == "answering":
        discord.rest.held = lambda name: "/callback" in name
    asked = await ada.draw("a cat")
    card = await asked.answer()
    if moment in {"drawing", "delivering"}:
        await discord.world.until(lambda: gate.reached > 0, "drawing")
    if moment == "delivering":
        # The finished card is sent, and nobody hears that it arrived.
        discord.rest.held = lambda name: "PATCH" in name and bool(card.attachments)
        gate.open()
        await discord.world.until(lambda: len(card.pictures) == 1, "the finished card")
    await bot.kill()
    discord.rest.held = never
    gate.open()
    await bot.start()
    await finished(discord, card)
    await bot.settled()
    jobs = 2 if moment == "waiting" else 1
    assert len(ada.sees()) == jobs
    assert await bot.states() == ["delivered"] * jobs
    assert await bot.charged() == jobs


async def test_an_answer_that_never_arrives_is_delivered_as_a_new_message(
    start: Start, discord: FakeDiscord, ada: Person
) -> None:
    bot = await start()
    discord.rest.lost = "/callback"
    await ada.draw("a cat")
    await discord.world.until(lambda: bool(ada.sees()), "a message", 30)
    await bot.settled()
    (card,) = ada.sees()
    await finished(discord, card)
    assert card.pings == {str(ada.user.id)}
