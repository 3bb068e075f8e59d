"""What becomes of pictures that a classifier finds unsafe, from the prompt to what people see."""

from __future__ import annotations

import pytest

from bot.core.jobs import Job, JobState
from bot.core.messages import Address, EventRef
from bot.core.people import Place
from bot.core.requests import DrawForm
from bot.core.strictness import Strictness
from bot.drawing.admission import draw
from bot.moderation.checks import STRICTNESS_OPTION
from bot.storage import people
from engine.contract import SafetyVerdict
from tests.fakes.moderator import FakeModerator
from tests.fakes.surface import ABLE_SAFE
from tests.flow.conftest import Make
from tests.flow.harness import CHAT, Bot

GROUP = Place("chat", "guild", CHAT)
SAFE, UNSAFE, UNKNOWN = SafetyVerdict.SAFE, SafetyVerdict.UNSAFE, SafetyVerdict.UNKNOWN


async def strict(make: Make, level: Strictness | None, *verdicts: SafetyVerdict) -> tuple[Bot, FakeModerator]:
    """A bot whose group is as strict as that, and what looks at its pictures."""
    bot = await make(ABLE_SAFE)
    bot.moderator = moderator = FakeModerator(verdicts)
    await bot.restart()
    if level is not None:
        async with bot.db.write() as tx:
            place_id = await people.remember_place(tx, GROUP, now=0.0)
            assert place_id is not None
            await people.put_option(tx, place_id, STRICTNESS_OPTION, level.value)
            await people.put_option(tx, place_id, "log", {"platform": "chat", "chat": "log"})
    return bot, moderator


async def ask(bot: Bot, prompt: str = "a red apple", *, count: int = 2, place: Place = GROUP) -> Job:
    ref = EventRef("chat:1", Address("chat", CHAT, user="1"))
    return await draw(bot.ctx, bot.actor(), place, DrawForm(prompt, count=str(count)), ref)


def covers(bot: Bot) -> list[bool]:
    """Whether each picture on the only card is covered."""
    (seen,) = [m for m in bot.chats.messages.values() if m.chat == CHAT]
    assert seen.card is not None
    return [picture.spoiler for picture in seen.card.pictures]


@pytest.mark.parametrize("level", [Strictness.WARN, Strictness.SPOILER])
async def test_unsafe_pictures_are_covered(make: Make, level: Strictness) -> None:
    bot, _ = await strict(make, level, UNSAFE, SAFE)
    job = await bot.delivered((await ask(bot)).id)
    assert sorted(covers(bot)) == [False, True]
    assert await bot.ledger(job.id) == (2, 0, 2)


async def test_where_they_are_refused_they_are_not_kept_and_not_charged(make: Make) -> None:
    bot, _ = await strict(make, Strictness.REFUSE, UNSAFE, SAFE)
    job = await bot.delivered((await ask(bot)).id)
    assert covers(bot) == [False]
    assert len(bot.files()) == 1
    assert await bot.ledger(job.id) == (3, 0, 1)
    await bot.until(lambda: any(m.chat == "log" for m in bot.chats.messages.values()))


async def test_when_all_are_refused_the_card_says_why(make: Make) -> None:
    bot, _ = await strict(make, Strictness.REFUSE, UNSAFE)
    job = await bot.reaches((await ask(bot)).id, JobState.FAILED)
    assert job.error == "error.moderation.picture"
    assert bot.files() == []
    assert (await bot.ledger(job.id))[1:] == (0, 0)


@pytest.mark.parametrize("level", [Strictness.REFUSE, Strictness.WARN, None])
async def test_what_can_not_be_judged_is_covered_and_never_lost(make: Make, level: Strictness | None) -> None:
    bot, moderator = await strict(make, level, UNKNOWN)
    job = await bot.delivered((await ask(bot)).id)
    assert covers(bot) == [True, True]
    assert (await bot.ledger(job.id))[2] == 2
    assert len(moderator.seen) == 2


@pytest.mark.parametrize(
    ("level", "place"),
    [
        (Strictness.OFF, GROUP),
        (None, Place("chat", "guild", CHAT, age_restricted=True)),
        (None, Place("chat", None, CHAT)),
    ],
)
async def test_where_nobody_minds_nobody_looks(make: Make, level: Strictness | None, place: Place) -> None:
    bot, moderator = await strict(make, level, UNSAFE)
    await bot.delivered((await ask(bot, "a nude woman", place=place)).id)
    assert covers(bot) == [False, False]
    assert moderator.seen == []


async def test_words_cover_pictures_by_themselves(make: Make) -> None:
    bot, _ = await strict(make, Strictness.SPOILER, SAFE)
    bot.moderator = None
    await bot.restart()
    await bot.delivered((await ask(bot, "a nude woman")).id)
    assert covers(bot) == [True, True]


async def test_strictness_is_that_of_the_asking(make: Make) -> None:
    bot, moderator = await strict(make, Strictness.SPOILER, UNSAFE)
    job = await ask(bot)
    async with bot.db.write() as tx:
        place_id = await people.find_place(tx, GROUP)
        assert place_id is not None
        await people.put_option(tx, place_id, STRICTNESS_OPTION, Strictness.OFF.value)
    await bot.delivered(job.id)
    assert moderator.seen
    assert covers(bot) == [True, True]


async def test_the_predicted_wait_includes_moderation(make: Make) -> None:
    class Slow(FakeModerator):
        async def judge(self, data: bytes) -> SafetyVerdict:
            bot.clock.advance(300.0)
            return await super().judge(data)

    bot, _ = await strict(make, Strictness.WARN)
    bot.moderator = Slow([SAFE])
    await bot.restart()
    await bot.delivered((await ask(bot, count=1)).id)
    bot.dispatch.set_paused(True)
    job = await bot.ask(user="2", event="another")
    bot.dispatch.set_paused(False)
    waiting = bot.dispatch.position(job.id)
    assert waiting is not None
    assert waiting.eta is not None
    assert waiting.eta.high > 300.0
