"""Previews on the cards of chats, from the engine to the message."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from PIL import Image

from bot.core.cards import Card
from bot.core.jobs import Job
from bot.delivery.previews import MOST_BYTES, SIDE
from engine.contract import SafetyVerdict
from tests.fakes.engine import FakeEngine
from tests.fakes.moderator import FakeModerator
from tests.fakes.surface import ABLE_SAFE, Call
from tests.flow.conftest import Make
from tests.flow.harness import CHAT, Bot

EVERY = 4.0
ABLE = replace(ABLE_SAFE, preview_every=EVERY)
SLOW, QUICK = 3.0, 0.25
"""Seconds of a step; a picture has eight."""


class Watched:
    """A bot whose engine takes its time by the bot's clock, and the edits that it tries."""

    bot: Bot

    def __init__(self, seconds: float) -> None:
        self.engine = FakeEngine(pause=lambda: self.bot.clock.sleep(seconds))
        self.edits: list[tuple[float, Card]] = []

    async def drawn(self, count: str = "1") -> Job:
        """Draw, with the edits recorded, until the job is delivered and nothing is left to do."""
        self.bot.surface.on_edit = lambda card: self.edits.append((self.bot.clock.monotonic(), card))
        job = await self.bot.delivered((await self.bot.ask(count=count)).id)
        await self.bot.quiet()
        return job

    def previews(self) -> dict[int, float]:
        """When each preview was first shown, by its number."""
        found: dict[int, float] = {}
        for at, card in self.edits:
            if card.preview is not None:
                found.setdefault(card.preview.number, at)
        return found


async def watched(make: Make, seconds: float, change: Callable[[Bot], object] = lambda _bot: None) -> Watched:
    one = Watched(seconds)
    one.bot = await make(ABLE, one.engine)
    change(one.bot)
    return one


@pytest.mark.parametrize("count", [1, 4])
async def test_a_long_drawing_shows_previews_until_its_pictures_are_there(make: Make, count: int) -> None:
    one = await watched(make, SLOW)
    job = await one.drawn(count=str(count))
    times = list(one.previews().values())
    assert len(times) >= 2
    assert all(later - earlier >= EVERY for earlier, later in pairwise(times)), times
    for _, card in one.edits:
        if card.preview is not None:
            assert not card.final
            assert len(card.preview.data) <= MOST_BYTES
            with Image.open(io.BytesIO(card.preview.data)) as picture:
                assert (picture.format, picture.size) == ("JPEG", (SIDE, SIDE))
    finals = [n for n, (_, card) in enumerate(one.edits) if card.final]
    assert finals == [len(one.edits) - 1], "the finished card is the last edit"
    (seen,) = bot_cards(one.bot, job)
    assert (seen.preview, len(seen.pictures)) == (None, count)
    assert one.engine.previewed == set(), "the engine makes no more than are shown"


def bot_cards(bot: Bot, job: Job) -> list[Card]:
    return [seen.card for seen in bot.chats.shown(job.id) if seen.card is not None]


async def test_a_card_with_a_preview_is_edited_as_rarely_as_previews_come(make: Make) -> None:
    one = await watched(make, SLOW)
    await one.drawn(count="4")
    # At full progress the card says so at once.
    times = [at for at, card in one.edits if card.preview is not None and card.progress != 1]
    assert all(later - earlier >= EVERY for earlier, later in pairwise(times)), times


async def test_a_short_drawing_shows_none(make: Make) -> None:
    one = await watched(make, QUICK)
    await one.drawn()
    assert one.edits
    assert one.previews() == {}


async def test_where_a_classifier_judges_pictures_none_is_shown(make: Make) -> None:
    one = await watched(make, SLOW, lambda bot: setattr(bot, "moderator", FakeModerator([SafetyVerdict.SAFE])))
    await one.bot.restart()
    job = await one.drawn()
    assert one.previews() == {}
    assert [len(card.pictures) for card in bot_cards(one.bot, job)] == [1]


async def test_a_chat_that_takes_no_preview_is_asked_once_and_still_gets_the_picture(make: Make) -> None:
    one = await watched(make, SLOW, lambda bot: bot.chats.bare.add(CHAT))
    one.bot.surface.on_edit = lambda card: one.edits.append((0.0, card))
    job = await one.bot.ask()
    await one.bot.until(one.previews)
    tried = len(one.edits)
    await one.bot.until(lambda: len(one.edits) > tried)
    one.bot.chats.bare.clear()
    await one.bot.delivered(job.id)
    assert sum(card.preview is not None for _, card in one.edits) == 1
    assert one.bot.chats.pictures(job.id) == [f"easel-{job.id}-1.png"]
    assert one.bot.surface.calls.count(Call.FINAL) == 1


async def test_a_cancelled_drawing_keeps_no_preview(make: Make) -> None:
    one = await watched(make, SLOW)
    one.bot.surface.on_edit = lambda card: one.edits.append((0.0, card))
    job = await one.bot.ask()
    await one.bot.until(lambda: any(card.preview for card in bot_cards(one.bot, job)))
    await one.bot.cancel(job.id)
    await one.bot.until(lambda: all(card.final for card in bot_cards(one.bot, job)))
    await one.bot.quiet()
    (card,) = bot_cards(one.bot, job)
    assert card.preview is None
