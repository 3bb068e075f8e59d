"""One suite for every Surface: whoever keeps these promises can be delivered to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from bot.core.cards import Button, ButtonPress, Card, Fact, Tone
from bot.core.pictures import PictureFile
from bot.core.ports import Gone, RetryLater, Unclear
from tests.contract.surfaces import FACTORIES, Rig

WAITING = Card(
    Tone.WAITING,
    "Next in line.",
    prompt="an apple",
    asker="Ann",
    job_id=7,
    buttons=((Button("Cancel", ButtonPress("cancel", 7), danger=True),),),
)
RUNNING = replace(WAITING, tone=Tone.RUNNING, status="Drawing.", progress=0.5)


@pytest.fixture(params=list(FACTORIES))
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with FACTORIES[request.param](tmp_path) as one:
        yield one


@pytest.fixture
def files(tmp_path: Path) -> tuple[PictureFile, ...]:
    """Four stored pictures."""
    made = []
    for n in range(4):
        path = tmp_path / f"7-{n}.png"
        Image.new("RGB", (64, 64), (60 * n, 30, 30)).save(path)
        made.append(PictureFile(path, f"easel-7-{n + 1}.png", "image/png", 64, 64, alt="an apple"))
    return tuple(made)


@pytest.fixture
def done(rig: Rig, files: tuple[PictureFile, ...]) -> Card:
    """A finished card with as many pictures as it has room for."""
    buttons = ((Button("Again", ButtonPress("reroll", 7)), Button("Seed 1", ButtonPress("seed", 7, 0))),)
    pictures = files[: rig.surface.abilities().pictures_in_card]
    return Card(
        Tone.DONE,
        "Done.",
        "an apple",
        "Ann",
        7,
        facts=(Fact("Seed", "7"),),
        pictures=pictures,
        buttons=buttons,
        final=True,
    )


async def test_its_abilities_make_sense(rig: Rig) -> None:
    able = rig.surface.abilities()
    assert able.edit_every > 0
    assert able.pictures_in_card >= 1


async def test_a_card_is_seen_once_with_what_it_says(rig: Rig) -> None:
    address = await rig.surface.send(rig.address(), WAITING, "1:now")
    assert address.message is not None
    assert address.platform == rig.address().platform
    (view,) = rig.seen()
    assert "Next in line." in view.text
    assert "an apple" in view.text
    assert view.buttons == ("easel:cancel:7",)


async def test_an_edit_changes_the_message_and_repeating_it_changes_nothing(rig: Rig, done: Card) -> None:
    address = await rig.surface.send(rig.address(), WAITING, "1:now")
    rig.later()
    address = await rig.surface.edit(address, RUNNING)
    (view,) = rig.seen()
    assert "Drawing." in view.text
    rig.later()
    address = await rig.surface.edit(address, done)
    (view,) = rig.seen()
    assert "Done." in view.text
    assert "Drawing." not in view.text
    assert view.buttons == ("easel:reroll:7", "easel:seed:7:0")
    assert len(view.files) == len(done.pictures)
    rig.later()
    assert await rig.surface.edit(address, done) == address
    (again,) = rig.seen()
    assert (again.text, again.buttons, len(again.files)) == (view.text, view.buttons, len(view.files))


async def test_a_finished_card_can_be_sent_anew(rig: Rig, done: Card) -> None:
    await rig.surface.send(rig.address(), done, "1:end")
    (view,) = rig.seen()
    assert len(view.files) == len(done.pictures)
    assert "Seed" in view.text


async def test_two_keys_are_two_messages(rig: Rig) -> None:
    await rig.surface.send(rig.address(), WAITING, "1:now")
    rig.later()
    await rig.surface.send(rig.address(), WAITING, "2:now")
    assert len(rig.seen()) == 2


async def test_one_key_is_one_message_where_resending_is_safe(rig: Rig, done: Card) -> None:
    if not rig.surface.abilities().safe_resend:
        pytest.skip("it does not promise that")
    first = await rig.surface.send(rig.address(), done, "1:end")
    assert await rig.surface.send(rig.address(), done, "1:end") == first
    assert len(rig.seen()) == 1


async def test_a_deleted_message_is_gone(rig: Rig, done: Card) -> None:
    address = await rig.surface.send(rig.address(), WAITING, "1:now")
    rig.delete(address)
    rig.later()
    with pytest.raises(Gone):
        await rig.surface.edit(address, done)


async def test_a_chat_that_is_shut_is_gone(rig: Rig, done: Card, files: tuple[PictureFile, ...]) -> None:
    rig.shut()
    with pytest.raises(Gone):
        await rig.surface.send(rig.address(), done, "1:end")
    rig.later()
    with pytest.raises(Gone):
        await rig.surface.send_files(rig.address(), files, originals=False)
    assert rig.seen() == []


async def test_a_limit_is_busy_and_later_it_works(rig: Rig, done: Card) -> None:
    address = await rig.surface.send(rig.address(), WAITING, "1:now")
    rig.later()
    rig.limit()
    with pytest.raises(RetryLater) as busy:
        await rig.surface.edit(address, done)
    assert busy.value.seconds > 0
    rig.mend()
    await rig.surface.edit(address, done)
    (view,) = rig.seen()
    assert "Done." in view.text


async def test_an_edit_without_an_answer_may_be_repeated(rig: Rig, done: Card) -> None:
    address = await rig.surface.send(rig.address(), WAITING, "1:now")
    rig.later()
    rig.cut()
    with pytest.raises(RetryLater):
        await rig.surface.edit(address, done)
    rig.mend()
    await rig.surface.edit(address, done)
    (view,) = rig.seen()
    assert len(view.files) == len(done.pictures)


async def test_a_send_without_an_answer_is_unclear_or_may_be_repeated(rig: Rig, done: Card) -> None:
    rig.cut()
    with pytest.raises((RetryLater, Unclear)) as caught:
        await rig.surface.send(rig.address(), done, "1:end")
    rig.mend()
    assert len(rig.seen()) == 1, "it has arrived"
    if not rig.surface.abilities().safe_resend:
        assert caught.type is Unclear
        return
    await rig.surface.send(rig.address(), done, "1:end")
    assert len(rig.seen()) == 1


async def test_files_without_an_answer_are_unclear(rig: Rig, files: tuple[PictureFile, ...]) -> None:
    rig.cut()
    with pytest.raises(Unclear):
        await rig.surface.send_files(rig.address(), files[:2], originals=False)


@pytest.mark.parametrize("count", [1, 4])
async def test_an_album_shows_every_picture(rig: Rig, files: tuple[PictureFile, ...], count: int) -> None:
    card = await rig.surface.send(rig.address(), WAITING, "1:now")
    rig.later()
    await rig.surface.send_files(card, files[:count], originals=False)
    assert sum(len(view.files) for view in rig.seen()[1:]) == count


@pytest.mark.parametrize("count", [1, 4])
async def test_originals_are_the_very_bytes(rig: Rig, files: tuple[PictureFile, ...], count: int) -> None:
    await rig.surface.send_files(rig.address(), files[:count], originals=True)
    assert [data for view in rig.seen() for data in view.files] == [f.path.read_bytes() for f in files[:count]]


FORGOTTEN = Card(Tone.STOPPED, "Forgotten.", job_id=7, final=True)


async def test_a_message_is_taken_away(rig: Rig, done: Card) -> None:
    address = await rig.surface.send(rig.address(), done, "1:end")
    rig.later()
    await rig.surface.remove(address, FORGOTTEN)
    assert rig.seen() == []
    rig.later()
    with pytest.raises(Gone):
        await rig.surface.remove(address, FORGOTTEN)


@pytest.mark.parametrize("final", [False, True])
async def test_nothing_is_left_of_a_message_that_is_too_old_to_delete(rig: Rig, done: Card, final: bool) -> None:
    address = await rig.surface.send(rig.address(), done if final else WAITING, "1:end")
    before = [data for view in rig.seen() for data in view.files]
    for _ in range(2):
        rig.later()
        rig.age(address)
        try:
            await rig.surface.remove(address, FORGOTTEN)
        except Gone:
            assert rig.seen() == []
    for view in rig.seen():
        assert "Forgotten." in view.text
        assert "apple" not in view.text
        assert view.buttons == ()
        assert not set(view.files) & set(before)


@pytest.mark.parametrize("originals", [False, True])
async def test_the_messages_of_files_are_named_and_taken_away(
    rig: Rig, files: tuple[PictureFile, ...], originals: bool
) -> None:
    ids = await rig.surface.send_files(rig.address(), files[:2], originals=originals)
    before = {data for view in rig.seen() for data in view.files}
    for one in ids:
        rig.later()
        address = replace(rig.address(), message=one)
        rig.age(address)
        await rig.surface.remove(address, FORGOTTEN)
    assert not {data for view in rig.seen() for data in view.files} & before


async def test_a_limit_keeps_nobody_from_taking_it_away_later(rig: Rig) -> None:
    address = await rig.surface.send(rig.address(), WAITING, "1:now")
    rig.later()
    rig.limit()
    with pytest.raises(RetryLater):
        await rig.surface.remove(address, FORGOTTEN)
    rig.mend()
    await rig.surface.remove(address, FORGOTTEN)
    assert rig.seen() == []


async def test_any_file_is_sent_to_one_person_alone(rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK\5\6" + bytes(18))
    parcel = PictureFile(path, "easel-pictures-1.zip", "application/zip", 0, 0)
    await rig.surface.send_files(replace(rig.address(), private=True), (parcel,), originals=True)
    assert rig.seen() == []
    (view,) = rig.alone()
    assert view.files == (path.read_bytes(),)


async def test_a_private_card_is_seen_by_the_person_alone(rig: Rig, done: Card) -> None:
    private = replace(done, private=True)
    if not rig.surface.abilities().private_send:
        with pytest.raises(Gone):
            await rig.surface.send(rig.address(), private, "1:end")
    else:
        address = await rig.surface.send(rig.address(), private, "1:end")
        assert len(rig.alone()) == 1
        assert address.chat != rig.address().chat, "its row must not make its buttons count in the channel"
        rig.later()
        await rig.surface.edit(address, private)
        rig.later()
        await rig.surface.send_files(address, private.pictures, originals=False)
        assert len(rig.alone()) > 1
    assert rig.seen() == []


async def test_a_private_card_that_nobody_can_be_given_is_gone(rig: Rig, done: Card) -> None:
    rig.shut()
    with pytest.raises(Gone):
        await rig.surface.send(rig.address(), replace(done, private=True), "1:end")
    assert (rig.seen(), rig.alone()) == ([], [])


@pytest.mark.parametrize(
    "prompt",
    [
        "@everyone @here <@1> <@&2> @ann_the_first",
        "<b>bold</b> &amp; [link](https://example.com) `code` ```block``` *x* _y_ ||z||",
        "夜空中的一只猫 🐈‍⬛ \u202eright to left\u202c",
        "long " * 1000,
    ],
)
async def test_what_people_type_is_shown_and_does_nothing(rig: Rig, done: Card, prompt: str) -> None:
    address = await rig.surface.send(rig.address(), replace(WAITING, prompt=prompt, asker=prompt[:30]), "1:now")
    rig.later()
    await rig.surface.edit(address, replace(done, prompt=prompt))
    (view,) = rig.seen()
    assert view.pings == frozenset()
    assert "Done." in view.text
