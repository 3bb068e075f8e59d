"""The filter for typed commands, with or without a space after the name: ``/draw a cat``, ``/draw一只猫``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from aiogram import Bot
from aiogram.filters import Filter
from aiogram.types import Message

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


def read(text: str, username: str | None) -> TypedCommand | None:
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

    Args:
        names: The commands, without a slash; any command where none is given.
    """

    def __init__(self, *names: str) -> None:
        self._names = frozenset(names)

    async def __call__(self, message: Message, bot: Bot) -> bool | dict[str, Any]:
        """Return the handler's further arguments, or False."""
        line = read(message.text or message.caption or "", (await bot.me()).username)
        if line is None or (self._names and line.name not in self._names):
            return False
        return {"line": line}
