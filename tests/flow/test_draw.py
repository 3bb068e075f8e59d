"""One request from its admission to its picture."""

from __future__ import annotations

from bot.core.cards import Tone
from bot.core.jobs import JobState
from tests.fakes.surface import ABLE_SAFE, Call
from tests.flow.conftest import Make


async def test_a_request_becomes_a_picture_in_its_chat(make: Make) -> None:
    bot = await make()
    job = await bot.ask("a red apple", seed="7")
    done = await bot.delivered(job.id)
    (seen,) = bot.chats.shown(job.id)
    assert seen.card is not None
    assert seen.card.tone is Tone.DONE
    assert bot.chats.pictures(job.id) == [f"easel-{job.id}-1.png"]
    assert seen.card.pictures[0].path.is_file()
    assert await bot.ledger(job.id) == (2, 0, 1)
    assert done.seconds > 0
    assert done.state is JobState.DELIVERED


async def test_all_pictures_in_one_card_where_it_has_room(make: Make) -> None:
    bot = await make(ABLE_SAFE)
    job = await bot.ask(count="4")
    await bot.delivered(job.id)
    assert len(bot.chats.pictures(job.id)) == 4
    assert Call.FILES not in bot.surface.calls
