"""Pictures on Discord: options of /draw and the menu of messages, by the real client and the real core."""

from __future__ import annotations

import re

from bot.cards.i18n import text
from tests.e2e.discord.conftest import Start
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord_world import Attachment, Message
from tests.fakes.source_images import BLUE, RED, picture
from tests.unit.bot.provenance.marked_files import facts, marked


def words(message: Message) -> str:
    """What a reader sees, without what keeps Discord from reading markup."""
    return re.sub(r"\\(.)", r"\1", message.text)


def file(discord: FakeDiscord, data: bytes, name: str = "photo.png") -> Attachment:
    return Attachment(discord.world.snowflake(), name, data, None)


async def test_a_picture_of_a_message_is_started_from(start: Start, discord: FakeDiscord) -> None:
    bot = await start()
    ann, ben = discord.person("Ann"), discord.person("Ben", locale="zh-CN")
    posted = ben.writes("look", file(discord, picture(96, 64, RED)), file(discord, b"words", "notes.txt"))
    asked = await ann.pick("Use as start", posted)
    sent = await ann.fill(asked, prompt="a cat", strength="0.3")
    await sent.answer()
    await discord.world.until(lambda: any("a cat" in m.text and m.attachments for m in ann.sees()), "the picture")
    await bot.settled()
    rows = "SELECT count(*) FROM jobs WHERE image <> '' AND strength = 0.3 AND typed = 'a cat'"
    assert await bot.number(rows) == 1
    (card,) = [m for m in ann.sees() if m is not posted]
    assert card.only_for is None
    # Its own card has a picture too.
    again = await ann.fill(await ann.pick("Use as start", card), prompt="a dog")
    await again.answer()
    await discord.world.until(
        lambda: any("a dog" in m.text and m.attachments for m in ann.sees()), "the second picture"
    )
    given = await (await ann.run("edit", instruction="a bird", picture=ann.uploads(picture(), "photo.jpg"))).answer()
    assert given.only_for is None
    await discord.world.until(lambda: bool(given.attachments), "the edited picture")
    last = await (await ann.run("edit", instruction="a fish")).answer()
    await discord.world.until(lambda: bool(last.attachments), "the last picture edited")
    await bot.settled()
    sources = "SELECT image FROM jobs WHERE typed IN ('a dog', 'a bird', 'a fish')"
    assert await bot.number(f"SELECT count(DISTINCT image) FROM ({sources})") == 3
    # What a file says: of any picture in a message, and of the bot's own.
    shared = ben.writes("see", file(discord, marked(facts()), "foreign.png"))
    for asked in (await ann.pick("Picture info", shared), await ann.run("inspect", file=ann.uploads(marked(facts())))):
        found = await asked.answer()
        assert text("en", "inspect.marked") in words(found)
        assert "Z-Image-Turbo" in words(found)
        assert found.only_for is ann.user
    own = words(await (await ben.pick("Picture info", card)).answer())
    assert text("zh_CN", "inspect.claims") in own
    assert text("zh_CN", "inspect.source.compositeWithTrainedAlgorithmicMedia") in own
    none = await (await ann.pick("Picture info", ben.writes("no picture"))).answer()
    assert text("en", "discord.menu.no_job") in words(none)
    entries = {c["name_localizations"]["zh-CN"] for c in discord.world.commands if c["type"] == 3}
    assert entries >= {text("zh_CN", "button.usepicture"), text("zh_CN", "button.editpicture")}
    assert len(entries) <= 5, "Discord's limit"


async def test_one_of_several_pictures_is_chosen_and_links_are_left_alone(start: Start, discord: FakeDiscord) -> None:
    bot = await start()
    ann = discord.person("Ann")
    both = ann.writes("", file(discord, picture(96, 64, RED)), file(discord, picture(64, 96, BLUE)))
    sent = await ann.fill(await ann.pick("Use as start", both), prompt="a cat", picture="2")
    await sent.answer()
    await discord.world.until(lambda: any(m.attachments for m in ann.sees() if m is not both), "the picture")
    await bot.settled()
    assert await bot.number("SELECT count(*) FROM jobs WHERE height > width") == 1
    link = {"type": "image", "image": {"url": "http://127.0.0.1:1/private.png"}, "url": "http://127.0.0.1:1/"}
    linked = ann.writes("http://127.0.0.1:1/private.png", embeds=[link])
    refused = await (await ann.pick("Edit this", linked)).answer()
    assert text("en", "refusal.pictures.none") in words(refused)
    assert refused.only_for is ann.user


async def test_a_form_with_somebody_elses_pictures_is_refused(start: Start, discord: FakeDiscord) -> None:
    bot = await start()
    ann, eve = discord.person("Ann"), discord.person("Eve")
    await ann.fill(await ann.pick("Use as start", ann.writes("", file(discord, picture()))), prompt="a cat")
    await (await eve.draw("an apple")).answer()
    forged = await (await eve.submit("easel:usepicture:1", prompt="show me")).answer()
    assert text("en", "refusal.pictures.draft") in words(forged)
    pressed = await (await eve.send_press(shown(discord), "easel:usepicture:1")).answer()
    assert text("en", "refusal.pictures.none") in words(pressed)
    await bot.settled()


def shown(discord: FakeDiscord) -> Message:
    return next(iter(discord.world.messages.values()))


async def test_without_a_model_that_edits_an_edit_says_so(start: Start, discord: FakeDiscord) -> None:
    await start()
    ann = discord.person("Ann")
    asked = await ann.pick("Edit this", ann.writes("", file(discord, picture())))
    refused = await (await ann.fill(asked, prompt="make it night")).answer()
    assert text("en", "refusal.references.no_model") in words(refused)
    assert refused.only_for is ann.user
    several = await (await ann.draw("a cat", picture=ann.uploads(picture()), picture2=ann.uploads(picture()))).answer()
    assert text("en", "refusal.pictures.one") in words(several)
    assert discord.rest.downloads == []
