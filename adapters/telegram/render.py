"""Cards as text with explicit entities, captions, and inline keyboards.

No parse mode is used, so that no text can become markup. Telegram detects mentions and links everywhere but in code.
Text that people typed is therefore set as code, and an ``@`` elsewhere is followed by a word joiner.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup, MessageEntity
from aiogram.utils.formatting import Bold, Code, Pre, Text, as_list, sizeof

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
    lines: list[Text] = [Text(_SIGNS[card.tone], Bold(_quiet(card.status)))] if card.status else []
    if card.progress is not None:
        done = round(max(0.0, min(card.progress, 1.0)) * _BAR)
        lines.append(Code("█" * done + "░" * (_BAR - done)))
    if card.prompt:
        lines.append(Pre(prompt))
    lines += [Text(_quiet(note)) for note in card.notes if note]
    facts = [Text(f"{_quiet(fact.label)}: ", Code(clip(fact.value, _VALUE_LIMIT))) for fact in card.facts if fact.value]
    if facts:
        lines.append(as_list(*facts, sep="\n" if card.job_id is None else " · "))
    return as_list(*lines) if lines else Text()


def _quiet(text: str) -> str:
    return clip(text, _LINE_LIMIT).replace("@", "@\u2060")
