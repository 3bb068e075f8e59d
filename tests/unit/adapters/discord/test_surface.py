"""Delivery's side: edits and sends by the right token, and what each failure means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adapters.discord.service import DiscordService
from adapters.discord.surface import DiscordSurface
from bot.core.cards import Card, CardPreview, Fact, Tone
from bot.core.messages import Address
from bot.core.ports import Gone, NoPictures, RetryLater, Unclear
from bot.storage.sql import dump_address, load_address
from tests.fakes.discord import FakeDiscord, Person
from tests.fakes.discord_spec import MEDIA_GALLERY, TEXT_DISPLAY, nested
from tests.fakes.discord_world import Message
from tests.unit.adapters.discord.scripted import PROFILE, Scripted
from tests.unit.adapters.discord.test_pictures import picture
from tests.unit.adapters.discord.test_service import without_sleep

RUNNING = Card(Tone.RUNNING, "Drawing.", "an apple", "Ada", 7, 0.5)


@pytest.fixture
def ada(fake: FakeDiscord) -> Person:
    return fake.person("Ada")


@pytest.fixture
def done(tmp_path: Path) -> Card:
    """A finished card with two pictures."""
    shown = (picture(tmp_path), picture(tmp_path, "7-1.png"))
    return Card(Tone.DONE, "Done.", "an apple", "Ada", 7, facts=(Fact("Seed", "7"),), pictures=shown, final=True)


@pytest.fixture
def surface(service: DiscordService) -> DiscordSurface:
    return service.surface


@pytest.fixture
async def shown(fake: FakeDiscord, ada: Person, scripted: Scripted, surface: DiscordSurface) -> tuple[Message, Address]:
    """A public card and its address, as the first answer left them."""
    card = await (await ada.draw("an apple")).answer()
    await fake.world.until(lambda: bool(scripted.bindings), "the message is known")
    return card, scripted.bindings[0][1]


async def private(fake: FakeDiscord, ada: Person, scripted: Scripted) -> tuple[Message, Address]:
    card = await (await ada.draw("an apple", private=True)).answer()
    await fake.world.until(lambda: bool(scripted.bindings), "the message is known")
    return card, scripted.bindings[0][1]


async def test_an_edit_goes_by_the_interactions_token(
    fake: FakeDiscord, surface: DiscordSurface, shown: tuple[Message, Address], done: Card
) -> None:
    message, address = shown
    assert await surface.edit(address, RUNNING) == address
    assert "▰▰▰▰▰▰▰▰▱" in message.text
    assert await surface.edit(address, done) == address
    assert await surface.edit(address, done) == address
    assert [a.filename for a in message.attachments] == ["7-0.png", "7-1-1.png"]
    assert [a.description for a in message.attachments] == ["an apple", "an apple"]
    assert "Seed: 7" in message.text
    assert all(a.startswith("PATCH /webhooks/") for a in fake.rest.asked if a.startswith("PATCH"))


async def test_a_preview_is_replaced_by_the_next_one_and_then_by_the_pictures(
    fake: FakeDiscord, surface: DiscordSurface, shown: tuple[Message, Address], done: Card
) -> None:
    message, address = shown
    for number in (1, 2):
        data = f"preview {number}".encode()
        await surface.edit(address, replace(RUNNING, preview=CardPreview(data, number)))
        assert [(a.filename, a.data, a.description) for a in message.attachments] == [
            (f"preview-7-{number}.jpg", data, "an apple")
        ]
        assert "▰" in message.text
    await surface.edit(address, done)
    assert [a.filename for a in message.attachments] == ["7-0.png", "7-1-1.png"]
    await surface.edit(address, replace(RUNNING, preview=CardPreview(b"again", 3)))
    await surface.edit(address, replace(RUNNING, tone=Tone.STOPPED, status="Cancelled.", final=True))
    assert message.attachments == []
    fake.channel.attach_files = False
    with pytest.raises(NoPictures):
        await surface.edit(address, replace(RUNNING, preview=CardPreview(b"refused", 4)))
    assert "Attach Files" not in message.text


@pytest.mark.parametrize("known", [True, False])
async def test_after_the_token_an_edit_goes_by_the_bot(
    fake: FakeDiscord, surface: DiscordSurface, shown: tuple[Message, Address], done: Card, *, known: bool
) -> None:
    message, address = shown
    fake.expire_tokens()
    if known:
        address = replace(address, expires=1.0)
    now = await surface.edit(address, done)
    assert now == replace(address, token=None, expires=None)
    assert len(message.attachments) == 2
    hooks = [a for a in fake.rest.asked if a.startswith("PATCH /webhooks/")]
    assert len(hooks) == (0 if known else 1)


async def test_an_ephemeral_message_is_gone_with_its_token(
    fake: FakeDiscord, ada: Person, scripted: Scripted, surface: DiscordSurface, done: Card
) -> None:
    message, address = await private(fake, ada, scripted)
    await surface.edit(address, done)
    assert message.edits == 1
    fake.expire_tokens()
    with pytest.raises(Gone):
        await surface.edit(address, done)
    assert not any(a.startswith("PATCH /channels") for a in fake.rest.asked)


async def test_a_deleted_message_is_gone(
    fake: FakeDiscord, surface: DiscordSurface, shown: tuple[Message, Address], done: Card
) -> None:
    message, address = shown
    fake.delete(message)
    with pytest.raises(Gone):
        await surface.edit(address, done)
    with pytest.raises(Gone):
        await surface.edit(replace(address, token=None, expires=None), done)
    with pytest.raises(Gone):
        await surface.edit(replace(address, message=None), done)


async def test_a_new_message_names_its_asker_and_comes_once(
    fake: FakeDiscord, ada: Person, surface: DiscordSurface, shown: tuple[Message, Address], done: Card
) -> None:
    message, address = shown
    fake.delete(message)
    fake.person("Bob")
    first = await surface.send(replace(address, message=None), done, "9:end")
    again = await surface.send(replace(address, message=None), done, "9:end")
    assert first == again
    (sent,) = ada.sees()
    assert str(sent.id) == first.message
    assert sent.pings == {str(ada.user.id)}
    assert sent.nonce == "9:end"
    assert (first.token, first.private) == (None, False)
    assert await surface.edit(first, RUNNING) == first


async def test_long_keys_become_short_nonces(
    ada: Person, surface: DiscordSurface, fake: FakeDiscord, done: Card
) -> None:
    address = Address("discord", str(fake.channel.id), user=str(ada.user.id))
    first = await surface.send(address, done, "k" * 100)
    assert await surface.send(address, done, "k" * 100) == first
    assert await surface.send(address, done, "k" * 101) != first


async def test_an_answer_that_was_made_before_a_kill_is_found(
    ada: Person, surface: DiscordSurface, shown: tuple[Message, Address], done: Card
) -> None:
    message, address = shown
    found = await surface.send(replace(address, message=None), done, "9:end")
    assert found == address
    assert ada.sees() == [message]
    assert len(message.attachments) == 2


async def test_a_private_card_is_sent_as_a_direct_message(
    fake: FakeDiscord, ada: Person, scripted: Scripted, surface: DiscordSurface, done: Card
) -> None:
    message, address = await private(fake, ada, scripted)
    fake.delete(message)
    sent = await surface.send(replace(address, message=None), replace(done, private=True), "9:end")
    assert fake.person("Bob").sees() == []
    (direct,) = ada.direct_messages()
    assert (sent.chat, sent.message, sent.private) == (str(direct.channel.id), str(direct.id), False)
    assert await surface.edit(sent, replace(done, private=True)) == sent


async def test_a_private_card_never_takes_the_place_of_a_public_answer(
    fake: FakeDiscord, ada: Person, surface: DiscordSurface, shown: tuple[Message, Address], done: Card
) -> None:
    message, address = shown
    await surface.send(replace(address, message=None), replace(done, private=True), "9:end")
    assert message.attachments == []
    assert len(ada.direct_messages()) == 1


async def test_who_takes_no_direct_messages_is_gone(
    fake: FakeDiscord, surface: DiscordSurface, service: DiscordService, done: Card
) -> None:
    shy = fake.person("Shy", takes_dms=False)
    address = Address("discord", str(fake.channel.id), user=str(shy.user.id), private=True)
    with pytest.raises(Gone):
        await surface.send(address, replace(done, private=True), "9:end")
    with pytest.raises(Gone):
        await surface.send(replace(address, user=None), replace(done, private=True), "9:end")


async def test_a_place_without_the_bot_is_answered_directly_after_the_token(
    fake: FakeDiscord, ada: Person, scripted: Scripted, surface: DiscordSurface, done: Card
) -> None:
    elsewhere = fake.elsewhere(ada.user)
    card = await (await ada.draw("an apple", channel=elsewhere)).answer()
    await fake.world.until(lambda: bool(scripted.bindings), "the message is known")
    address = scripted.bindings[0][1]
    await surface.edit(address, done)
    assert len(card.attachments) == 2
    fake.expire_tokens()
    with pytest.raises(Gone):
        await surface.edit(address, done)
    sent = await surface.send(replace(address, message=None), done, "9:end")
    (direct,) = ada.direct_messages()
    assert (sent.chat, sent.message) == (str(direct.channel.id), str(direct.id))


async def test_too_large_for_this_place_is_sent_smaller(
    fake: FakeDiscord,
    surface: DiscordSurface,
    shown: tuple[Message, Address],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message, address = shown
    large = picture(tmp_path, size=(256, 256), noise=True)
    fake.rest.file_bytes = 100_000
    monkeypatch.setattr("adapters.discord.pictures.SMALL_BYTES", 100_000)
    await surface.edit(address, Card(Tone.DONE, "Done.", job_id=7, pictures=(large,)))
    assert [a.filename for a in message.attachments] == ["7-0.webp"]
    fake.rest.file_bytes = 10
    await surface.edit(address, Card(Tone.DONE, "Done.", job_id=7, pictures=(large,)))
    assert message.attachments == []
    assert "too large" in message.text
    assert "Done" in message.text


@pytest.mark.parametrize("late", [False, True])
async def test_files_keep_to_the_limit_that_the_interaction_named(
    fake: FakeDiscord, ada: Person, scripted: Scripted, surface: DiscordSurface, tmp_path: Path, *, late: bool
) -> None:
    fake.channel.file_bytes = fake.rest.file_bytes = 100_000
    message = await (await ada.draw("an apple")).answer()
    await fake.world.until(lambda: bool(scripted.bindings), "the message is known")
    address = scripted.bindings[0][1]
    assert load_address(dump_address(address)).max_file == 100_000
    if late:
        fake.expire_tokens()
    large = picture(tmp_path, size=(256, 256), noise=True)
    assert large.path.stat().st_size > 100_000
    fake.rest.asked.clear()
    await surface.edit(address, Card(Tone.DONE, "Done.", job_id=7, pictures=(large,)))
    assert [a.filename for a in message.attachments] == ["7-0.webp"]
    # At once: no larger file was refused before. A direct message has Discord's general limit again.
    assert sum(name.startswith("PATCH") for name in fake.rest.asked) == 1 + late
    fake.rest.file_bytes = 10**9
    private = replace(address, token=None, message=None, private=True)
    await surface.send(private, Card(Tone.DONE, "Done.", job_id=7, pictures=(large,), private=True), "k")
    assert [a.filename for m in ada.direct_messages() for a in m.attachments] == ["7-0.png"]


@pytest.mark.parametrize("ended", [False, True])
async def test_a_channel_that_takes_no_files_gets_the_card_and_the_reason(
    fake: FakeDiscord,
    surface: DiscordSurface,
    shown: tuple[Message, Address],
    done: Card,
    caplog: pytest.LogCaptureFixture,
    *,
    ended: bool,
) -> None:
    message, address = shown
    fake.channel.attach_files = False
    if ended:
        fake.expire_tokens()
    await surface.edit(address, done)
    assert message.attachments == []
    assert "Done" in message.text
    assert "Attach Files" in message.text
    assert message.buttons == {}, "there is nothing to cancel any more"
    assert "code 50013" in caplog.text
    fake.channel.attach_files = True
    await surface.edit(address, done)
    assert len(message.attachments) == 2
    assert "Attach Files" not in message.text


async def test_a_new_card_where_no_files_are_taken_says_so_in_the_persons_language(
    fake: FakeDiscord, ada: Person, surface: DiscordSurface, done: Card
) -> None:
    fake.channel.attach_files = False
    address = Address("discord", str(fake.channel.id), user=str(ada.user.id))
    await surface.send(address, replace(done, locale="zh_CN"), "9:end")
    (sent,) = ada.sees()
    assert "附加文件" in sent.text
    assert sent.attachments == []
    await surface.send_files(address, done.pictures, originals=True)
    (direct,) = ada.direct_messages()
    assert len(direct.attachments) == 2, "files go where they are taken"


@pytest.mark.parametrize("ended", [False, True])
async def test_a_thread_that_was_archived_is_opened_again(
    fake: FakeDiscord, ada: Person, scripted: Scripted, surface: DiscordSurface, done: Card, *, ended: bool
) -> None:
    thread = fake.thread("still lifes")
    await fake.gateway.dispatch("THREAD_CREATE", thread.payload())
    message = await (await ada.draw("an apple", channel=thread)).answer()
    await fake.world.until(lambda: bool(scripted.bindings), "the message is known")
    address = scripted.bindings[0][1]
    thread.archived = True
    if ended:
        fake.expire_tokens()
    await surface.edit(address, done)
    assert len(message.attachments) == 2
    assert not thread.archived


async def test_a_thread_that_only_moderators_open_is_answered_directly(
    fake: FakeDiscord, ada: Person, scripted: Scripted, surface: DiscordSurface, done: Card
) -> None:
    thread = fake.thread("still lifes")
    await (await ada.draw("an apple", channel=thread)).answer()
    await fake.world.until(lambda: bool(scripted.bindings), "the message is known")
    address = scripted.bindings[0][1]
    thread.archived = thread.locked = True
    with pytest.raises(Gone):
        await surface.edit(address, done)
    await surface.send(replace(address, message=None), done, "9:end")
    (direct,) = ada.direct_messages()
    assert len(direct.attachments) == 2
    assert "no longer write" in direct.text
    assert direct.pings == set()


async def test_a_channel_that_was_lost_after_the_token_is_answered_directly(
    fake: FakeDiscord, ada: Person, surface: DiscordSurface, shown: tuple[Message, Address], done: Card
) -> None:
    _, address = shown
    fake.expire_tokens()
    fake.channel.bot_access = False
    with pytest.raises(Gone):
        await surface.edit(address, done)
    first = await surface.send(replace(address, message=None), done, "9:end")
    assert await surface.send(replace(address, message=None), done, "9:end") == first
    (direct,) = ada.direct_messages()
    assert (first.chat, first.user) == (str(direct.channel.id), str(ada.user.id))
    assert len(direct.attachments) == 2
    assert await surface.edit(first, done) == first


async def test_a_card_that_is_refused_in_every_form_but_words_is_words(
    fake: FakeDiscord, surface: DiscordSurface, shown: tuple[Message, Address], done: Card
) -> None:
    message, address = shown
    refusals = [(400, 50035), (400, 50035)]
    fake.rest.refuse = lambda name: refusals.pop() if name.startswith("PATCH") and refusals else None
    await surface.edit(address, done)
    assert [c["type"] for c in message.components] == [TEXT_DISPLAY]
    assert "Done" in message.text
    assert "did not accept the pictures" in message.text
    assert "apple" not in message.text, "what people wrote may be what was refused"
    await surface.edit(address, done)
    assert "an apple" in message.text
    assert len(message.attachments) == 2


@pytest.mark.parametrize("ended", [False, True])
async def test_a_card_of_the_form_before_components_is_converted(
    fake: FakeDiscord, surface: DiscordSurface, shown: tuple[Message, Address], done: Card, *, ended: bool
) -> None:
    message, address = shown
    message.flags, message.components = 0, []
    message.content, message.embeds = f"<@{address.user}>", [{"description": "Drawing.", "footer": {"text": "Ada"}}]
    if ended:
        fake.expire_tokens()
    await surface.edit(address, done)
    assert message.has_layout
    assert (message.content, message.embeds) == ("", [])
    assert "Drawing" not in message.text
    assert [c["type"] for c in nested(message.components)].count(MEDIA_GALLERY) == 1


async def test_a_late_card_keeps_its_mention_and_notifies_once(
    fake: FakeDiscord, ada: Person, surface: DiscordSurface, shown: tuple[Message, Address], done: Card
) -> None:
    fake.expire_tokens()
    others = replace(done, prompt="@everyone <@&1> look", asker="@here")
    address = await surface.send(replace(shown[1], message=None), others, "9:end")
    sent = ada.sees()[-1]
    assert sent.pings == {str(ada.user.id)}
    assert sent.text.endswith(f"-# <@{ada.user.id}>")
    await surface.edit(address, done)
    assert sent.text.endswith(f"-# <@{ada.user.id}>")


@pytest.mark.parametrize("ended", [False, True])
async def test_files_that_arrived_are_not_sent_again_after_a_server_error(
    fake: FakeDiscord,
    ada: Person,
    surface: DiscordSurface,
    shown: tuple[Message, Address],
    done: Card,
    monkeypatch: pytest.MonkeyPatch,
    *,
    ended: bool,
) -> None:
    monkeypatch.setattr("discord.http.asyncio", without_sleep())
    monkeypatch.setattr("discord.webhook.async_.asyncio", without_sleep())
    _, address = shown
    if ended:
        fake.expire_tokens()
    carried = "POST /channels" if ended else "POST /webhooks"
    fake.rest.spoil = lambda name: 502 if name.startswith(carried) else None
    with pytest.raises(Unclear):
        await surface.send_files(address, done.pictures, originals=True)
    assert len(ada.sees()) == 2


async def test_a_lost_picture_does_not_lose_the_card(
    surface: DiscordSurface, shown: tuple[Message, Address], done: Card
) -> None:
    message, address = shown
    done.pictures[0].path.unlink()
    await surface.edit(address, done)
    assert "Done" in message.text
    assert "can't be read" in message.text.replace("\\", "")


async def test_files_go_with_the_card(
    fake: FakeDiscord,
    ada: Person,
    scripted: Scripted,
    surface: DiscordSurface,
    shown: tuple[Message, Address],
    done: Card,
) -> None:
    _, address = shown
    await surface.send_files(address, done.pictures, originals=True)
    assert [a.data for a in ada.sees()[-1].attachments] == [p.path.read_bytes() for p in done.pictures]
    fake.expire_tokens()
    await surface.send_files(address, done.pictures, originals=False)
    assert ada.sees()[-1].token is None
    await surface.send_files(replace(address, private=True), done.pictures, originals=False)
    assert len(ada.direct_messages()) == 1


async def test_files_whose_answer_is_lost_are_unclear(
    fake: FakeDiscord, surface: DiscordSurface, shown: tuple[Message, Address], done: Card
) -> None:
    _, address = shown
    fake.rest.spoil = lambda name: 0 if name.startswith("POST") else None
    with pytest.raises(Unclear):
        await surface.send_files(replace(address, token=None), done.pictures, originals=True)


async def test_a_broken_connection_is_busy(
    fake: FakeDiscord, surface: DiscordSurface, shown: tuple[Message, Address], done: Card
) -> None:
    _, address = shown
    fake.rest.spoil = lambda _name: 0
    with pytest.raises(RetryLater) as busy:
        await surface.edit(address, done)
    assert busy.value.unclear
    with pytest.raises(RetryLater):
        await surface.send(replace(address, token=None, message=None), done, "9:end")


async def test_edits_stay_under_discords_limit_by_waiting(
    fake: FakeDiscord, surface: DiscordSurface, shown: tuple[Message, Address]
) -> None:
    message, address = shown
    for step in range(6):
        await surface.edit(address, replace(RUNNING, progress=step / 6))
    assert message.edits == 6


async def test_without_a_connection_everything_waits(done: Card) -> None:
    surface = DiscordSurface(lambda: (PROFILE,), Scripted().text)
    with pytest.raises(RetryLater):
        await surface.send(Address("discord", "1"), done, "9:end")


def test_what_it_can_do() -> None:
    able = DiscordSurface(lambda: (PROFILE,), Scripted().text).abilities()
    assert able.safe_resend
    assert able.private_send
    assert able.edit_every >= 1.0


async def test_a_cover_comes_with_an_edit_and_with_a_new_message(
    surface: DiscordSurface, fake: FakeDiscord, shown: tuple[Message, Address], done: Card
) -> None:
    message, address = shown
    await surface.edit(address, done)
    covered = replace(done, pictures=(done.pictures[0], replace(done.pictures[1], spoiler=True)))
    await surface.edit(address, covered)
    assert [a.filename for a in message.attachments] == ["7-0.png", "SPOILER_7-1-1.png"]
    new = await surface.send(Address("discord", address.chat), replace(covered, job_id=8), "n")
    sent = next(m for m in fake.world.messages.values() if str(m.id) == new.message)
    assert [a.filename for a in sent.attachments] == ["7-0.png", "SPOILER_7-1-1.png"]
