"""Pictures in Telegram: photos, files, albums and replies, in private chats and in groups, by the real client and the real core."""

from __future__ import annotations

from bot.cards.i18n import text
from tests.e2e.telegram.conftest import Start, photos
from tests.fakes.source_images import BLUE, RED, picture
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_world import Chat
from tests.unit.bot.provenance.marked_files import facts, marked

STARTED = "SELECT count(*) FROM jobs WHERE image <> '' AND typed = '{}'"


async def test_photos_files_and_replies_in_a_private_chat(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    bot = await start()
    person = ann.members[ann.id]
    telegram.sends_photo(ann, person, picture(96, 64, RED), "a cat --seed 1")
    first = await telegram.until(lambda: next(iter(photos(ann)), None))
    assert len(telegram.downloads) == 1
    assert not telegram.downloads[0].endswith("-s"), "the largest size is taken"
    telegram.sends_photo(ann, person, picture(), "/draw a dog")
    telegram.sends_file(ann, person, picture(), "photo.png", "image/png", "/edit a bird")
    wordless = telegram.sends_photo(ann, person, picture())
    await telegram.until(lambda: any(text("en", "refusal.pictures.words") in m.words for m in ann.by_bot()))
    telegram.writes(ann, person, "a fish", reply_to=wordless)
    telegram.writes(ann, person, "/draw a horse", reply_to=first)
    telegram.writes(ann, person, "/edit a goat", reply_to=first)
    await telegram.until(lambda: len(photos(ann)) == 6)
    await bot.settled()
    for words in ("a cat", "a dog", "a bird", "a fish", "a horse", "a goat"):
        assert await bot.number(STARTED.format(words)) == 1, words
    assert await bot.count("picture_requests") == 0


async def test_the_card_below_an_album_stands_for_its_first_picture(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    bot = await start()
    person = ann.members[ann.id]
    telegram.writes(ann, person, "two mice --count 2 --size 3:4")
    card = await telegram.until(lambda: next((m for m in ann.by_bot() if "U1" in m.labels), None))
    assert card.photo is None
    telegram.writes(ann, person, "a later cat")
    await telegram.until(lambda: len(photos(ann)) == 3)
    telegram.writes(ann, person, "/edit a swan", reply_to=card)
    telegram.writes(ann, person, "/again", reply_to=card)
    await telegram.until(lambda: len(photos(ann)) == 6)
    await bot.settled()
    swan = "SELECT count(*) FROM jobs WHERE typed = 'a swan' AND image <> '' AND height > width"
    assert await bot.number(swan) == 1
    assert await bot.number("SELECT count(*) FROM jobs WHERE typed LIKE 'two mice%'") == 2


async def test_in_a_group_only_what_is_addressed_to_the_bot(start: Start, telegram: TelegramStandIn) -> None:
    bot = await start()
    telegram.privacy = False
    person = telegram.person("Ann")
    group = telegram.group("Painters", person)
    holiday = telegram.sends_photo(group, person, picture(), "our holiday")
    for n in range(2):
        telegram.sends_photo(group, person, picture(), None if n else "more of it", album="holiday")
    telegram.sends_photo(group, person, picture(96, 64, RED), "@easel_bot a cat")
    card = await telegram.until(lambda: next((m for m in group.by_bot() if m.photo is not None), None))
    telegram.writes(group, person, "/draw a dog", reply_to=holiday)
    telegram.sends_photo(group, person, picture(96, 64, BLUE), "a bird", reply_to=card)
    telegram.sends_photo(group, person, picture(), "/draw a fish")
    await telegram.until(lambda: sum(m.photo is not None for m in group.by_bot()) == 4)
    # What the file of somebody else's picture says; a photo has lost its marks.
    foreign = telegram.sends_file(group, person, marked(facts()), "foreign.png", "image/png")
    asked = telegram.writes(group, person, "/inspect", reply_to=foreign)
    found = await telegram.until(lambda: next((m for m in group.by_bot() if m.reply_to is asked), None))
    assert text("en", "inspect.marked") in found.words
    assert "Z-Image-Turbo" in found.words
    caption = telegram.sends_photo(group, person, picture(), "/inspect")
    found = await telegram.until(lambda: next((m for m in group.by_bot() if m.reply_to is caption), None))
    assert text("en", "inspect.encoded_again") in found.words
    await bot.settled()
    for words in ("a cat", "a dog", "a bird", "a fish"):
        assert await bot.number(STARTED.format(words)) == 1, words
    assert await bot.count("jobs") == 4


async def test_an_album_without_a_model_for_it_is_one_sentence(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    bot = await start()
    person = ann.members[ann.id]
    for n in range(3):
        telegram.sends_photo(ann, person, picture(), None if n else "join them", album="1")
    await telegram.until(lambda: any(text("en", "refusal.pictures.one") in m.words for m in ann.by_bot()))
    await bot.settled()
    assert len(ann.by_bot()) == 1
    assert telegram.downloads == []


async def test_a_file_that_is_no_image_is_answered_and_not_fetched(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    await start()
    telegram.sends_file(ann, ann.members[ann.id], b"words", "notes.txt", "text/plain", "read this")
    await telegram.until(lambda: any(text("en", "telegram.text_only") in m.words for m in ann.by_bot()))
    large = telegram.sends_file(ann, ann.members[ann.id], bytes(21 * 2**20), "photo.png", "image/png", "make it night")
    wanted = text("en", "refusal.pictures.too_large", number=1, limit=20)
    await telegram.until(lambda: any(wanted in m.words for m in ann.by_bot() if m.reply_to is large))
    assert telegram.downloads == []
