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
from bot.delivery.store import ENDED
from engine.contract import SafetyVerdict
from tests.fakes.engine import FakeEngine, Pause
from tests.fakes.moderator import FakeModerator
from tests.fakes.step_gate import StepGate
from tests.fakes.surface import ABLE_SAFE, Call
from tests.flow.conftest import Make
from tests.flow.harness import CHAT, Bot

EVERY = 4.0
ABLE = replace(ABLE_SAFE, preview_every=EVERY)
STEP = 3.0
"""Seconds of a step, at least; a picture has eight."""


class Watched:
    """A bot that takes one step after the other, and the edits that it tries."""

    bot: Bot

    def __init__(self, pause: Pause | None = None) -> None:
        self.gate = StepGate()
        self.engine = FakeEngine(pause=pause or self.gate)
        self.edits: list[tuple[float, Card]] = []

    async def ask(self, count: str = "1") -> Job:
        """Ask for pictures; edits are recorded from now on."""
        self.bot.surface.on_edit = lambda card: self.edits.append((self.bot.clock.monotonic(), card))
        return await self.bot.ask(count=count)

    async def step(self, job: Job) -> bool:
        """Let one step pass and wait until the chat is up to date; returns whether the job goes on."""
        self.gate.let(1)
        self.bot.clock.advance(STEP)
        await self.bot.quiet()
        return (await self.bot.job(job.id)).state not in ENDED

    async def drawn(self, count: str = "1") -> Job:
        """Draw to the end."""
        job = await self.ask(count)
        while await self.step(job):
            pass
        await self.bot.delivered(job.id)
        await self.bot.quiet()
        return job

    def previews(self) -> dict[int, float]:
        """When each preview was first shown, by its number."""
        found: dict[int, float] = {}
        for at, card in self.edits:
            if card.preview is not None:
                found.setdefault(card.preview.number, at)
        return found

    def card(self, job: Job) -> Card:
        """Return the card as people see it."""
        (seen,) = self.bot.chats.shown(job.id)
        assert seen.card is not None
        return seen.card


async def watched(make: Make, change: Callable[[Bot], object] = lambda _bot: None) -> Watched:
    one = Watched()
    one.bot = await make(ABLE, one.engine)
    change(one.bot)
    return one


@pytest.mark.parametrize("count", [1, 4])
async def test_a_long_drawing_shows_previews_until_its_pictures_are_there(make: Make, count: int) -> None:
    one = await watched(make)
    job = await one.drawn(str(count))
    times = list(one.previews().values())
    assert len(times) >= 2
    assert all(later - earlier >= EVERY for earlier, later in pairwise(times)), times
    for _, card in one.edits:
        if card.preview is not None:
            assert not card.final
            assert len(card.preview.data) <= MOST_BYTES
            with Image.open(io.BytesIO(card.preview.data)) as picture:
                assert (picture.format, picture.size) == ("JPEG", (SIDE, SIDE))
    # A card with a preview is edited as rarely as previews come; full progress is shown at once.
    edited = [at for at, card in one.edits if card.preview is not None and card.progress != 1]
    assert all(later - earlier >= EVERY for earlier, later in pairwise(edited)), edited
    assert [n for n, (_, card) in enumerate(one.edits) if card.final] == [len(one.edits) - 1], "the last edit"
    assert (one.card(job).preview, len(one.card(job).pictures)) == (None, count)
    assert one.engine.previewed == set(), "the engine makes no more than are shown"


async def test_a_short_drawing_shows_none(make: Make) -> None:
    one = Watched(lambda: one.bot.clock.sleep(0.25))
    one.bot = await make(ABLE, one.engine)
    job = await one.ask()
    await one.bot.delivered(job.id)
    assert one.edits
    assert one.previews() == {}


async def test_where_a_classifier_judges_pictures_none_is_shown(make: Make) -> None:
    one = await watched(make, lambda bot: setattr(bot, "moderator", FakeModerator([SafetyVerdict.SAFE])))
    await one.bot.restart()
    job = await one.drawn()
    assert one.previews() == {}
    assert len(one.card(job).pictures) == 1


async def test_a_chat_that_takes_no_preview_is_asked_once_and_still_gets_the_picture(make: Make) -> None:
    one = await watched(make, lambda bot: bot.chats.bare.add(CHAT))
    job = await one.ask()
    while not one.previews():
        assert await one.step(job)
    tried = len(one.edits)
    assert await one.step(job)
    assert len(one.edits) > tried
    one.bot.chats.bare.clear()
    while await one.step(job):
        pass
    await one.bot.delivered(job.id)
    assert sum(card.preview is not None for _, card in one.edits) == 1
    assert one.bot.chats.pictures(job.id) == [f"easel-{job.id}-1.png"]
    assert one.bot.surface.calls.count(Call.FINAL) == 1


async def test_a_cancelled_drawing_keeps_no_preview(make: Make) -> None:
    one = await watched(make)
    job = await one.ask()
    while not one.previews():
        assert await one.step(job)
    assert one.card(job).preview is not None
    await one.bot.cancel(job.id)
    await one.bot.quiet()
    assert (one.card(job).preview, one.card(job).final) == (None, True)
