"""Which messages reach which handler: a filter for typed commands, and the messages that no command handles."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from aiogram import Bot, F, Router
from aiogram.filters import Filter
from aiogram.types import Message, Update

from adapters.telegram.identity import NAME, author_of, is_channel, is_group
from adapters.telegram.replies import ReplyPoster
from bot.studio import Studio

_WIDE = {ord("！") + offset: ord("!") + offset for offset in range(94)}
"""Full-width forms of ASCII, as Chinese and Japanese keyboards type them."""
_BLANK = "\\s\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
_HEAD = re.compile(
    rf"[{_BLANK}]*/(?P<name>[A-Za-z]+)(?:@(?P<bot>[A-Za-z0-9_]+))?(?![A-Za-z0-9_@])[{_BLANK}]*:?[{_BLANK}]*"
)
_END = re.compile(rf"[{_BLANK}]+\Z")


@dataclass(frozen=True, slots=True)
class TypedCommand:
    """A command.

    Attributes:
        name: In lower case, without its slash.
        rest: The text after it, without the colon and the blanks between.
    """

    name: str
    rest: str


def parse_command(text: str, username: str | None) -> TypedCommand | None:
    """Parse a line that begins with a command; None without a command, or with one for another bot than ``username``."""
    # One character maps to one, so that positions in the folded text are positions in the text.
    folded = text.translate(_WIDE)
    head = _HEAD.match(folded)
    if head is None or (head["bot"] is not None and head["bot"].lower() != (username or "").lower()):
        return None
    begin = head.end()
    if username and re.match(rf"@{re.escape(username)}(?![A-Za-z0-9_])", folded[begin:], re.IGNORECASE):
        begin += 1 + len(username)
        begin += len(folded[begin:]) - len(folded[begin:].lstrip())
    return TypedCommand(head["name"].lower(), _END.sub("", text[begin:]))


class CommandFilter(Filter):
    """Passes messages whose text, or the caption of their media, begins with one of these commands, as ``line``.

    A space after the name is not needed: ``/draw a cat``, ``/draw一只猫``.

    Args:
        names: The commands, without a slash; any command where none is given.
    """

    def __init__(self, *names: str) -> None:
        self._names = frozenset(names)

    async def __call__(self, message: Message, bot: Bot) -> bool | dict[str, Any]:
        """Return the handler's further arguments, or False."""
        line = parse_command(message.text or message.caption or "", (await bot.me()).username)
        if line is None or (self._names and line.name not in self._names):
            return False
        return {"line": line}


class IgnoredSenders:
    """Handles messages of bots and channels before any other handler.

    Args:
        replies: Saves replies.
        commands: Commands that a channel is told it can't use.
    """

    def __init__(self, replies: ReplyPoster, commands: tuple[str, ...]) -> None:
        self._replies = replies
        self._commands = commands

    def router(self) -> Router:
        """Return the routes: messages of bots, and commands of channels."""
        router = Router(name="senders")
        router.message.register(self.ignore, _is_bot)
        router.message.register(self.channel, _is_channel, CommandFilter(*self._commands))
        return router

    async def ignore(self, _: Message) -> None:
        """Ignore a bot: two bots that answer each other would never stop."""

    async def channel(self, message: Message, event_update: Update) -> None:
        """Refuse a channel: its author is unknown, so bans and quotas could not be applied."""
        actor = author_of(message, ())
        card = self._replies.notice("telegram.as_channel", actor)
        await self._replies.post(message, actor, event_update.update_id, card, kind="as_channel")


def _is_bot(message: Message, bot: Bot) -> bool:
    user = message.from_user
    # Messages in the name of a chat have one of Telegram's own bots as their author.
    others = user is not None and user.is_bot and (message.sender_chat is None or not is_group(message.chat))
    return others or bool(message.is_automatic_forward) or (user is not None and user.id == bot.id)


def _is_channel(message: Message) -> bool:
    return is_channel(message)


class ChatMigrations:
    """Moves a group's settings to its new id when it becomes a supergroup.

    Args:
        studio: The core.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def router(self) -> Router:
        """Return the routes: Telegram's last message in the old group, and its first one in the new group."""
        router = Router(name="moves")
        router.message.register(self.left, F.migrate_to_chat_id)
        router.message.register(self.came, F.migrate_from_chat_id)
        return router

    async def left(self, message: Message) -> None:
        """Handle the old group's message with the new id."""
        await self._studio.place_moved(NAME, str(message.chat.id), str(message.migrate_to_chat_id))

    async def came(self, message: Message) -> None:
        """Handle the new group's message with the old id; usually the move is known by then."""
        await self._studio.place_moved(NAME, str(message.migrate_from_chat_id), str(message.chat.id))
