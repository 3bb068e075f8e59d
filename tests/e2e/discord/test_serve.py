"""The real `easel serve` with the demo model, and people in Discord: the walk, a kill, and tokens that are refused."""

from __future__ import annotations

import asyncio
import io

import pytest
from PIL import Image, ImageChops

from bot.cards.i18n import text
from tests.e2e.conftest import StartService
from tests.e2e.service import Service
from tests.fakes.discord import FakeDiscord
from tests.fakes.discord_world import Message

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def serve(start_service: StartService, discord: FakeDiscord) -> Service:
    """Start a service without a page, while the stand-in goes on answering here."""
    service = await asyncio.to_thread(start_service, env={**discord.env, "EASEL_WEB_PORT": "0"}, ready=False)
    await discord.connected(60)
    return service


async def again(service: Service, discord: FakeDiscord) -> None:
    """Start it once more on the same data."""
    await discord.world.until(lambda: not discord.gateway.connected, "the end of the old connection")
    await asyncio.to_thread(service.start, ready=False)
    await discord.connected(60)


async def finished(discord: FakeDiscord, message: Message, count: int = 1) -> Message:
    await discord.world.until(lambda: len(message.pictures) == count, f"{count} pictures", 60)
    return message


def colours(message: Message, index: int = 0) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """The middle's colour and the edge's."""
    with Image.open(io.BytesIO(message.attachments[index].data)) as opened:
        image = opened.convert("RGB")
    middle, edge = image.getpixel((image.width // 2, image.height // 2)), image.getpixel((8, 8))
    assert isinstance(middle, tuple)
    assert isinstance(edge, tuple)
    return (middle[0], middle[1], middle[2]), (edge[0], edge[1], edge[2])


def distance(message: Message, index: int, other: Message) -> int:
    """The largest difference of a colour between two pictures."""
    with (
        Image.open(io.BytesIO(message.attachments[index].data)) as one,
        Image.open(io.BytesIO(other.attachments[0].data)) as two,
    ):
        bands = ImageChops.difference(one.convert("RGB"), two.convert("RGB")).getextrema()
    return max(int(band[1]) for band in bands if isinstance(band, tuple))


def says_demo(message: Message) -> bool:
    """Whether a card says what the demo model knows; of its markup the backslashes are left out."""
    return text("en", "note.demo") in message.text.replace("\\", "")


async def test_draw_and_reroll(start_service: StartService, discord: FakeDiscord) -> None:
    service = await serve(start_service, discord)
    ada = discord.person("Ada")
    asked = await ada.draw("a red apple on a blue background", seed="7")
    card = await asked.answer()
    assert asked.interaction.acked_after is not None
    assert asked.interaction.acked_after < 3
    await finished(discord, card)
    middle, edge = colours(card)
    assert middle[0] > middle[2]
    assert edge[2] > edge[0]
    assert "seed 7 ·" in card.text
    assert says_demo(card)

    second = await finished(discord, await (await ada.press(card, "Reroll")).answer())
    assert colours(second)[1][2] > colours(second)[1][0]

    assert await asyncio.to_thread(service.stop) == 0
    await again(service, discord)
    third = await finished(discord, await (await ada.send_press(card, "easel:seed:1:0")).answer(), 2)
    # In a batch of two the same seed may differ by a rounding; another seed is another picture.
    assert distance(third, 0, card) <= 3
    assert distance(third, 1, card) > 20
    assert not says_demo(second)
    assert not says_demo(third)
    assert discord.world.syncs == 1
    assert ada.sees() == [card, second, third]
    assert discord.token not in service.log


async def test_killed_while_it_draws_it_delivers_once(start_service: StartService, discord: FakeDiscord) -> None:
    service = await serve(start_service, discord)
    ada = discord.person("Ada")
    cards = [await (await ada.draw(f"a yellow star {i}", count=2)).answer() for i in range(2)]
    await discord.world.until(lambda: any(c.attachments or "Drawing" in c.text for c in cards), "it", 60)
    await asyncio.to_thread(service.kill)
    await again(service, discord)
    for card in cards:
        await finished(discord, card, 2)
    assert ada.sees() == cards


async def test_a_refused_token_leaves_the_page_on(start_service: StartService, discord: FakeDiscord) -> None:
    env = {**discord.env, "EASEL_DISCORD_TOKEN": "wrong-token-entirely"}
    service = await asyncio.to_thread(start_service, env=env, ready=False)
    await discord.world.until(lambda: "Discord is off" in service.log, "the refusal", 60)
    await discord.world.until(lambda: service.status("/readyz") == 503, "a page that says so", 60)
    assert "wrong-token-entirely" not in service.log
    assert await asyncio.to_thread(service.status, "/healthz") == 200
