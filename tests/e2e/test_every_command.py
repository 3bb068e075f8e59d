"""Every command, button, menu and form of the registry, by each platform's real client: a card or a sentence answers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import pytest

from bot.cards import i18n
from bot.commands.model import SUGGESTED, Arg, ArgType, Command, Permission, PickedOn
from bot.core.cards import ButtonPress
from bot.core.errors import Refusal
from bot.drawing.flags import FLAG_NAMES
from bot.features import COMMANDS
from engine.contract import LoraInfo
from tests.e2e import harness
from tests.e2e.chats import on_discord, on_telegram
from tests.e2e.discord.harness import DiscordHarness
from tests.e2e.harness import OWNER, PlatformHarness
from tests.e2e.telegram.harness import TelegramHarness
from tests.fakes.discord import Person as DiscordPerson
from tests.fakes.discord_world import Message
from tests.fakes.engine import FakeEngine
from tests.fakes.telegram_world import Chat, Msg, Person

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

VALUES: Mapping[ArgType, str] = {
    ArgType.TEXT: "words",
    ArgType.WORD: "7",
    ArgType.WHOLE: "1",
    ArgType.DECIMAL: "1",
    ArgType.SWITCH: "no",
    ArgType.SPAN: "3 days",
    ArgType.COUNT: "1",
    ArgType.PROMPT: "a red apple",
    ArgType.MODEL: "demo",
    ArgType.STYLE: "photo",
    ArgType.LORA: "ink",
    ArgType.SIZE: "192x128",
    ArgType.JOB: "1",
}
"""A value for each type of argument; a choice is its first one, and the pickers' types are the platform's."""

OF_NAME = {"rule": "20/day", "zone": "Europe/Berlin", "negative": "blur", "steps": "4", "strength": "0.5"}

LEFT_OUT: Mapping[str, tuple[str, ...]] = {
    "draw": ("strength",),
    "imagine": ("strength",),
    "easel log": ("level",),
    "easel rights": ("lora", "role"),
    "forget": ("confirm",),
    "link": ("code",),
    "quota reset": ("role", "channel"),
    "quota set": ("role", "channel"),
}
"""Optional arguments that can't be given together with the others, or that do for good what the command asks for first."""

_NO_REQUEST = ("refusal.access.not_found",)
_NO_TEXT = ("refusal.expand.gone",)
_NO_PAGE = ("refusal.press.unreadable", "telegram.not_a_page")
REFUSED: Mapping[str, tuple[str, ...]] = {
    "/claim": ("refusal.claim.none",),
    "/describe": ("refusal.describe.pictures",),
    "/inspect": ("refusal.inspect.pictures",),
    "/easel admins": ("telegram.no_roles",),
    "/owner allow": _NO_REQUEST,
    "/owner refuse": _NO_REQUEST,
    "/owner undo": ("refusal.change.newer",),
    "/unlink": ("refusal.unlink.single",),
    "allow": _NO_REQUEST,
    "allowfew": _NO_REQUEST,
    "drawtext": _NO_TEXT,
    "editpicture": ("refusal.pictures.none",),
    "edittext": _NO_TEXT,
    "page": _NO_PAGE,
    "refuse": _NO_REQUEST,
    "richer": ("refusal.expand.none",),
    "show": _NO_PAGE,
    "stoptext": _NO_TEXT,
    "usepicture": ("refusal.pictures.none",),
}
"""What has nothing to act on here, and the sentence that may say so; everything else is done."""

LATE = ("deletenow",)
"""Buttons that leave nothing to press."""


def given(command: Command, pickers: Mapping[ArgType, str]) -> dict[str, str]:
    """Return a value for each argument."""
    found = {}
    for arg in command.args:
        if arg.name in LEFT_OUT.get(command.name, ()):
            continue
        value = (
            arg.choices[0] if arg.choices else OF_NAME.get(arg.name) or pickers.get(arg.type) or VALUES.get(arg.type)
        )
        if value is not None:
            found[arg.name] = value
    return found


class Rig(Protocol):
    """A platform where a member, an admin of the place and an owner use Easel, and job 1 is the member's."""

    @property
    def bot(self) -> PlatformHarness:
        """The service."""

    @property
    def pickers(self) -> Mapping[ArgType, str]:
        """Values of the types that the platform has pickers for, or its own way to type them."""

    async def types(self, command: Command, values: Mapping[str, str]) -> str:
        """Use a typed command as somebody who may; returns what the answer says."""

    async def presses(self, command: Command, button: str) -> str:
        """Press a button below the card of job 1 as somebody who may; returns what the answer says, if it has words."""

    async def picks(self, command: Command) -> str | None:
        """Choose an entry of a menu; returns what the answer says, None where the platform has no menus."""

    async def suggests(self, command: Command, arg: Arg) -> list[str] | None:
        """Begin to type an argument; returns the values that are suggested, None where the platform suggests nothing."""


class DiscordRig:
    """A server's channel, and the owner's direct messages."""

    def __init__(self, bot: DiscordHarness) -> None:
        self.bot = bot
        self.discord = bot.discord
        self.member = self.discord.person("Ann")
        self.admin = self.discord.person("Boss", manages=True)
        self.owner = self.discord.person("Owner")
        del self.discord.world.users[self.owner.user.id]
        self.owner.user.id = int(OWNER)
        self.discord.world.users[int(OWNER)] = self.owner.user
        role = str(self.discord.world.guild_id + 1)
        self.pickers = {
            ArgType.PERSON: str(self.member.user.id),
            ArgType.ROLE: role,
            ArgType.CHANNEL: str(self.discord.channel.id),
        }
        self.card: Message

    async def begin(self) -> None:
        self.card = await (await self.member.draw("a cat", seed="7", count=2)).answer()
        await self.discord.world.until(lambda: len(self.card.attachments) == 2, "pictures")

    async def types(self, command: Command, values: Mapping[str, str]) -> str:
        who = self._who(command)
        where = self.discord.world.direct(who.user) if who is self.owner else self.discord.channel
        into = self.discord.channel if "channel" in values else None
        options = {arg.name: _option(arg, values[arg.name]) for arg in command.args if arg.name in values}
        options.pop("channel", None)
        return (await (await who.run(command.name, channel=where, into=into, **options)).answer()).text

    async def presses(self, command: Command, button: str) -> str:
        asked = await self._who(command).send_press(self.card, button)
        interaction = await asked.acknowledged()
        if not interaction.modal:
            if interaction.original is None:
                return ""
            return (await asked.answer()).text
        # A form is sent as it was opened.
        return (await (await self._who(command).fill(asked)).answer()).text

    async def suggests(self, command: Command, arg: Arg) -> list[str] | None:
        if " " in command.name:
            return None  # the stand-in types no subcommands that far
        return [str(choice["value"]) for choice in await self.member.suggest(command.name, arg.name, "")]

    async def picks(self, command: Command) -> str | None:
        names = [c["name"] for c in self.discord.world.commands if c["type"] != 1]
        key = f"discord.menu.{(command.name or command.action).replace(' ', '.')}"
        assert i18n.text("en", key) in names
        target = self.card if command.picked_on is PickedOn.MESSAGE else self.admin
        return (await (await self.admin.pick(i18n.text("en", key), target)).answer()).text

    def _who(self, command: Command) -> DiscordPerson:
        by_permission = {Permission.ADMIN: self.admin, Permission.OWNER: self.owner}
        return by_permission.get(command.permission, self.member)


def _option(arg: Arg, value: str) -> Any:
    match arg.type:
        case ArgType.WHOLE | ArgType.COUNT | ArgType.JOB:
            return int(value)
        case ArgType.DECIMAL:
            return float(value)
        case ArgType.SWITCH:
            return value == "yes"
        case _:
            return value


class TelegramRig:
    """A group, and everybody's private chat."""

    def __init__(self, bot: TelegramHarness) -> None:
        self.bot = bot
        self.telegram = bot.telegram
        self.member, self.admin, self.owner = (self.telegram.person(name) for name in ("Ann", "Boss", "Owner"))
        self.owner.id = int(OWNER)
        self.group = self.telegram.group("Painters", self.member, admin=self.admin)
        self.private = {person.id: self.telegram.private(person) for person in (self.member, self.admin, self.owner)}
        self.pickers = {ArgType.PERSON: f"telegram:{self.member.id}", ArgType.CHANNEL: "here"}
        self.card: Msg

    async def begin(self) -> None:
        self.telegram.writes(self.group, self.member, "/draw a cat --seed 7 --count 2")
        self.card = await self.telegram.until(
            lambda: next((m for m in self.group.by_bot() if "easel:more:1" in str(m.markup)), None)
        )

    async def types(self, command: Command, values: Mapping[str, str]) -> str:
        who, chat = self._where(command)
        asked = self.telegram.writes(chat, who, line(command, values))
        # An album has no words; its card comes below.
        return await self.telegram.until(
            lambda: next((m.words for m in chat.by_bot() if m.reply_to is asked and m.words), None)
        )

    async def presses(self, command: Command, button: str) -> str:
        who, _ = self._where(command)
        private = self.private[who.id]
        before = {m.id for m in private.by_bot()}
        query = self.telegram.sends_press(self.card, who, button)
        await self.telegram.until(lambda: query.answered)
        if not query.text:
            return ""
        sent = i18n.text("en", "telegram.sent_in_private", bot="@easel_bot")
        if query.text != sent:
            return query.text
        # The form's line, or another card for the presser alone.
        return (
            await self.telegram.until(lambda: next((m for m in private.by_bot() if m.id not in before), None))
        ).words

    async def suggests(self, command: Command, arg: Arg) -> list[str] | None:
        return None

    async def picks(self, command: Command) -> str | None:
        return None

    def _where(self, command: Command) -> tuple[Person, Chat]:
        if command.permission is Permission.OWNER:
            return self.owner, self.private[self.owner.id]
        if command.permission is Permission.ADMIN:
            return self.admin, self.group
        return self.member, self.private[self.member.id] if command.personal and command.private else self.group


def line(command: Command, values: Mapping[str, str]) -> str:
    """Return a command as people type it."""
    words = [f"/{command.name}"]
    flags = {"negative": "no", "start": "from"}
    for n, arg in enumerate(command.args):
        value = values.get(arg.name)
        if value is None:
            continue
        if command.prompted and n:
            flag = flags.get(arg.name, arg.name)
            # A switch is off, and what has no flag is for surfaces with a box for it.
            if arg.type is not ArgType.SWITCH and flag in FLAG_NAMES:
                words.append(f"--{flag} {value}")
        else:
            words.append(f"{arg.name} {value}" if arg.named else value)
    return " ".join(words)


@contextlib.asynccontextmanager
async def discord_rig(folder: Path, engine: FakeEngine) -> AsyncIterator[Rig]:
    async with on_discord(folder, engine) as bot:
        rig = DiscordRig(bot)
        await rig.begin()
        yield rig


@contextlib.asynccontextmanager
async def telegram_rig(folder: Path, engine: FakeEngine) -> AsyncIterator[Rig]:
    async with on_telegram(folder, engine) as bot:
        rig = TelegramRig(bot)
        await rig.begin()
        yield rig


RIGS: Mapping[str, Callable[[Path, FakeEngine], AbstractAsyncContextManager[Rig]]] = {
    "discord": discord_rig,
    "telegram": telegram_rig,
}


@pytest.mark.parametrize("platform", list(RIGS))
async def test_everything_of_the_registry_is_answered(
    tmp_path: Path, platform: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "LINK", "https://easel.example")
    wrong: list[str] = []
    async with RIGS[platform](tmp_path, FakeEngine(loras=[LoraInfo("ink", "Ink Wash")], describes=True)) as rig:
        refused = refusals(rig.bot)

        def check(what: str, said: str) -> None:
            keys = [refusal.key for refusal in refused]
            refused.clear()
            failed = i18n.text("en", "refusal.unavailable.internal") in said or re.search(r"\{\w+\}", said)
            if failed or not set(keys) <= set(REFUSED.get(what, ())):
                wrong.append(f"{what}: {said!r}, refused by {keys}")

        for command in COMMANDS.typed:
            values = given(command, rig.pickers)
            if command.name == "easel undo":
                values["number"] = str(await rig.bot.count("audit"))
            said = await rig.types(command, values)
            check(f"/{command.name}", said or "{nothing}")
        for command in COMMANDS.picked:
            if (picked := await rig.picks(command)) is not None:
                check(f"menu {command.name or command.action}", picked or "{nothing}")
        for command, arg in ((c, a) for c in COMMANDS.typed for a in c.args if a.type in SUGGESTED):
            suggested = await rig.suggests(command, arg)
            if suggested == []:
                wrong.append(f"/{command.name} {arg.name}: nothing is suggested")
        for action, command in sorted(COMMANDS.by_action.items(), key=lambda item: item[0] in LATE):
            check(action, await rig.presses(command, ButtonPress(action, 1, 0).pack()))
        assert not wrong, "\n".join(wrong)
    assert [record.getMessage() for record in caplog.records if record.levelname in {"ERROR", "CRITICAL"}] == []


def refusals(bot: PlatformHarness) -> list[Refusal]:
    """Return a list that gets every refusal that is shown."""
    found: list[Refusal] = []
    refused = bot.studio.refused

    def noted(refusal: Refusal, *args: Any, **more: Any) -> Any:
        found.append(refusal)
        return refused(refusal, *args, **more)

    bot.studio.refused = noted  # type: ignore[method-assign]
    return found
