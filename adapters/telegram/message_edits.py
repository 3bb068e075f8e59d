"""Edits that messages and inline messages share: new words, nothing changed, and a square in the place of a picture."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from contextlib import contextmanager

from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import BufferedInputFile, InlineKeyboardMarkup, InputFile, LinkPreviewOptions
from PIL import Image

from adapters.telegram.render import CAPTION_LIMIT, TEXT_LIMIT, words
from bot.core.cards import Card

NO_PREVIEW = LinkPreviewOptions(is_disabled=True)
EDIT_SECONDS = 30
_NO_TEXT = "there is no text in the message"
_NOT_MODIFIED = "message is not modified"
_SQUARE, _GREY = 64, (52, 52, 58)


def has_no_text(error: TelegramBadRequest) -> bool:
    """Whether an edit of the text was refused since the message is a picture with a caption."""
    return _NO_TEXT in error.message


@contextmanager
def ignore_unmodified() -> Iterator[None]:
    """Pass over the refusal of an edit that changes nothing."""
    try:
        yield
    except TelegramBadRequest as error:
        if _NOT_MODIFIED not in error.message:
            raise


async def edit_words(
    bot: Bot,
    card: Card,
    *,
    chat_id: int | None = None,
    message_id: int | None = None,
    inline_message_id: str | None = None,
    markup: InlineKeyboardMarkup | None = None,
) -> None:
    """Edit a message, or an inline message, to the card's words: its text, or the caption of its picture.

    Raises:
        TelegramAPIError: Telegram refused it.
    """
    text, entities = words(card, TEXT_LIMIT)
    try:
        await bot.edit_message_text(
            text,
            chat_id=chat_id,
            message_id=message_id,
            inline_message_id=inline_message_id,
            entities=entities,
            link_preview_options=NO_PREVIEW,
            reply_markup=markup,
            request_timeout=EDIT_SECONDS,
        )
    except TelegramBadRequest as error:
        if not has_no_text(error):
            raise
        caption, entities = words(card, CAPTION_LIMIT)
        await bot.edit_message_caption(
            chat_id=chat_id,
            message_id=message_id,
            inline_message_id=inline_message_id,
            caption=caption,
            caption_entities=entities,
            reply_markup=markup,
            request_timeout=EDIT_SECONDS,
        )


async def grey_square() -> InputFile:
    """Return the picture that takes the place of one that is to be forgotten."""
    return BufferedInputFile(await asyncio.to_thread(_grey_square), filename="forgotten.png")


def _grey_square() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (_SQUARE, _SQUARE), _GREY).save(out, "PNG")
    return out.getvalue()
