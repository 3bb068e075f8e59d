"""Shows a card whole, and less of it where Discord refuses a part: smaller files, no files, a plain sentence."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, TypeVar

import discord

from adapters.discord.errors import MISSING_PERMISSIONS, is_of_content, is_too_large, log_refusal
from adapters.discord.pictures import Upload, uploads
from adapters.discord.render import embed_of, plain_of, view_of
from bot.core.cards import Card
from engine.contract import Profile

log = logging.getLogger(__name__)

T = TypeVar("T")
Words = Callable[[str, str], str]
"""Gives a catalogue's sentence by its key and the language."""


class Fallback(Enum):
    """How much of a card is shown."""

    WHOLE = auto()
    SMALL = auto()
    NO_FILES = auto()
    PLAIN = auto()


@dataclass(frozen=True, slots=True)
class MessageParts:
    """What one request shows of a card; it can be asked for any number of times.

    Attributes:
        card: With the notes that say what is missing.
        files: In memory.
        plain: A sentence without any markup, embed or button.
    """

    card: Card
    files: tuple[Upload, ...] = ()
    plain: bool = False

    def new(self) -> dict[str, Any]:
        """Return the arguments for a new message."""
        shown = self._shown()
        view, files, content = shown.pop("view"), shown.pop("attachments"), shown.pop("content")
        more = {"view": view, "files": files, "content": content}
        return {**shown, **{name: value for name, value in more.items() if value}}

    def edit(self) -> dict[str, Any]:
        """Return the arguments for an edit, which also take away what is not there any more."""
        return self._shown()

    def _shown(self) -> dict[str, Any]:
        if self.plain:
            return {"content": plain_of(self.card), "embeds": [], "view": None, "attachments": []}
        embed = embed_of(self.card)
        return {
            "content": None,
            "embeds": [embed] if embed else [],
            "view": view_of(self.card),
            "attachments": [upload.file() for upload in self.files],
        }


async def show_with_fallbacks(
    card: Card, show: Callable[[MessageParts], Awaitable[T]], *, what: str, words: Words, profiles: Sequence[Profile]
) -> T:
    """Show a card, with as much of it as Discord takes; what is left out is said on it, and in the log.

    Args:
        card: What to show.
        show: One try.
        what: Name of it, for the log.
        words: The catalogues.
        profiles: Models whose small pictures are shown enlarged; none leaves every file as it is.

    Raises:
        discord.HTTPException: Not even a sentence is taken, or it was refused for another reason than what is in it.
    """
    shape = Fallback.WHOLE
    while True:
        card, files = await _files(card, shape, words, profiles)
        try:
            return await show(MessageParts(card, files, plain=shape is Fallback.PLAIN))
        except discord.HTTPException as error:
            following = _after(shape, error, files=bool(files))
            if following is None:
                raise
            log_refusal(what, error)
            if following is Fallback.NO_FILES:
                card = _noted(card, words, _reason(error))
            shape = following


def _after(shape: Fallback, error: discord.HTTPException, *, files: bool) -> Fallback | None:
    if not is_of_content(error) or shape is Fallback.PLAIN:
        return None
    if files and is_too_large(error) and shape is Fallback.WHOLE:
        return Fallback.SMALL
    return Fallback.NO_FILES if files else Fallback.PLAIN


def _reason(error: discord.HTTPException) -> str:
    if is_too_large(error):
        return "discord.files.too_large"
    return "discord.files.no_right" if error.code == MISSING_PERMISSIONS else "discord.files.refused"


def _noted(card: Card, words: Words, key: str) -> Card:
    return replace(card, notes=(words(key, card.locale), *card.notes), pictures=())


async def _files(
    card: Card, shape: Fallback, words: Words, profiles: Sequence[Profile]
) -> tuple[Card, tuple[Upload, ...]]:
    """Return the card and its files; where they can't be read the card says so."""
    if not card.pictures or shape in (Fallback.NO_FILES, Fallback.PLAIN):
        return card, ()
    try:
        return card, await uploads(card.pictures, profiles, small=shape is Fallback.SMALL)
    except OSError as error:
        log.error("The pictures of job %s can't be read: %s", card.job_id, error)
        return _noted(card, words, "discord.files.unreadable"), ()
