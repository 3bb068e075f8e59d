"""What the demo model knows is told once to each person, with their first picture, whenever the service is killed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bot.cards.i18n import text
from bot.core.cards import ButtonPress
from bot.core.errors import Unavailable
from bot.core.messages import EventRef
from bot.core.people import Place
from bot.privacy.deletion import forget
from bot.privacy.store import exports
from bot.quotas.store import ledger
from engine.families.z_image.spec import demo, z_image_turbo
from tests.fakes.engine import FakeEngine
from tests.flow.conftest import Make
from tests.flow.harness import CHAT, Bot

SAID = text("en", "note.demo")


class Failing:
    """A part of a transaction that fails the first time."""

    def __init__(self, part: Callable[..., Awaitable[None]]) -> None:
        self.part = part
        self.failed = False

    async def __call__(self, *values: Any, **named: Any) -> None:
        if self.failed:
            return await self.part(*values, **named)
        self.failed = True
        raise Unavailable("unavailable.database.unwritable", path="easel.db")


async def told(bot: Bot, job_id: int) -> bool:
    """Whether the card of a job that was delivered says what the demo knows."""
    await bot.delivered(job_id)
    (seen,) = bot.chats.shown(job_id)
    assert seen.card is not None
    return SAID in seen.card.notes


async def test_once_a_person_with_their_first_picture(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bot = await make(engine=FakeEngine([demo(), z_image_turbo()]))
    other = await bot.ask(model="z-image-turbo", size="512x512")
    assert not await told(bot, other.id), "another model drew it"

    # The transaction that stores the picture fails once at its end: the mark is not there without the picture.
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "settle", Failing(ledger.settle))
        first = await bot.ask()
        assert await told(bot, first.id)
    again = await bot.press(
        bot.actor(), Place("chat", None, CHAT), ButtonPress("reroll", first.id), EventRef("chat:again")
    )
    assert again.new is not None
    await bot.delivered(again.new.id)
    assert (await bot.job(first.id)).request.notes == ("note.demo",)
    assert "note.demo" not in (await bot.job(again.new.id)).request.notes
    await bot.restart()
    assert not await told(bot, (await bot.ask()).id)
    assert await told(bot, (await bot.ask(user="2")).id)

    async with bot.db.read() as tx:
        assert "'note': 'note.demo'" in str((await exports.person(tx, first.person_id))["shown_notes"])
    await forget(bot.ctx, bot.actor())
    assert await told(bot, (await bot.ask()).id), "somebody who was forgotten is new"
