"""The real `easel serve` with the demo model, in Telegram: the whole walk, a restart of everything, and kills."""

from __future__ import annotations

import asyncio
import io
import re
import sqlite3

import pytest
from PIL import Image, ImageChops, ImageStat

from bot.cards.i18n import text
from tests.e2e.conftest import StartService
from tests.e2e.service import Service, until
from tests.e2e.telegram.conftest import photos
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_limits import Flood
from tests.fakes.telegram_world import Chat, Msg

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PATIENCE = 120.0


def environment(telegram: TelegramStandIn) -> dict[str, str]:
    """Telegram alone, without the page."""
    return {
        "EASEL_WEB_PORT": "0",
        "EASEL_TELEGRAM_TOKEN": telegram.token,
        "EASEL_TELEGRAM_API_URL": telegram.url,
        "EASEL_TELEGRAM_ACCESS": "open",
    }


def number(service: Service, sql: str) -> int:
    """One number from the service's database."""
    with sqlite3.connect(f"file:{service.data / 'easel.db'}?mode=ro", uri=True) as db:
        (found,) = db.execute(sql).fetchone()
    db.close()
    return int(found)


def middle_and_edge(message: Msg) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The colours in the middle and at the edge of a photo."""
    assert message.photo is not None
    with Image.open(io.BytesIO(message.photo.data)) as opened:
        small = opened.convert("RGB").resize((9, 9), Image.Resampling.BOX)
    middle, edge = small.getpixel((4, 4)), small.getpixel((0, 0))
    assert isinstance(middle, tuple)
    assert isinstance(edge, tuple)
    return middle, edge


def furthest(one: Msg, other: Msg) -> float:
    """The largest difference of two photos in any channel, 0 to 255. Batches differ a little, and JPEG adds to it."""
    assert one.photo is not None
    assert other.photo is not None
    with Image.open(io.BytesIO(one.photo.data)) as a, Image.open(io.BytesIO(other.photo.data)) as b:
        return max(high for _, high in ImageStat.Stat(ImageChops.difference(a, b)).extrema)


@pytest.fixture
def real(telegram: TelegramStandIn) -> TelegramStandIn:
    """A stand-in with Telegram's own limits."""
    telegram.world.flood = Flood()
    return telegram


async def test_claim_draw_and_restart(start_service: StartService, real: TelegramStandIn, ann: Chat) -> None:
    # As it comes: the first thing that somebody does is to claim the bot.
    env = {**environment(real), "EASEL_TELEGRAM_ACCESS": "approve", "EASEL_LOG_LEVEL": "DEBUG"}
    service = await asyncio.to_thread(start_service, env=env, ready=False)
    person = ann.members[ann.id]
    await real.until(lambda: real.polled, PATIENCE)
    said = re.search(r"/claim ([A-Z0-9]{4}-[A-Z0-9]{4})", service.log)
    assert said is not None, service.log
    real.writes(ann, person, f"/claim {said[1]}")
    claimed = await real.until(lambda: next(iter(ann.by_bot()), None), PATIENCE)
    assert "You are an owner of this Easel now" in claimed.words
    asked = real.writes(ann, person, "a red apple on a blue background —seed 7")
    card = await real.until(lambda: next(iter(ann.by_bot()[1:]), None), PATIENCE)
    assert card.reply_to is asked
    await real.until(lambda: card.photo is not None, PATIENCE)
    assert card.photo is not None
    assert min(card.photo.size()) > 192
    assert "seed 7 ·" in card.words
    assert text("en", "note.demo") in card.words
    middle, edge = middle_and_edge(card)
    assert middle[0] > max(middle[1:])
    assert edge[2] > max(edge[:2])

    real.presses(card, person, "reroll")
    second = await real.until(lambda: next(iter(photos(ann)[1:]), None), PATIENCE)
    assert second.reply_to is card

    assert await asyncio.to_thread(service.stop) == 0
    await asyncio.to_thread(service.start, ready=False)
    real.sends_press(card, person, "easel:seed:1:0")
    await real.until(lambda: any("seeds 7–8 ·" in m.words for m in ann.by_bot()), PATIENCE)
    assert len(photos(ann)) == 4
    third = photos(ann)[2]
    assert third.photo is not None
    assert furthest(third, card) <= 8
    assert furthest(third, second) > 8
    assert sum(text("en", "note.demo") in message.words for message in ann.by_bot()) == 1
    assert real.refused == []
    assert real.token not in service.log
    # The code was said once, on stdout; and who owns the bot is still known after the restart.
    assert service.log.count(said[1]) == 1
    assert service.log.count("/claim") == 1


# test_kill kills in every state; here Telegram sends the update again too.
@pytest.mark.chaos
async def test_a_killed_service_delivers_once_and_charges_once(
    start_service: StartService, real: TelegramStandIn, ann: Chat
) -> None:
    service = await asyncio.to_thread(start_service, env=environment(real), ready=False)
    await real.until(lambda: real.polled, PATIENCE)
    # Telegram never hears that the update has come.
    real.refuse("getUpdates", 502, "Bad Gateway", times=float("inf"))
    real.writes(ann, ann.members[ann.id], "夜空中的一只猫 --steps 24 --size 256x256")
    # Once its card is there and written down; a quick machine may draw before any progress is shown.
    await real.until(ann.by_bot, PATIENCE)
    shown = "SELECT count(*) FROM messages WHERE state = 'shown'"
    await asyncio.to_thread(until, lambda: number(service, shown), PATIENCE, "the card is written down")
    assert len(real.updates) == 1
    await asyncio.to_thread(service.kill)
    real.mend()
    await asyncio.to_thread(service.start, ready=False)
    await real.until(lambda: photos(ann) and not real.updates, PATIENCE)
    await asyncio.to_thread(service.stop)
    assert len(ann.by_bot()) == 1
    assert number(service, "SELECT count(*) FROM jobs") == 1
    assert number(service, "SELECT sum(charged) FROM ledger") == 1
    assert number(service, "SELECT sum(reserved) FROM ledger") == 0


async def test_a_token_that_can_not_be_one_is_the_end_of_a_service_without_a_page(
    start_service: StartService, real: TelegramStandIn
) -> None:
    env = {**environment(real), "EASEL_TELEGRAM_TOKEN": "42 wrong"}
    service = await asyncio.to_thread(start_service, env=env, ready=False)
    assert await asyncio.to_thread(service.process.wait, 60) == 1
    assert "Telegram is off" in service.log
    assert "42 wrong" not in service.log
