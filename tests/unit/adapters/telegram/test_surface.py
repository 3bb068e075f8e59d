"""The surface against the stand-in: what is shown, and what becomes of every refusal."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
from aiogram.methods import Response
from aiogram.types import User

from adapters.telegram.errors import TokenRefusals
from adapters.telegram.rate_limit import RateLimiter
from adapters.telegram.surface import TelegramSurface
from bot.core.cards import Button, ButtonPress, Card, Fact, Tone
from bot.core.messages import Address
from bot.core.ports import Gone, NoPictures, RetryLater, Unclear
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_world import Chat, Msg
from tests.unit.adapters.telegram.conftest import SMALL, Hand, Wire, bot_for, picture

WAITING = Card(
    Tone.WAITING, "Waiting.", prompt="a cat", buttons=((Button("Cancel", ButtonPress("cancel", 7), danger=True),),)
)
RUNNING = Card(Tone.RUNNING, "Drawing.", prompt="a cat", progress=0.5)


def done(folder: Path, **more: object) -> Card:
    """A finished card with one picture."""
    return Card(
        Tone.DONE,
        "Done.",
        prompt="a cat",
        facts=(Fact("Seed", "7"),),
        pictures=(picture(folder),),
        buttons=((Button("Reroll", ButtonPress("reroll", 7)),),),
        final=True,
    )


def near(chat: Chat, asked: Msg | None = None) -> Address:
    """Where the answer belongs."""
    user = str(chat.id) if not chat.is_group else "501"
    return Address("telegram", str(chat.id), reply_to=str(asked.id) if asked else None, user=user)


@pytest.fixture
def chat(wire: Wire) -> Chat:
    """Ann's private chat."""
    return wire.telegram.private(wire.telegram.person("Ann"))


@pytest.fixture
def group(wire: Wire) -> Chat:
    """A group that Ann is in."""
    return wire.telegram.group("Painters", wire.telegram.person("Ann"))


async def shown(wire: Wire, chat: Chat, card: Card = WAITING) -> Address:
    """Send a card, and let time pass."""
    address = await wire.surface.send(near(chat), card, "1:now")
    wire.later()
    return address


async def test_a_card_answers_what_asked_for_it(wire: Wire, chat: Chat) -> None:
    asked = wire.telegram.writes(chat, chat.members[501], "a cat")
    address = await wire.surface.send(near(chat, asked), WAITING, "1:now")
    message = chat.by_bot()[0]
    assert address.message == str(message.id)
    assert message.reply_to is asked
    assert message.words.splitlines() == ["⏳ Waiting.", "a cat"]
    assert message.button("Cancel") == "easel:cancel:7"
    preview = wire.telegram.calls[-1][1]["link_preview_options"]
    assert preview == {"is_disabled": True}


async def test_no_call_ever_asks_for_a_parse_mode(wire: Wire, chat: Chat, tmp_path: Path) -> None:
    address = await shown(wire, chat)
    await wire.surface.edit(address, replace(RUNNING, prompt="<b>_*x*_</b>"))
    wire.later()
    await wire.surface.edit(address, done(tmp_path))
    assert wire.telegram.calls
    assert all("parse_mode" not in str(parameters) for _, parameters in wire.telegram.calls)


async def test_a_card_answers_even_if_the_question_was_deleted(wire: Wire, chat: Chat) -> None:
    asked = wire.telegram.writes(chat, chat.members[501], "a cat")
    wire.telegram.deletes(asked)
    await wire.surface.send(near(chat, asked), WAITING, "1:now")
    assert chat.by_bot()[0].reply_to is None


async def test_the_text_turns_into_the_photo_with_its_facts(wire: Wire, chat: Chat, tmp_path: Path) -> None:
    address = await shown(wire, chat)
    await wire.surface.edit(address, RUNNING)
    wire.later()
    assert await wire.surface.edit(address, done(tmp_path)) == address
    (message,) = chat.by_bot()
    assert message.photo is not None
    assert message.photo.size() == (768, 512)
    assert message.words.splitlines() == ["Done.", "a cat", "Seed: 7"]
    assert message.labels == ["Reroll"]


async def test_editing_twice_changes_nothing(wire: Wire, chat: Chat) -> None:
    address = await shown(wire, chat)
    assert await wire.surface.edit(address, WAITING) == address
    assert chat.by_bot()[0].edits == 0


async def test_a_photo_can_lose_its_picture(wire: Wire, chat: Chat, tmp_path: Path) -> None:
    address = await wire.surface.send(near(chat), done(tmp_path), "1:end")
    wire.later()
    await wire.surface.edit(address, Card(Tone.DONE, "Not kept any more.", final=True))
    assert chat.by_bot()[0].caption == "Not kept any more."
    assert chat.by_bot()[0].labels == []


async def test_a_lost_file_leaves_the_words(wire: Wire, chat: Chat, tmp_path: Path) -> None:
    card = done(tmp_path)
    card.pictures[0].path.unlink()
    address = await shown(wire, chat)
    await wire.surface.edit(address, card)
    assert chat.by_bot()[0].photo is None
    assert "Seed: 7" in chat.by_bot()[0].words


@pytest.mark.parametrize("count", [2, 3, 4, 10])
async def test_several_pictures_are_one_album_that_answers_the_card(
    wire: Wire, chat: Chat, tmp_path: Path, count: int
) -> None:
    address = await shown(wire, chat)
    files = [picture(tmp_path, name=f"7-{i}.png") for i in range(count)]
    await wire.surface.send_files(address, files, originals=False)
    card, *album = chat.by_bot()
    assert len(album) == count
    assert len({m.album for m in album}) == 1
    assert all(m.photo is not None and m.reply_to is card for m in album)


async def test_more_than_an_album_holds_goes_in_several(wire: Wire, chat: Chat, tmp_path: Path) -> None:
    files = [picture(tmp_path, name=f"7-{i}.png") for i in range(11)]
    wire.surface._rate_limiter.gap = 0.0
    wire.telegram.world.flood.gap = 0.0
    await wire.surface.send_files(near(chat), files, originals=False)
    assert len(chat.by_bot()) == 11


@pytest.mark.parametrize("count", [1, 3])
async def test_originals_are_documents_byte_for_byte(wire: Wire, chat: Chat, tmp_path: Path, count: int) -> None:
    files = [picture(tmp_path, name=f"7-{i}.png") for i in range(count)]
    await wire.surface.send_files(near(chat), files, originals=True)
    documents = [m.document for m in chat.by_bot()]
    assert [(d.name, d.data) for d in documents if d] == [(f.name, f.path.read_bytes()) for f in files]


async def test_one_picture_after_a_card_is_a_photo(wire: Wire, chat: Chat, tmp_path: Path) -> None:
    await wire.surface.send_files(near(chat), [picture(tmp_path)], originals=False)
    assert chat.by_bot()[0].photo is not None


async def test_files_that_are_lost_are_gone(wire: Wire, chat: Chat, tmp_path: Path) -> None:
    file = picture(tmp_path)
    file.path.unlink()
    with pytest.raises(Gone):
        await wire.surface.send_files(near(chat), [file], originals=True)


async def test_a_private_card_goes_to_the_person_alone(wire: Wire, group: Chat) -> None:
    ann = group.members[501]
    private = wire.telegram.private(ann)
    address = await wire.surface.send(near(group), replace(WAITING, private=True), "1:now")
    assert group.by_bot() == []
    assert len(private.by_bot()) == 1
    assert (address.chat, address.private) == ("501", True)


async def test_a_private_card_without_a_private_chat_is_gone(wire: Wire, group: Chat) -> None:
    with pytest.raises(Gone):
        await wire.surface.send(near(group), replace(WAITING, private=True), "1:now")
    assert group.by_bot() == []


async def test_topics_of_forums_are_kept(wire: Wire, group: Chat) -> None:
    asked = wire.telegram.writes(group, group.members[501], "/draw a cat", thread=33)
    await wire.surface.send(replace(near(group, asked), thread="33"), WAITING, "1:now")
    assert group.by_bot()[0].thread == 33


async def test_a_deleted_card_is_gone(wire: Wire, chat: Chat, tmp_path: Path) -> None:
    address = await shown(wire, chat)
    wire.telegram.deletes(chat.by_bot()[0])
    with pytest.raises(Gone):
        await wire.surface.edit(address, RUNNING)
    wire.later()
    with pytest.raises(Gone):
        await wire.surface.edit(address, done(tmp_path))


async def test_an_address_without_a_message_is_gone(wire: Wire, chat: Chat) -> None:
    with pytest.raises(Gone):
        await wire.surface.edit(near(chat), RUNNING)


async def test_a_person_who_blocks_the_bot_is_gone(wire: Wire, chat: Chat) -> None:
    address = await shown(wire, chat)
    chat.blocked = True
    with pytest.raises(Gone):
        await wire.surface.edit(address, RUNNING)
    wire.later()
    with pytest.raises(Gone):
        await wire.surface.send(near(chat), WAITING, "2:now")


async def test_a_group_that_became_a_supergroup_is_followed(wire: Wire, group: Chat, tmp_path: Path) -> None:
    address = await shown(wire, group)
    new = wire.telegram.upgrade(group)
    with pytest.raises(Gone):
        await wire.surface.edit(address, RUNNING)
    wire.later()
    assert (await wire.surface.send(near(group), WAITING, "1:end")).chat == str(new.id)
    wire.later()
    await wire.surface.send_files(near(group), [picture(tmp_path), picture(tmp_path)], originals=False)
    assert [m.photo is not None for m in new.by_bot()] == [False, True, True]


async def test_where_photos_are_forbidden_the_card_is_a_file(wire: Wire, group: Chat, tmp_path: Path) -> None:
    group.photos_allowed = False
    card = done(tmp_path)
    await wire.surface.send(near(group), card, "1:end")
    (message,) = group.by_bot()
    assert message.document is not None
    assert message.document.data == card.pictures[0].path.read_bytes()
    assert "Seed: 7" in message.words
    assert message.labels == ["Reroll"]
    wire.later()
    address = await shown(wire, group)
    await wire.surface.edit(address, card)
    assert group.by_bot()[1].document is not None
    wire.later()
    await wire.surface.send_files(address, [picture(tmp_path, name=f"7-{i}.png") for i in range(2)], originals=False)
    assert all(m.document is not None for m in group.by_bot()[2:])
    assert len(group.by_bot()) == 4


async def test_where_neither_photos_nor_files_are_allowed_nothing_is_done_in_silence(
    wire: Wire, group: Chat, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    group.photos_allowed = group.documents_allowed = False
    address = await shown(wire, group)
    files = [picture(tmp_path, name=f"7-{i}.png") for i in range(2)]
    with pytest.raises(NoPictures):
        await wire.surface.send(near(group), done(tmp_path), "1:end")
    wire.later()
    with pytest.raises(NoPictures):
        await wire.surface.edit(address, done(tmp_path))
    for originals in (False, True):
        wire.later()
        with pytest.raises(NoPictures):
            await wire.surface.send_files(address, files, originals=originals)
    assert [m.words for m in group.by_bot()] == ["⏳ Waiting.\na cat"]
    assert "not enough rights to send documents" in caplog.text


async def test_what_is_sent_to_a_private_address_goes_to_the_person_alone(
    wire: Wire, group: Chat, tmp_path: Path
) -> None:
    private = wire.telegram.private(group.members[501])
    address = replace(near(group), private=True, thread="33")
    sent = await wire.surface.send(address, done(tmp_path), "1:end")
    assert (sent.chat, sent.thread) == ("501", None)
    assert private.by_bot()[0].photo is not None
    assert group.by_bot() == []


@pytest.mark.parametrize("closed", [True, False])
async def test_a_topic_that_was_closed_or_deleted_is_gone(
    wire: Wire, group: Chat, tmp_path: Path, closed: bool
) -> None:
    if closed:
        wire.telegram.writes(group, group.members[501], "/draw a cat", thread=33)
        group.closed_topics.add(33)
    address = replace(near(group), thread="33")
    with pytest.raises(Gone):
        await wire.surface.send(address, WAITING, "1:now")
    wire.later()
    # One call each: what the topic refuses it refuses in any form.
    with pytest.raises(Gone):
        await wire.surface.send(address, done(tmp_path), "1:end")
    wire.later()
    with pytest.raises(Gone):
        await wire.surface.send_files(address, [picture(tmp_path)], originals=False)
    assert [method for method, _ in wire.telegram.refused] == ["sendMessage", "sendPhoto", "sendPhoto"]


async def test_a_photo_that_telegram_does_not_take_is_sent_as_a_file(wire: Wire, chat: Chat, tmp_path: Path) -> None:
    address = await shown(wire, chat)
    wire.telegram.refuse("editMessageMedia", 400, "Bad Request: PHOTO_INVALID_DIMENSIONS")
    await wire.surface.edit(address, done(tmp_path))
    assert chat.by_bot()[0].photo is None
    assert chat.by_bot()[0].document is not None
    assert "Seed: 7" in chat.by_bot()[0].words


async def test_a_second_message_within_a_second_waits(wire: Wire, chat: Chat) -> None:
    await wire.surface.send(near(chat), WAITING, "1:now")
    with pytest.raises(RetryLater) as busy:
        await wire.surface.send(near(chat), WAITING, "2:now")
    wire.later(busy.value.seconds)
    await wire.surface.send(near(chat), WAITING, "2:now")
    assert wire.telegram.refused == []


async def test_retry_after_is_honoured(wire: Wire, chat: Chat) -> None:
    wire.telegram.refuse("sendMessage", 429, "Too Many Requests: retry after 17", retry_after=17)
    with pytest.raises(RetryLater) as busy:
        await wire.surface.send(near(chat), WAITING, "1:now")
    assert busy.value.seconds == 17
    asked = len(wire.telegram.calls)
    wire.later(10)
    with pytest.raises(RetryLater) as busy:
        await wire.surface.send(near(chat), WAITING, "1:now")
    assert busy.value.seconds == pytest.approx(7)
    assert len(wire.telegram.calls) == asked
    wire.later(8)
    await wire.surface.send(near(chat), WAITING, "1:now")


async def test_progress_in_a_busy_group_is_left_out_and_the_end_is_not(wire: Wire, group: Chat, tmp_path: Path) -> None:
    address = await shown(wire, group)
    for i in range(30):
        await wire.surface.edit(address, replace(RUNNING, status=f"Drawing: {i} %."))
        wire.later(1.1)
    (message,) = group.by_bot()
    assert 5 < message.edits < 15
    assert await wire.surface.edit(address, done(tmp_path)) == address
    assert message.photo is not None
    assert wire.telegram.refused == []


@pytest.mark.parametrize(("status", "description"), [(500, "Internal Server Error"), (502, "Bad Gateway")])
async def test_when_telegram_stumbles_edits_wait_and_sends_are_unclear(
    wire: Wire, chat: Chat, status: int, description: str
) -> None:
    address = await shown(wire, chat)
    wire.telegram.refuse("editMessageText", status, description)
    with pytest.raises(RetryLater) as busy:
        await wire.surface.edit(address, RUNNING)
    assert busy.value.unclear
    wire.later()
    wire.telegram.refuse("sendMessage", status, description)
    with pytest.raises(Unclear):
        await wire.surface.send(near(chat), WAITING, "2:now")


async def test_the_type_of_an_answer_is_built_once(wire: Wire) -> None:
    """By itself pydantic keeps a type only while it is used."""
    await wire.bot.get_me()
    built = weakref.ref(Response[User])
    gc.collect()
    assert built() is not None


async def test_a_connection_cut_before_the_answer_is_unclear(wire: Wire, chat: Chat, tmp_path: Path) -> None:
    wire.telegram.cut("sendMediaGroup")
    files = [picture(tmp_path, name=f"7-{i}.png") for i in range(2)]
    with pytest.raises(Unclear):
        await wire.surface.send_files(near(chat), files, originals=False)
    assert len(chat.by_bot()) == 2


async def test_a_connection_that_never_was_is_only_busy(wire: Wire, chat: Chat) -> None:
    async with TelegramStandIn().serve() as gone:
        url = gone.url
    async with bot_for(url) as bot:
        surface = TelegramSurface(lambda: (SMALL,), RateLimiter(clock=wire.clock))
        surface.use(bot)
        with pytest.raises(RetryLater) as busy:
            await surface.edit(replace(near(chat), message="1"), WAITING)
        assert not busy.value.unclear
        with pytest.raises(RetryLater):
            await surface.send(near(chat), WAITING, "1:now")


async def test_without_a_client_everything_waits(wire: Wire, chat: Chat, tmp_path: Path) -> None:
    address = await shown(wire, chat)
    wire.surface.use(None)
    with pytest.raises(RetryLater):
        await wire.surface.send(near(chat), WAITING, "2:now")
    wire.later()
    with pytest.raises(RetryLater):
        await wire.surface.edit(address, RUNNING)
    wire.later()
    with pytest.raises(RetryLater):
        await wire.surface.send_files(address, [picture(tmp_path)], originals=False)


async def test_a_refused_token_waits_longer_each_time_and_loses_no_card(wire: Wire, chat: Chat) -> None:
    """A single refusal passes; one that lasts is not asked about all the time, however many chats wait."""
    clock = Hand()
    wire.surface._refusals = TokenRefusals(clock)
    token, wire.telegram.token = wire.telegram.token, "43:another"
    waits = []
    for _ in range(8):
        for _ in range(3):
            with pytest.raises(RetryLater) as busy:
                await wire.surface.send(near(chat), WAITING, "1:now")
            wire.later()
        waits.append(busy.value.seconds)
        clock.now += busy.value.seconds
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]
    wire.telegram.token = token
    address = await shown(wire, chat)
    wire.telegram.refuse("editMessageText", 401, "Unauthorized")
    with pytest.raises(RetryLater) as busy:
        await wire.surface.edit(address, RUNNING)
    assert busy.value.seconds == 2


async def test_a_covered_picture_is_covered_wherever_it_is_shown(wire: Wire, chat: Chat, tmp_path: Path) -> None:
    card = done(tmp_path)
    covered = replace(card, pictures=(replace(card.pictures[0], spoiler=True),))

    def said() -> list[object]:
        """What the last call says of covers: of a photo, or of each in an album."""
        name, sent = wire.telegram.calls[-1]
        media = sent.get("media", sent)
        return [name, *(m.get("has_spoiler") for m in (media if isinstance(media, list) else [media]))]

    address = await shown(wire, chat, covered)
    assert said() == ["sendPhoto", True]
    await wire.surface.edit(address, card)
    assert said() == ["editMessageMedia", None]
    wire.later()
    await wire.surface.edit(address, covered)
    assert said() == ["editMessageMedia", True]
    wire.later()
    await wire.surface.send_files(address, covered.pictures, originals=False)
    assert said() == ["sendPhoto", True]
    wire.later()
    await wire.surface.send_files(address, (*card.pictures, *covered.pictures), originals=False)
    assert said() == ["sendMediaGroup", None, True]
    wire.later()
    await wire.surface.send_files(address, covered.pictures, originals=True)
    assert said() == ["sendDocument", None]
