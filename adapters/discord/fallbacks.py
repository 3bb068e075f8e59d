"""Shows a card with fallbacks where Discord refuses a part: smaller files, no files, plain text."""

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
"""Returns a catalogue's sentence by key and language."""


class Fallback(Enum):
    """How much of a card is shown."""

    WHOLE = auto()
    SMALL = auto()
    NO_FILES = auto()
    PLAIN = auto()


@dataclass(frozen=True, slots=True)
class MessageParts:
    """The part of a card that one request shows. It can be rendered any number of times.

    Attributes:
        card: The card, with notes about omitted parts.
        files: Files in memory.
        plain: Whether only plain text is shown, without markup, embed or button.
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
        """Return the arguments for an edit; they also remove parts that the card no longer has."""
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
    """Show as much of a card as Discord accepts. Omitted parts are noted on the card and in the log.

    Args:
        card: The card.
        show: Makes one attempt.
        what: Name of the card or request in the log.
        words: The catalogues.
        profiles: Models whose small pictures are shown enlarged; if empty, no file is changed.

    Raises:
        discord.HTTPException: Plain text was refused too, or the reason was not the content.
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
    """Return the card and its files; a note on the card says if they can't be read."""
    if not card.pictures or shape in (Fallback.NO_FILES, Fallback.PLAIN):
        return card, ()
    try:
        return card, await uploads(card.pictures, profiles, small=shape is Fallback.SMALL)
    except OSError as error:
        log.error("The pictures of job %s can't be read: %s", card.job_id, error)
        return _noted(card, words, "discord.files.unreadable"), ()
