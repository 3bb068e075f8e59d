"""Cards as embeds and rows of buttons. All text that people wrote is escaped."""

from __future__ import annotations

import re

import discord

from bot.core.cards import Button, Card, Tone
from bot.core.texts import clip

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
