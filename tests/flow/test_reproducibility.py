"""A recipe drawn once more: the same picture, and a sentence where model, precision or device changed meanwhile."""

from __future__ import annotations

import pytest

from bot.cards.i18n import text
from bot.core.jobs import Job
from bot.core.messages import Address, EventRef
from bot.core.people import Place
from bot.drawing import job_actions
from bot.storage import pictures
from tests.fakes.png_texts import pixels
from tests.flow.conftest import Make
from tests.flow.harness import CHAT, Bot


async def once_more(bot: Bot, job_id: int, event: str, *, locale: str = "en") -> Job:
    place, ref = Place("chat", None, CHAT), EventRef(event, Address("chat", CHAT, user="1"))
    job = await job_actions.draw_again(bot.ctx, bot.actor(locale=locale), place, job_id, ref)
    return await bot.delivered(job.id)


def notes(bot: Bot, job: Job) -> tuple[str, ...]:
    card = bot.chats.shown(job.id)[0].card
    assert card is not None
    return card.notes


async def drawn_pixels(bot: Bot, job_id: int) -> list[bytes]:
    async with bot.db.read() as tx:
        found = await pictures.of_job(tx, job_id)
    return [pixels((bot.pictures / picture.path).read_bytes()) for picture in found]


async def test_the_same_pictures_come_once_more(make: Make) -> None:
    bot = await make()
    first = await bot.delivered((await bot.ask("a cat", count="2")).id)
    second = await once_more(bot, first.id, "again:1")
    assert await drawn_pixels(bot, second.id) == await drawn_pixels(bot, first.id)
    assert notes(bot, second) == (text("en", "note.again"),)
    third = await once_more(bot, second.id, "again:2", locale="zh_CN")
    assert await drawn_pixels(bot, third.id) == await drawn_pixels(bot, first.id)
    assert notes(bot, third) == (text("zh_CN", "note.again"),)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"device": "cuda NVIDIA GeForce RTX 3090"}, ["other_device"]),
        ({"precision": "bf16"}, ["other_precision"]),
        ({"revision": "c0ffee"}, ["other_revision"]),
        (
            {"device": "cpu", "precision": "int8", "revision": "1"},
            ["other_revision", "other_precision", "other_device"],
        ),
    ],
)
async def test_what_changed_meanwhile_is_said(make: Make, change: dict[str, str], said: list[str]) -> None:
    bot = await make()
    first = await bot.delivered((await bot.ask("a cat")).id)
    bot.engine.become_another(**change)
    second = await once_more(bot, first.id, "again:1")
    assert notes(bot, second) == tuple(text("en", key) for key in ("note.again", *(f"note.engine.{c}" for c in said)))
    # Compared with what it repeats, not with the first of all.
    third = await once_more(bot, second.id, "again:2")
    assert notes(bot, third) == (text("en", "note.again"),)


async def test_other_drawings_say_nothing_of_it(make: Make) -> None:
    bot = await make()
    first = await bot.delivered((await bot.ask("a cat")).id)
    bot.engine.become_another(device="cpu")
    second = await bot.delivered((await bot.ask("a cat", seed=str(first.request.seed))).id)
    assert notes(bot, second) == ()


async def test_what_an_older_easel_did_not_write_down_counts_as_the_same(make: Make) -> None:
    bot = await make()
    first = await bot.delivered((await bot.ask("a cat")).id)
    async with bot.db.write() as tx:
        await tx.execute_fetchall("UPDATE pictures SET device = '', precision = '', revision = '', setup = ''")
    bot.engine.become_another(device="cpu", precision="bf16", revision="1")
    assert notes(bot, await once_more(bot, first.id, "again:1")) == (text("en", "note.again"),)
