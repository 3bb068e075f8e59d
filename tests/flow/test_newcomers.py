"""A stranger's request from held to delivered, with kills between; nothing of it is lost, and nothing is told twice."""

from __future__ import annotations

from dataclasses import replace

from adapters.cli.registry_commands import IdleBacklog
from bot.access import newcomers
from bot.cards import i18n
from bot.core.access import AccessMode, Owners
from bot.core.cards import ButtonPress
from bot.core.jobs import JobState
from bot.core.people import Actor
from bot.storage.database import Database
from tests.fakes.surface import Seen
from tests.flow.conftest import Make
from tests.flow.harness import Bot

OWNER = Actor("chat", "9", "Eve", is_owner=True)


async def guarded(make: Make) -> Bot:
    bot = await make()
    await bot.kill()
    bot.owners, bot.access = Owners({"chat": ("9",)}), {"chat": AccessMode.APPROVE}
    await bot.start()
    return bot


def notices(bot: Bot, user: str) -> list[Seen]:
    """What was written to somebody alone."""
    return [seen for seen in bot.chats.messages.values() if seen.chat == f"@{user}"]


async def test_held_allowed_and_delivered_with_kills_between(make: Make) -> None:
    bot = await guarded(make)
    job = await bot.ask(seed="7")
    await bot.until(lambda: notices(bot, "9"))
    await bot.quiet()
    (card,) = bot.chats.shown(job.id)
    assert card.card is not None
    assert card.card.status == i18n.text("en", "card.held")

    await bot.restart()
    await bot.quiet()
    assert (await bot.job(job.id)).state is JobState.HELD
    assert await bot.ledger(job.id) == (0, 0, 0)
    # The digest was sent before the kill, and is not sent again after it.
    (digest,) = notices(bot, "9")
    assert digest.card is not None
    assert digest.card.buttons[0][0].press == ButtonPress("allow", 1)

    await newcomers.allow(bot.ctx, OWNER, 1)
    # Killed before the queue was told: the rows are the truth.
    await bot.restart()
    await bot.delivered(job.id)
    await bot.quiet()
    assert bot.chats.pictures(job.id) == [f"easel-{job.id}-1.png"]
    assert await bot.ledger(job.id) == (2, 0, 1)
    # It may come twice: the kill may have come between its sending and its row.
    welcomes = [seen.card.status for seen in notices(bot, "1") if seen.card is not None]
    assert set(welcomes) == {i18n.text("en", "card.welcome")}
    assert len(welcomes) <= 2
    assert len(notices(bot, "9")) == 1


async def test_a_digest_that_nobody_can_be_sent_loses_nothing(make: Make) -> None:
    bot = await guarded(make)
    bot.chats.shut.add("@9")
    job = await bot.ask()
    await bot.quiet()
    assert notices(bot, "9") == []
    # It could not be delivered, and nothing is lost: it can be listed and answered.
    (knocks, total) = await newcomers.list_requests(bot.ctx)
    assert (total, knocks[0].prompt, knocks[0].waiting) == (1, "a red apple", 1)
    await newcomers.allow(bot.ctx, OWNER, knocks[0].newcomer.id)
    await bot.delivered(job.id)


async def test_the_refused_are_told_on_their_card_and_by_a_message(make: Make) -> None:
    bot = await guarded(make)
    job = await bot.ask()
    await bot.quiet()
    await newcomers.refuse(bot.ctx, OWNER, 1)
    await bot.until(lambda: notices(bot, "1"))
    await bot.quiet()
    (card,) = bot.chats.shown(job.id)
    assert card.card is not None
    assert (card.card.status, card.card.final) == (i18n.text("en", "error.access.refused"), True)
    assert await bot.ledger(job.id) == (0, 0, 0)


async def test_an_answer_by_another_process_is_followed_while_it_runs(make: Make) -> None:
    bot = await guarded(make)
    drawn, ended = await bot.ask(), await bot.ask(user="2")
    await bot.quiet()
    async with await Database.open(bot.folder / "easel.db") as db:
        beside = replace(bot.ctx, db=db, backlog=IdleBacklog())
        await newcomers.allow(beside, OWNER, 1)
        await newcomers.refuse(beside, OWNER, 2)
    await bot.delivered(drawn.id)
    await bot.until(lambda: notices(bot, "1") and notices(bot, "2"))
    await bot.quiet()
    (card,) = bot.chats.shown(ended.id)
    assert card.card is not None
    assert card.card.status == i18n.text("en", "error.access.refused")
