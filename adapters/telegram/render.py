"""Cards as text with explicit entities, captions, and inline keyboards.

No parse mode is used, so that no text can become markup. Telegram detects mentions and links everywhere but in code.
Text that people typed is therefore set as code, which apps also copy at a tap, and an ``@`` elsewhere is followed by a
word joiner.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup, MessageEntity
from aiogram.utils.formatting import Bold, Code, DateTime, Italic, Pre, Text, as_list, sizeof

from bot.core.cards import Card, Tone

TEXT_LIMIT = 4096
"""UTF-16 code units in a message (https://core.telegram.org/bots/api#sendmessage)."""
CAPTION_LIMIT = 1024
"""UTF-16 code units in a caption (https://core.telegram.org/bots/api#sendphoto)."""
ANSWER_LIMIT = 200
"""UTF-16 code units in the answer to a press (https://core.telegram.org/bots/api#answercallbackquery)."""

_VALUE_LIMIT = 120
_LINE_LIMIT = 400
_BAR = 12
_RELATIVE = "r"
"""Format of a date and time that the app shows relative to now, such as "in 2 hours"."""
_SIGNS: Mapping[Tone, str] = {
    Tone.WAITING: "⏳ ",
    Tone.RUNNING: "🎨 ",
    Tone.DONE: "",
    Tone.STOPPED: "⏹ ",
    Tone.PROBLEM: "⚠️ ",
    Tone.INFO: "",
}


def words(card: Card, limit: int) -> tuple[str, list[MessageEntity]]:
    """Return the card's text and entities within ``limit`` UTF-16 code units; the prompt is shortened first."""
    empty = sizeof(_compose(card, "…").render()[0])
    prompt = clip(card.prompt, max(limit - empty, 0) + 1) if card.prompt else ""
    text, entities = _compose(card, prompt).render()
    if sizeof(text) <= limit:
        return text, entities
    # Only with very many facts and notes: the end is cut off, and the entities are clipped with it.
    text = clip(text, limit)
    end = sizeof(text) - sizeof("…")
    inside = [e for e in entities if e.offset < end]
    return text, [e.model_copy(update={"length": min(e.length, end - e.offset)}) for e in inside]


def keyboard(card: Card) -> InlineKeyboardMarkup | None:
    """Return the card's buttons; None when it has none."""
    rows = [
        [
            InlineKeyboardButton(
                text=button.label, callback_data=button.press.pack(), style="danger" if button.danger else None
            )
            for button in row
        ]
        for row in card.buttons
        if row
    ]
    return InlineKeyboardMarkup(inline_keyboard=rows) if rows else None


def answer(sentence: str) -> str:
    """Return a sentence, shortened to the limit of an answer to a press."""
    return clip(sentence, ANSWER_LIMIT)


def clip(text: str, limit: int) -> str:
    """Return at most ``limit`` UTF-16 code units, with an ellipsis where the text was cut."""
    if sizeof(text) <= limit:
        return text
    return text.encode("utf-16-le")[: 2 * max(limit - 1, 0)].decode("utf-16-le", "ignore") + "…"


def _compose(card: Card, prompt: str) -> Text:
    of_job = card.job_id is not None
    lines: list[Text] = [Pre(prompt)] if card.prompt else []
    if card.headline:
        status = _sentence(card, card.headline)
        # Of a job the prompt is the title, of any other card the first sentence.
        lines.insert(len(lines) if of_job else 0, Text(_SIGNS[card.tone], status if of_job else Bold(status)))
    if card.progress is not None:
        done = round(max(0.0, min(card.progress, 1.0)) * _BAR)
        lines.append(Code("█" * done + "░" * (_BAR - done)))
    lines += [_sentence(card, note) for note in card.notes if note]
    if parts := [_sentence(card, part) for part in card.summary if part]:
        lines.append(Italic(*_joined(parts)))
        return as_list(*lines)
    facts = [Text(f"{_quiet(fact.label)}: ", Code(clip(fact.value, _VALUE_LIMIT))) for fact in card.facts if fact.value]
    if facts:
        lines.append(as_list(*facts, sep=" · " if of_job else "\n"))
    return as_list(*lines) if lines else Text()


def _sentence(card: Card, text: str) -> Text:
    """Return a sentence of the card, with its moments as each reader's app counts them."""
    moments = {moment.words: int(moment.at) for moment in card.instants if moment.words}
    text = clip(text, _LINE_LIMIT)
    if not moments:
        return Text(_quiet(text))
    parts = re.split("(" + "|".join(re.escape(words) for words in moments) + ")", text)
    return Text(
        *(
            DateTime(_quiet(part), unix_time=moments[part], date_time_format=_RELATIVE)
            if part in moments
            else _quiet(part)
            for part in parts
            if part
        )
    )


def _joined(parts: list[Text]) -> list[Text | str]:
    return [node for part in parts for node in (" · ", part)][1:]


def _quiet(text: str) -> str:
    return clip(text, _LINE_LIMIT).replace("@", "@\u2060")
