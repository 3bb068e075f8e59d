"""Cards as embeds and rows of buttons, with less of them where Discord refuses a part. People's text is escaped."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, TypeVar

import discord

from adapters.discord.errors import MISSING_PERMISSIONS, is_of_content, is_too_large, log_refusal
from adapters.discord.pictures import Upload, uploads
from bot.core.cards import Button, Card, Tone
from bot.core.texts import clip
from engine.contract import Profile

log = logging.getLogger(__name__)

T = TypeVar("T")
Words = Callable[[str, str], str]
"""Returns a catalogue's sentence by key and language."""

PROMPT_CHARS = 1200
"""Most characters of a prompt that are shown, escapes included."""
LINE_CHARS = 3000
"""The same on cards that are about no job, such as the line that asks for a job again."""
SENTENCE_CHARS = 600
CONTENT_CHARS = 2000
DESCRIPTION_CHARS, EMBED_CHARS = 4096, 6000
NAME_CHARS, VALUE_CHARS, FIELDS = 256, 300, 25
"""Limits of an embed's fields. Discord takes values of 1,024 characters; facts are kept shorter."""
ASKER_CHARS = 100
LABEL_CHARS = 80
ROWS, PER_ROW = 5, 5
BAR = 16

COLOURS: dict[Tone, discord.Colour] = {
    Tone.WAITING: discord.Colour.light_grey(),
    Tone.RUNNING: discord.Colour.blue(),
    Tone.DONE: discord.Colour.green(),
    Tone.STOPPED: discord.Colour.dark_grey(),
    Tone.PROBLEM: discord.Colour.red(),
    Tone.INFO: discord.Colour.blurple(),
}

# Discord's markdown takes a backslash before any of these. Escaping them all also ends links, timestamps (<t:0>),
# emoji (:x:), command mentions (</x:0>), headings, lists and quotes, which discord.utils.escape_markdown leaves alone.
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")


def escape(text: str, limit: int) -> str:
    """Return text that Discord shows as it was typed, in at most ``limit`` characters, cut with an ellipsis."""
    shown = discord.utils.escape_mentions(_PUNCTUATION.sub(r"\\\g<0>", text))
    if len(shown) <= limit:
        return shown
    # Cutting must not split an escape: a single backslash at the end would escape the ellipsis.
    cut = shown[: limit - 1]
    return cut[: len(cut) - (len(cut) - len(cut.rstrip("\\"))) % 2] + "…"


def embed_of(card: Card) -> discord.Embed | None:
    """Return the card's text within Discord's limits; None when there is none (pictures alone)."""
    parts = _parts(card)
    if not parts and not card.facts:
        return None
    embed = discord.Embed(colour=COLOURS[card.tone])
    if card.asker:
        # Discord reads no markup in a footer.
        embed.set_footer(text=card.asker[:ASKER_CHARS])
    description = ""
    for part in parts:
        longer = f"{description}\n{part}" if description else part
        if len(longer) <= DESCRIPTION_CHARS:
            description = longer
    embed.description = description or None
    for fact in card.facts[:FIELDS]:
        name, value = escape(fact.label.strip(), NAME_CHARS), escape(fact.value.strip(), VALUE_CHARS)
        if name and value and len(embed) + len(name) + len(value) <= EMBED_CHARS:
            embed.add_field(name=name, value=value)
    return embed


def plain_of(card: Card) -> str:
    """Return the card's own sentences as plain text: nothing that people wrote, at most 2,000 characters."""
    lines = [escape(line, SENTENCE_CHARS) for line in (card.status, *card.notes) if line]
    text = "\n".join(lines)
    return clip(text, CONTENT_CHARS)


def _parts(card: Card) -> list[str]:
    parts = [f"**{escape(card.status, SENTENCE_CHARS)}**"] if card.status else []
    if card.progress is not None:
        done = round(max(0.0, min(1.0, card.progress)) * BAR)
        parts.append("▰" * done + "▱" * (BAR - done))
    if card.prompt:
        parts.append(
            "> " + escape(" ".join(card.prompt.split()), PROMPT_CHARS if card.job_id is not None else LINE_CHARS)
        )
    return parts + [escape(note, SENTENCE_CHARS) for note in card.notes]


def view_of(card: Card) -> discord.ui.View | None:
    """Return the card's buttons; None when it has none. Needs a running event loop."""
    rows = _rows(card.buttons)
    if not rows:
        return None
    view = discord.ui.View(timeout=None)
    for number, row in enumerate(rows):
        for button in row:
            style = discord.ButtonStyle.danger if button.danger else discord.ButtonStyle.secondary
            view.add_item(
                discord.ui.Button(
                    style=style, label=clip(button.label, LABEL_CHARS), custom_id=button.press.pack(), row=number
                )
            )
    # A stopped view is sent but not stored: presses are answered from the custom id, also after a restart.
    view.stop()
    return view


def _rows(rows: tuple[tuple[Button, ...], ...]) -> list[tuple[Button, ...]]:
    split = [row[i : i + PER_ROW] for row in rows for i in range(0, len(row), PER_ROW)]
    return split[:ROWS]


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
