"""A stranger writes to the bot, the owner is asked, and the picture comes: by the real client and the real core."""

from __future__ import annotations

from bot.core.access import AccessMode
from tests.e2e.telegram.conftest import Start, photos
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_world import Chat, Person


def owner(telegram: TelegramStandIn) -> Chat:
    """The owner's private chat with the bot; the settings name 900."""
    return telegram.private(Person(900, "Eve", "zh-hans"))


async def test_a_stranger_waits_for_the_owner_and_gets_the_picture(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    eve = owner(telegram)
    bot = await start(access=AccessMode.APPROVE)
    person = ann.members[ann.id]
    telegram.writes(ann, person, "a red apple --seed 7")
    card = await telegram.until(lambda: next(iter(ann.by_bot()), None))
    assert "owner" in card.words
    digest = await telegram.until(lambda: next(iter(eve.by_bot()), None))
    assert "a red apple" in "".join(digest.code())
    assert "Ann" in "".join(digest.code())

    # Whatever else is written meanwhile is answered once.
    for number in range(5):
        telegram.writes(ann, person, f"and a pear {number}")
    await telegram.until(lambda: len(ann.by_bot()) == 2)
    await telegram.until(lambda: not telegram.updates)
    await bot.settled()
    assert len(ann.by_bot()) == 2
    assert (await bot.count("jobs"), await bot.count("access"), await bot.count("messages")) == (1, 1, 3)

    # So is each sort of command, which costs a row: a stranger may type for ever.
    for number in range(3):
        for text in ("/help", f"/nonsense{number}", "/quota show", f"/search pear {number}"):
            telegram.writes(ann, person, text)
    await telegram.until(lambda: len(ann.by_bot()) == 6)
    await telegram.until(lambda: not telegram.updates)
    await bot.settled()
    assert (len(ann.by_bot()), await bot.count("messages")) == (6, 7)

    # A press by somebody else does nothing, wherever it comes from.
    forged = telegram.sends_press(card, person, "easel:allow:1")
    await telegram.until(lambda: forged.answered)
    assert await bot.count("ledger") == 0
    telegram.presses(digest, eve.members[eve.id], "easel:allow:1")
    await telegram.until(lambda: card.photo is not None)
    assert "seed 7 ·" in card.words
    await telegram.until(lambda: "easel:allow:1" not in str(digest.labels) and "1" in digest.words)
    await telegram.until(lambda: any("let you in" in m.words for m in ann.by_bot()))
    telegram.writes(ann, person, "a pear")
    await telegram.until(lambda: len(photos(ann)) == 2)


async def test_a_claim_makes_the_sender_an_owner_while_it_runs(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    from bot.access import claims  # noqa: PLC0415 - as the command line does beside the service

    bot = await start(access=AccessMode.APPROVE)
    code = await claims.claim_code(bot.db, bot.dispatch._clock)
    person = ann.members[ann.id]
    telegram.writes(ann, person, "/claim AAAA-AAAA")
    await telegram.until(lambda: any("4 tries" in m.words for m in ann.by_bot()))
    telegram.writes(ann, person, "/claim AAAA-AAAB")
    await telegram.until(lambda: any("3 tries" in m.words for m in ann.by_bot()))
    telegram.writes(ann, person, f"/claim {code}")
    await telegram.until(lambda: any("You are an owner" in m.words for m in ann.by_bot()))
    telegram.writes(ann, person, "a red apple")
    await telegram.until(lambda: photos(ann))
