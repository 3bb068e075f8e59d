"""Places that a finished picture can't be shown in: what is shown instead, and to whom."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from bot.core.people import Actor
from tests.e2e.discord.conftest import Start
from tests.e2e.discord.harness import DiscordHarness
from tests.fakes.discord import FakeDiscord, Person
from tests.fakes.discord_world import Channel
from tests.fakes.step_gate import StepGate

pytestmark = pytest.mark.slow


class Shown(enum.Enum):
    """Where a result is shown."""

    THERE = "the picture, where it was asked for"
    DIRECT = "the picture, in a direct message that says why"
    DIRECT_PRIVATE = "the picture, in a direct message"
    NOTE = "a sentence at the person's next command: it is in the history"


@dataclass(frozen=True, slots=True)
class Loss:
    """A place that is lost while the picture is drawn, and what is shown.

    Attributes:
        happens: Makes the place unusable.
        shown: What is shown.
        where: Makes the place; the server's channel if not given.
        private: Whether the request is private.
    """

    happens: Callable[[FakeDiscord, Channel, Person], None]
    shown: Shown
    where: Callable[[FakeDiscord, str], Channel] = lambda discord, name: discord.world.channel(name)
    private: bool = False


def nothing(_discord: FakeDiscord, _channel: Channel, _person: Person) -> None:
    """Only the interaction's token ends."""


def archived(_discord: FakeDiscord, channel: Channel, _person: Person) -> None:
    channel.archived = True


def locked(_discord: FakeDiscord, channel: Channel, _person: Person) -> None:
    channel.archived = channel.locked = True


def hidden(_discord: FakeDiscord, channel: Channel, _person: Person) -> None:
    channel.bot_access = False


def deleted(discord: FakeDiscord, channel: Channel, _person: Person) -> None:
    discord.remove(channel)


def closed(_discord: FakeDiscord, _channel: Channel, person: Person) -> None:
    person.user.takes_dms = False


def both(
    *losses: Callable[[FakeDiscord, Channel, Person], None],
) -> Callable[[FakeDiscord, Channel, Person], None]:
    def happen(discord: FakeDiscord, channel: Channel, person: Person) -> None:
        for loss in losses:
            loss(discord, channel, person)

    return happen


LOSSES = {
    "a channel": Loss(nothing, Shown.THERE),
    "a forum post": Loss(nothing, Shown.THERE, FakeDiscord.post),
    "an archived thread": Loss(archived, Shown.THERE, FakeDiscord.thread),
    "an archived forum post": Loss(archived, Shown.THERE, FakeDiscord.post),
    "a locked thread": Loss(locked, Shown.DIRECT, FakeDiscord.thread),
    "a locked forum post": Loss(locked, Shown.DIRECT, FakeDiscord.post),
    "a locked thread, and no direct messages": Loss(both(locked, closed), Shown.NOTE, FakeDiscord.thread),
    "a channel that the bot can't see": Loss(hidden, Shown.DIRECT),
    "a deleted channel": Loss(deleted, Shown.DIRECT),
    "a deleted channel, and no direct messages": Loss(both(deleted, closed), Shown.NOTE),
    "a private request": Loss(nothing, Shown.DIRECT_PRIVATE, private=True),
    "a private request, and no direct messages": Loss(closed, Shown.NOTE, private=True),
}
"""A server that has removed the bot looks like a channel that it can't see; what waits there is cancelled as well."""


async def test_each_lost_place_shows_something_to_somebody(start: Start, discord: FakeDiscord) -> None:
    gate = StepGate()
    bot = await start(gate)
    asked: dict[str, tuple[Channel, Person]] = {}
    for name, loss in LOSSES.items():
        channel, person = loss.where(discord, name), discord.person(name)
        card = await (await person.draw(name, channel=channel, private=loss.private or None)).answer()
        assert name in card.text.replace("\\", "")
        asked[name] = (channel, person)
    discord.expire_tokens()
    for name, loss in LOSSES.items():
        loss.happens(discord, *asked[name])
    gate.open()
    await bot.settled()
    found = {name: await shown(bot, discord, *asked[name]) for name in LOSSES}
    assert found == {name: loss.shown for name, loss in LOSSES.items()}
    assert await bot.charged() == len(LOSSES)


async def shown(bot: DiscordHarness, discord: FakeDiscord, channel: Channel, person: Person) -> Shown | str:
    """Return what a person sees of their finished picture."""
    there = [message for message in person.sees(channel) if message.attachments]
    direct = [message for message in person.direct_messages() if message.attachments]
    note = await noted(bot, discord, person)
    match there, direct, note:
        case [_], [], "":
            return Shown.THERE
        case [], [message], "":
            return Shown.DIRECT if "no longer write where you asked" in message.text else Shown.DIRECT_PRIVATE
        case [], [], text if "history" in text:
            return Shown.NOTE
    return f"{there} {direct} {note}"


async def noted(bot: DiscordHarness, discord: FakeDiscord, person: Person) -> str:
    """Return what a person is told at their next command beside its answer."""
    if await bot.studio.find_missed(Actor("discord", str(person.user.id))) is None:
        return ""
    asked = await person.run("help")
    await discord.world.until(lambda: bool(asked.interaction.followups), "a sentence")
    return asked.interaction.followups[0].text
