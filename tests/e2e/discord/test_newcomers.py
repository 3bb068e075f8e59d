"""A new server and a person by their own installation ask to come in: by the real client and the real core."""

from __future__ import annotations

import pytest

from bot.core.access import AccessMode
from tests.e2e.discord.conftest import Start
from tests.fakes.discord import FakeDiscord, Person
from tests.fakes.discord_world import Message

pytestmark = pytest.mark.slow


def owner(discord: FakeDiscord) -> Person:
    """Whom Discord names as the application's owner."""
    user = discord.world.owner
    discord.world.users[user.id] = user
    return Person(discord, user)


async def digest(discord: FakeDiscord, eve: Person, text: str) -> Message:
    """Wait until the owner was written to, of somebody."""

    def there() -> bool:
        return any(text in m.text for m in eve.direct_messages())

    await discord.world.until(there, f"a message to the owner that says {text!r}")
    return next(m for m in eve.direct_messages() if text in m.text)


async def test_the_applications_owner_lets_a_server_in(start: Start, discord: FakeDiscord) -> None:
    eve = owner(discord)
    bot = await start(access=AccessMode.APPROVE)
    ada, bob = discord.person("Ada", manages=True), discord.person("Bob")
    card = await (await ada.draw("a red apple", seed="7")).answer()
    assert "Your request is kept" in card.text
    assert "easel:cancel:1" in card.buttons
    other = await (await bob.draw("a pear")).answer()
    again = await (await bob.draw("another pear")).answer()
    assert again.only_for is bob.user
    told = await digest(discord, eve, "a red apple")
    # Who manages the server owns nothing of Easel.
    refused = await (await ada.send_press(card, "easel:allow:1")).answer()
    assert "owner" in refused.text

    await (await eve.press(told, "easel:allow:1")).acknowledged()
    await discord.world.until(lambda: bool(card.attachments) and bool(other.attachments), "both pictures")
    await discord.world.until(lambda: "easel:allow:1" not in told.buttons, "the answered digest")
    await discord.world.until(lambda: any("let you in" in m.text for m in ada.sees()), "a word to who asked first")
    await bot.settled()
    assert await bot.charged() == 2
    assert await bot.count("jobs") == 2
    third = await (await discord.person("Cy").draw("a plum")).answer()
    await discord.world.until(lambda: bool(third.attachments), "a member's picture")


async def test_a_persons_own_installation_is_their_own_and_makes_nobody_an_admin(
    start: Start,
    discord: FakeDiscord,
) -> None:
    eve = owner(discord)
    bot = await start(access=AccessMode.APPROVE)
    ada = discord.person("Ada", manages=True)
    foreign = discord.foreign()
    card = await (await ada.draw("a red apple", channel=foreign)).answer()
    told = await digest(discord, eve, "a red apple")
    assert str(ada.user.id) in told.text
    assert await bot.count("places") == 0
    set_here = await (await ada.run("quota set", channel=foreign, rule="1/day")).answer()
    assert "server" in set_here.text
    assert await bot.count("policies") == 0

    await (await eve.press(told, "easel:refuse:1")).acknowledged()
    await discord.world.until(lambda: "nothing was charged" in card.text.lower(), "the refusal on the card")
    assert await bot.charged() == 0
    await discord.world.until(lambda: any("not let you in" in m.text for m in ada.direct_messages()), "a word")
