"""One factory for each Surface: the surface, and what people see of it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from discord import Client

from adapters.discord.service import build
from adapters.discord.settings import DiscordSettings
from adapters.discord.surface import DiscordSurface
from adapters.telegram.client import make_bot
from adapters.telegram.rate_limit import RateLimiter
from adapters.telegram.settings import TelegramSettings
from adapters.telegram.surface import TelegramSurface
from bot.core.messages import Address
from bot.core.pictures import PictureFile
from bot.core.ports import Surface
from bot.settings import Settings
from tests.fakes.discord import FakeDiscord, strict
from tests.fakes.discord_world import Channel, Message
from tests.fakes.surface import ABLE, ABLE_SAFE, Call, Chats, FakeSurface, Fault
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_limits import DELETED_WITHIN, Flood
from tests.fakes.telegram_world import Chat, Msg
from tests.unit.adapters.discord.conftest import running
from tests.unit.adapters.discord.scripted import Scripted
from tests.unit.adapters.telegram.conftest import SMALL, Hand


@dataclass(frozen=True)
class View:
    """A message as people see it: its text, button codes, files and notified users."""

    text: str
    buttons: tuple[str, ...]
    files: tuple[bytes, ...]
    pings: frozenset[str] = frozenset()


class Rig(Protocol):
    """A surface, a chat that several people see, and one of them."""

    @property
    def surface(self) -> Surface:
        """The surface under test."""

    def address(self) -> Address:
        """The chat, asked for by that person."""

    def seen(self) -> list[View]:
        """What everybody sees in the chat, oldest first."""

    def alone(self) -> list[View]:
        """What that person alone sees."""

    def later(self) -> None:
        """Let enough time pass that no rate limit applies."""

    def delete(self, address: Address) -> None:
        """Delete the message, as a person would."""

    def age(self, address: Address) -> None:
        """Let enough time pass that nobody can delete the message any more, if there is such a limit."""

    def shut(self) -> None:
        """Forbid the bot to write."""

    def limit(self) -> None:
        """Make the platform unreachable for a while."""

    def cut(self) -> None:
        """Lose the answer to the next call."""

    def mend(self) -> None:
        """End all faults."""


class FakeRig:
    """The recording surface of the flow tests: what they rely on is held to the same promises."""

    def __init__(self, *, safe: bool) -> None:
        self.chats = Chats()
        self.surface = FakeSurface(self.chats, ABLE_SAFE if safe else ABLE)

    def address(self) -> Address:
        return Address("chat", "1", user="501")

    def seen(self) -> list[View]:
        return self._views("1")

    def alone(self) -> list[View]:
        return self._views("@501")

    def later(self) -> None:
        """It has no limits."""

    def delete(self, address: Address) -> None:
        assert address.message is not None
        self.chats.deleted.add(address.message)

    def age(self, address: Address) -> None:
        assert address.message is not None
        self.chats.old.add(address.message)

    def shut(self) -> None:
        self.chats.shut |= {"1", "@501"}

    def limit(self) -> None:
        self._plan(Fault.BUSY)

    def cut(self) -> None:
        self._plan(Fault.UNCLEAR_SENT)

    def mend(self) -> None:
        for call in Call:
            self.surface.plan(call)

    def _plan(self, fault: Fault) -> None:
        for call in Call:
            self.surface.plan(call, fault)

    def _views(self, chat: str) -> list[View]:
        views = []
        for name, seen in self.chats.messages.items():
            if name in self.chats.deleted or seen.chat != chat:
                continue
            card, files = seen.card, seen.files
            if card is not None:
                buttons = tuple(button.press.pack() for row in card.buttons for button in row)
                files = card.pictures[: self.surface.able.pictures_in_card]
                facts = [f"{fact.label}: {fact.value}" for fact in card.facts]
                views.append(View("\n".join((card.status, card.prompt, *facts)), buttons, _bytes(files)))
            else:
                views += [View("", (), (data,)) for data in _bytes(files)]
        return views


def _bytes(files: tuple[PictureFile, ...]) -> tuple[bytes, ...]:
    return tuple(file.path.read_bytes() for file in files)


class TelegramRig:
    """The real client against the stand-in, in a group."""

    def __init__(self, telegram: TelegramStandIn, surface: TelegramSurface, clock: Hand) -> None:
        self.telegram = telegram
        self.surface = surface
        self.clock = clock
        self.person = telegram.person("Ann")
        self.group = telegram.group("Painters", self.person)
        self.direct = telegram.private(self.person)

    def address(self) -> Address:
        return Address("telegram", str(self.group.id), user=str(self.person.id))

    def seen(self) -> list[View]:
        return [_telegram(message) for message in self.group.by_bot()]

    def alone(self) -> list[View]:
        return [_telegram(message) for message in self.direct.by_bot()]

    def later(self) -> None:
        self.clock.now += 61

    def delete(self, address: Address) -> None:
        assert address.message is not None
        message = self._chat(address).find(int(address.message))
        assert message is not None
        self.telegram.deletes(message)

    def age(self, address: Address) -> None:
        assert address.message is not None
        message = self._chat(address).find(int(address.message))
        assert message is not None
        message.date -= DELETED_WITHIN + 1

    def shut(self) -> None:
        self.group.blocked = self.direct.blocked = True

    def limit(self) -> None:
        for method in _METHODS:
            self.telegram.refuse(method, 429, "Too Many Requests: retry after 17", retry_after=17)

    def cut(self) -> None:
        for method in _METHODS:
            self.telegram.cut(method)

    def mend(self) -> None:
        self.telegram.mend()
        self.later()

    def _chat(self, address: Address) -> Chat:
        return self.group if address.chat == str(self.group.id) else self.direct


_METHODS = (
    "sendMessage",
    "sendPhoto",
    "sendMediaGroup",
    "sendDocument",
    "editMessageText",
    "editMessageMedia",
    "deleteMessage",
)


def _telegram(message: Msg) -> View:
    rows = (message.markup or {}).get("inline_keyboard", [])
    files = tuple(file.data for file in (message.photo, message.document) if file is not None)
    return View(
        message.words, tuple(b["callback_data"] for row in rows for b in row), files, frozenset(message.mentions())
    )


class DiscordRig:
    """The real client against the stand-in, in a server's channel."""

    def __init__(self, discord: FakeDiscord, surface: DiscordSurface) -> None:
        self.discord = discord
        self._client: Client | None = None
        self.surface = surface
        self.person = discord.person("Ann")

    def address(self) -> Address:
        return Address("discord", str(self.discord.channel.id), user=str(self.person.user.id))

    def seen(self) -> list[View]:
        return self._views(self.discord.channel)

    def alone(self) -> list[View]:
        return self._views(self.discord.world.direct(self.person.user))

    def later(self) -> None:
        """Its client waits by itself where Discord's limits ask for it."""

    def delete(self, address: Address) -> None:
        assert address.message is not None
        self.discord.delete(self.discord.world.messages[int(address.message)])

    def age(self, address: Address) -> None:
        """One's own messages can always be deleted."""

    def shut(self) -> None:
        self.discord.channel.bot_access = False
        self.person.user.takes_dms = False

    def limit(self) -> None:
        # Its client keeps Discord's own limits by waiting; what it can't wait out is a connection that is not there.
        self._client = self.surface._client
        self.surface.use(None)

    def cut(self) -> None:
        self.discord.rest.spoil = lambda name: 0 if "/messages" in name else None

    def mend(self) -> None:
        if self._client is not None:
            self.surface.use(self._client)
        self.discord.rest.spoil = lambda _name: None

    def _views(self, channel: Channel) -> list[View]:
        messages = sorted(self.discord.world.messages.values(), key=lambda m: m.id)
        return [self._view(m) for m in messages if m.channel is channel and not m.deleted and m.only_for is None]

    def _view(self, message: Message) -> View:
        # A late message may call its asker, and nobody else.
        pings = frozenset(message.pings - {str(self.person.user.id)})
        # A reader does not see what keeps Discord from reading markup.
        text = re.sub(r"\\(.)", r"\1", message.text)
        return View(text, tuple(message.buttons), tuple(a.data for a in message.attachments), pings)


@contextlib.asynccontextmanager
async def fake(_: Path) -> AsyncIterator[Rig]:
    yield FakeRig(safe=False)


@contextlib.asynccontextmanager
async def fake_safe(_: Path) -> AsyncIterator[Rig]:
    yield FakeRig(safe=True)


@contextlib.asynccontextmanager
async def telegram(_: Path) -> AsyncIterator[Rig]:
    clock = Hand()
    async with TelegramStandIn(flood=Flood(clock=clock)).serve() as stand_in:
        settings = TelegramSettings(_env_file=None, token=stand_in.token, api_url=stand_in.url)
        async with make_bot(settings, Settings(_env_file=None)) as bot:
            surface = TelegramSurface(lambda: (SMALL,), RateLimiter(clock=clock))
            surface.use(bot)
            yield TelegramRig(stand_in, surface, clock)
        assert stand_in.problems == []


@contextlib.asynccontextmanager
async def discord(folder: Path) -> AsyncIterator[Rig]:
    async with strict() as stand_in:
        settings = DiscordSettings(
            _env_file=None, token=stand_in.token, api_url=stand_in.api_url, gateway_url=stand_in.gateway_url
        )
        service = build(settings, Settings(_env_file=None, data_dir=folder), Scripted().studio)
        async with running(service):
            await stand_in.connected()
            yield DiscordRig(stand_in, service.surface)


FACTORIES: dict[str, Callable[[Path], AbstractAsyncContextManager[Rig]]] = {
    "fake": fake,
    "fake, safe": fake_safe,
    "telegram": telegram,
    "discord": discord,
}
"""Every surface that there is; a new platform adds its line here."""
