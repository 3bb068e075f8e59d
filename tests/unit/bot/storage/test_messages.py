"""Rows of what is shown where."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.core.cards import Button, ButtonPress, Card, Fact, Tone
from bot.core.jobs import JobState
from bot.core.messages import Address, MessageKind, MessageState
from bot.core.pictures import PictureFile
from bot.storage import jobs, messages
from bot.storage.database import Database
from bot.storage.sql import dump_address, dump_card, load_address, load_card
from tests.fakes.job_rows import add_job

TOKEN = "interaction-token"
ADDRESS = Address("discord", "5", thread="6", reply_to="7", user="8", token=TOKEN, expires=12.5, private=True)
CARD = Card(
    Tone.DONE,
    "Done.",
    prompt="夜空中的一只猫 <b>",
    asker="Ada",
    job_id=3,
    progress=0.5,
    notes=("a", "b"),
    facts=(Fact("Seed", str(2**63 - 1)),),
    pictures=(PictureFile(Path("/data/1-0.png"), "easel-1-1.png", "image/png", 192, 128, "a cat"),),
    buttons=(
        (Button("Again", ButtonPress("reroll", 3)), Button("7", ButtonPress("seed", 3, 0), danger=True)),
        (),
    ),
    private=True,
    final=True,
)


def test_cards_and_addresses_come_back_as_they_were() -> None:
    assert load_card(dump_card(CARD)) == CARD
    assert load_card(dump_card(Card(Tone.INFO, ""))) == Card(Tone.INFO, "")
    assert load_address(dump_address(ADDRESS)) == ADDRESS
    assert load_address(dump_address(Address("telegram", "-1"))) == Address("telegram", "-1")


def test_the_token_is_in_no_repr() -> None:
    assert TOKEN not in repr(ADDRESS)


async def test_one_event_is_one_message(db: Database) -> None:
    async with db.write() as tx:
        job_id = await add_job(tx)
        first = await messages.add_card(tx, "e", job_id, ADDRESS, MessageState.WANTED)
        again = await messages.add_notice(tx, "e", Address("web", "x"), dump_card(CARD))
        assert first == again
        (message,) = await messages.of_job(tx, job_id)
    assert (message.kind, message.state, message.address) == (MessageKind.CARD, MessageState.WANTED, ADDRESS)
    async with db.read() as tx:
        assert await messages.by_event(tx, "e") == message
        assert await messages.by_event(tx, "other") is None
        assert await messages.get(tx, first) == message


async def test_an_answer_is_bound_once(db: Database) -> None:
    there = Address("discord", "5", message="99")
    async with db.write() as tx:
        job_id = await add_job(tx)
        await messages.add_card(tx, "e", job_id, ADDRESS, MessageState.OPENING)
        assert not await messages.bind(tx, job_id, "other", there)
        assert not await messages.bind(tx, job_id + 1, "e", there)
        assert await messages.bind(tx, job_id, "e", there)
        assert not await messages.bind(tx, job_id, "e", there)
        assert not await messages.unbind(tx, job_id, "e")
        (message,) = await messages.of_job(tx, job_id)
    assert (message.state, message.address) == (MessageState.SHOWN, there)


async def test_an_answer_that_failed_is_wanted(db: Database) -> None:
    async with db.write() as tx:
        job_id = await add_job(tx)
        await messages.add_card(tx, "e", job_id, ADDRESS, MessageState.OPENING)
        assert await messages.wanted(tx) == ()
        assert await messages.unbind(tx, job_id, "e")
        assert not await messages.unbind(tx, job_id, "e")
        (message,) = await messages.wanted(tx)
    assert message.job_id == job_id


async def test_at_start_what_was_to_be_answered_is_wanted(db: Database) -> None:
    async with db.write() as tx:
        job_id = await add_job(tx)
        await messages.add_card(tx, "e", job_id, ADDRESS, MessageState.OPENING)
        assert await messages.reset_opening(tx) == 1
        assert await messages.reset_opening(tx) == 0
        assert [m.job_id for m in await messages.wanted(tx)] == [job_id]


async def test_an_intent_is_written_once_and_found_again(db: Database) -> None:
    async with db.write() as tx:
        job_id = await add_job(tx)
        message_id = await messages.add_card(tx, "e", job_id, ADDRESS, MessageState.WANTED)
        assert await messages.move(tx, message_id, MessageState.WANTED, MessageState.SENDING)
        assert not await messages.move(tx, message_id, MessageState.WANTED, MessageState.SENDING)
        assert [m.id for m in await messages.sending(tx)] == [message_id]
        assert await messages.wanted(tx) == ()
        assert await messages.mark_shown(tx, message_id, Address("discord", "dm", message="3"), "final:x")
        assert await messages.sending(tx) == ()
        message = await messages.get(tx, message_id)
    assert message is not None
    assert (message.state, message.address.chat, message.shown) == (MessageState.SHOWN, "dm", "final:x")


async def test_a_shown_message_may_be_wanted_again(db: Database) -> None:
    async with db.write() as tx:
        job_id = await add_job(tx)
        message_id = await messages.add_card(tx, "e", job_id, ADDRESS, MessageState.WANTED)
        assert not await messages.resend(tx, message_id, ADDRESS)
        await messages.mark_shown(tx, message_id, Address("discord", "5", message="3"), "final:x")
        assert await messages.resend(tx, message_id, Address("discord", "5"))
        (message,) = await messages.wanted(tx)
    assert (message.address.message, message.shown) == (None, "")


@pytest.mark.parametrize(
    ("state", "shown", "found"),
    [
        (JobState.QUEUED, "abc", False),
        (JobState.CANCELLED, "abc", True),
        (JobState.FAILED, "", True),
        (JobState.CANCELLED, "final:abc", False),
    ],
)
async def test_cards_that_did_not_say_their_last(db: Database, state: JobState, shown: str, found: bool) -> None:
    async with db.write() as tx:
        job_id = await add_job(tx)
        message_id = await messages.add_card(tx, "e", job_id, ADDRESS, MessageState.WANTED)
        await messages.mark_shown(tx, message_id, Address("discord", "5", message="3"), shown)
        if state is not JobState.QUEUED:
            assert await jobs.move(tx, job_id, JobState.QUEUED, state, now=1.0)
        assert [m.id for m in await messages.stale_cards(tx)] == ([message_id] if found else [])


async def test_where_a_job_was_shown(db: Database) -> None:
    async with db.write() as tx:
        job_id = await add_job(tx)
        other = await add_job(tx, event="test:2")
        message_id = await messages.add_card(tx, "e", job_id, Address("chat", "1", user="9"), MessageState.WANTED)
        assert await messages.was_shown_in(tx, job_id, "chat", "1")
        assert not await messages.was_shown_in(tx, job_id, "chat", "2")
        assert not await messages.was_shown_in(tx, job_id, "other", "1")
        assert not await messages.was_shown_in(tx, other, "chat", "1")
        # A private card went to the person alone: its buttons count there, and not in the channel.
        await messages.mark_shown(tx, message_id, Address("chat", "dm9", message="3"), "x")
        assert await messages.was_shown_in(tx, job_id, "chat", "dm9")
        assert not await messages.was_shown_in(tx, job_id, "chat", "1")


async def test_files_name_their_pictures(db: Database) -> None:
    async with db.write() as tx:
        job_id = await add_job(tx)
        address = Address("chat", "1")
        await messages.add_files(tx, "some", job_id, address, MessageKind.ALBUM, indexes=(1, 3))
        await messages.add_files(tx, "all", job_id, address, MessageKind.DOCUMENT)
        some, everything = await messages.of_job(tx, job_id)
    assert (some.kind, messages.indexes_of(some)) == (MessageKind.ALBUM, (1, 3))
    assert (everything.kind, messages.indexes_of(everything)) == (MessageKind.DOCUMENT, ())
