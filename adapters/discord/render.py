"""Cards as components, with less of them where Discord refuses a part. People's text is escaped."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, TypeVar

import discord

from adapters.discord.errors import MISSING_PERMISSIONS, is_of_content, is_too_large, log_refusal
from adapters.discord.pictures import Upload, preview_upload, uploads
from bot.core.cards import Button, Card, Tone
from bot.core.file_marks import SignCopy, unsigned
from bot.core.ports import NoPictures
from bot.core.texts import clip
from engine.contract import Profile

log = logging.getLogger(__name__)

T = TypeVar("T")
Words = Callable[[str, str], str]
"""Returns a catalogue's sentence by key and language."""

PROMPT_CHARS = 1200
"""Most characters of a prompt that are shown, escapes included."""
LINE_CHARS = 2400
"""The same on cards that are about no job, such as the line that asks for a job again."""
SENTENCE_CHARS = 600
FACT_CHARS = 300
ASKER_CHARS = 200
TEXT_CHARS = 4000
"""Discord's limit for all texts of one message together."""
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


def view_of(card: Card, files: Sequence[Upload] = (), *, mention: int | None = None) -> discord.ui.LayoutView:
    """Return the card as components. Needs a running event loop.

    Args:
        card: The card.
        files: Its pictures and other files, as they are attached.
        mention: Id of a person who is named in place of the asker's name. Whether that notifies them is for the request
            to say.
    """
    view = discord.ui.LayoutView(timeout=None)
    pictures = [file for file in files if file.is_picture]
    above, below = _texts(card, mention)
    parts: list[discord.ui.Item[discord.ui.LayoutView]] = [discord.ui.TextDisplay(above)] if above else []
    if pictures:
        gallery: discord.ui.MediaGallery[discord.ui.LayoutView] = discord.ui.MediaGallery()
        for file in pictures:
            gallery.add_item(media=f"attachment://{file.sent_as}", description=file.alt or None, spoiler=file.spoiler)
        parts.append(gallery)
    parts += [
        discord.ui.File(f"attachment://{file.sent_as}", spoiler=file.spoiler) for file in files if not file.is_picture
    ]
    if below:
        parts.append(discord.ui.TextDisplay(below))
    parts += _rows(card.buttons)
    if parts:
        view.add_item(discord.ui.Container(*parts, accent_colour=COLOURS[card.tone]))
    else:
        # A message can't be without content.
        view.add_item(discord.ui.TextDisplay("\u200b"))
    # A stopped view is sent but not stored: presses are answered from the custom id, also after a restart.
    view.stop()
    return view


def plain_of(card: Card, *, mention: int | None = None) -> discord.ui.LayoutView:
    """Return the card's own sentences alone: nothing that people wrote, no file and no button."""
    lines = [escape(line, SENTENCE_CHARS) for line in (card.status, *card.notes) if line]
    text = clip("\n".join(lines), TEXT_CHARS - ASKER_CHARS)
    if mention is not None:
        text = f"{text}\n<@{mention}>"
    view = discord.ui.LayoutView(timeout=None)
    view.add_item(discord.ui.TextDisplay(text.strip() or "\u200b"))
    view.stop()
    return view


def custom_ids(components: Iterable[object]) -> Iterator[str]:
    """Yield the custom ids of a message's buttons and selects in order, those in containers too."""
    for component in components:
        if isinstance(component, discord.ActionRow | discord.Container):
            yield from custom_ids(component.children)
        elif isinstance(component, discord.Button | discord.SelectMenu) and component.custom_id is not None:
            yield component.custom_id


def _texts(card: Card, mention: int | None) -> tuple[str, str]:
    """Return the markup above and below the pictures; together they keep to TEXT_CHARS."""
    above = []
    if card.prompt:
        prompt = escape(" ".join(card.prompt.split()), PROMPT_CHARS if card.job_id is not None else LINE_CHARS)
        above.append(f"**{prompt}**" if card.job_id is not None else prompt)
    if card.headline:
        status = _sentence(card, card.headline, SENTENCE_CHARS)
        # Of a job the prompt is the title, of any other card the first sentence.
        above = [*above, status] if card.job_id is not None else [f"**{status}**", *above]
    if card.progress is not None:
        done = round(max(0.0, min(1.0, card.progress)) * BAR)
        above.append("▰" * done + "▱" * (BAR - done))
    lines = [_sentence(card, note, SENTENCE_CHARS) for note in card.notes]
    below = []
    if card.summary:
        below.append(" · ".join(_sentence(card, part, FACT_CHARS) for part in card.summary))
    else:
        facts = [f for f in card.facts if f.label.strip() and f.value.strip()]
        lines += [f"{escape(f.label.strip(), FACT_CHARS)}: {_sentence(card, f.value, FACT_CHARS)}" for f in facts]
    asker = f"<@{mention}>" if mention is not None else escape(card.asker.strip(), ASKER_CHARS)
    if asker:
        below.append(asker)
    if card.job_id is None:
        above += [line for line in lines if line]
    else:
        below = [*(line for line in lines if line), *below]
    small = [f"-# {line}" for line in below]
    left = TEXT_CHARS - sum(len(line) + 1 for line in small)
    return _fitting(above, left), _fitting(small, TEXT_CHARS)


def _fitting(lines: Sequence[str], limit: int) -> str:
    text = ""
    for line in lines:
        longer = f"{text}\n{line}" if text else line
        if len(longer) <= limit:
            text = longer
    return text


def _sentence(card: Card, text: str, limit: int) -> str:
    """Return a sentence of the card on one line, with its moments as Discord shows them to each reader."""
    text = " ".join(text.split())
    moments = {moment.words: f"<t:{int(moment.at)}:R>" for moment in card.instants if moment.words}
    # A sentence that is cut keeps its words: a part of a timestamp is none.
    if not moments or len(escape(text, limit + 1)) > limit:
        return escape(text, limit)
    parts = re.split("(" + "|".join(re.escape(words) for words in moments) + ")", text)
    return "".join(moments.get(part) or escape(part, limit) for part in parts)


def _rows(rows: tuple[tuple[Button, ...], ...]) -> list[discord.ui.ActionRow[discord.ui.LayoutView]]:
    made = []
    split = [row[i : i + PER_ROW] for row in rows for i in range(0, len(row), PER_ROW)]
    for row in split[:ROWS]:
        shown: discord.ui.ActionRow[discord.ui.LayoutView] = discord.ui.ActionRow()
        for button in row:
            style = discord.ButtonStyle.danger if button.danger else discord.ButtonStyle.secondary
            label = clip(button.label, LABEL_CHARS)
            shown.add_item(discord.ui.Button(style=style, label=label, custom_id=button.press.pack()))
        made.append(shown)
    return made


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
        plain: Whether only plain text is shown, without files and buttons.
        mention: See ``view_of``.
    """

    card: Card
    files: tuple[Upload, ...] = ()
    plain: bool = False
    mention: int | None = None

    def new(self) -> dict[str, Any]:
        """Return the arguments for a new message."""
        files = self._files()
        return {"view": self._view(), **({"files": files} if files else {})}

    def edit(self) -> dict[str, Any]:
        """Return the arguments for an edit; they also remove what the card no longer has, and what only messages of the
        form before components have: text and embeds.
        """
        return {"content": None, "embeds": [], "view": self._view(), "attachments": self._files()}

    def _view(self) -> discord.ui.LayoutView:
        if self.plain:
            return plain_of(self.card, mention=self.mention)
        return view_of(self.card, self.files, mention=self.mention)

    def _files(self) -> list[discord.File]:
        return [] if self.plain else [upload.file() for upload in self.files]


async def show_with_fallbacks(
    card: Card,
    show: Callable[[MessageParts], Awaitable[T]],
    *,
    what: str,
    words: Words,
    profiles: Sequence[Profile],
    mention: int | None = None,
    max_file: int | None = None,
    sign: SignCopy = unsigned,
) -> T:
    """Show as much of a card as Discord accepts. Omitted parts are noted on the card and in the log.

    Args:
        card: The card.
        show: Makes one attempt.
        what: Name of the card or request in the log.
        words: The catalogues.
        profiles: Models whose small pictures are shown enlarged; if empty, no file is changed.
        mention: See ``view_of``.
        max_file: See ``uploads``.
        sign: See ``uploads``.

    Raises:
        NoPictures: A card with a preview was refused; nothing is noted, since it is not finished.
        discord.HTTPException: Plain text was refused too, or the reason was not the content.
    """
    shape = Fallback.WHOLE
    while True:
        card, files = await _files(card, shape, words, profiles, max_file=max_file, sign=sign)
        try:
            return await show(MessageParts(card, files, plain=shape is Fallback.PLAIN, mention=mention))
        except discord.HTTPException as error:
            if card.preview is not None and is_of_content(error):
                log_refusal(what, error)
                raise NoPictures("Discord refused a card with a preview") from error
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
    card: Card,
    shape: Fallback,
    words: Words,
    profiles: Sequence[Profile],
    *,
    max_file: int | None,
    sign: SignCopy,
) -> tuple[Card, tuple[Upload, ...]]:
    """Return the card and its files; a note on the card says if they can't be read."""
    if card.preview is not None:
        return card, (preview_upload(card, card.preview),)
    if not card.pictures or shape in (Fallback.NO_FILES, Fallback.PLAIN):
        return card, ()
    try:
        small = shape is Fallback.SMALL
        return card, await uploads(card.pictures, profiles, small=small, max_file=max_file, sign=sign)
    except OSError as error:
        log.error("The pictures of job %s can't be read: %s", card.job_id, error)
        return _noted(card, words, "discord.files.unreadable"), ()
