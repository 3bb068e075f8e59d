"""Redacts a message that can no longer be deleted: an edit removes its content."""

from __future__ import annotations

import asyncio
import io

from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import BufferedInputFile, InputMediaDocument, InputMediaPhoto, LinkPreviewOptions
from PIL import Image

from adapters.telegram.render import CAPTION_LIMIT, TEXT_LIMIT, words
from bot.core.cards import Card

_SIDE = 64
_PAPER = (52, 52, 58)
_SECONDS = 30
_NO_PREVIEW = LinkPreviewOptions(is_disabled=True)
_NO_TEXT = "there is no text in the message"
_DONE = "message is not modified"


async def redact(bot: Bot, chat_id: int, message_id: int, card: Card) -> None:
    """Replace a message's content by the card: text is replaced, and a photo or file becomes a grey square.

    Raises:
        TelegramAPIError: It can't be edited.
    """
    text, entities = words(card, TEXT_LIMIT)
    try:
        await bot.edit_message_text(
            text,
            chat_id=chat_id,
            message_id=message_id,
            entities=entities,
            link_preview_options=_NO_PREVIEW,
            request_timeout=_SECONDS,
        )
    except TelegramBadRequest as error:
        if _DONE in error.message:
            return
        if _NO_TEXT not in error.message:
            raise
    else:
        return
    caption, marked = words(card, CAPTION_LIMIT)
    blank = BufferedInputFile(await asyncio.to_thread(_blank), filename="forgotten.png")
    # In an album a photo must stay a photo and a file a file; elsewhere the kind may change.
    photo = InputMediaPhoto(media=blank, caption=caption, caption_entities=marked)
    file = InputMediaDocument(media=blank, caption=caption, caption_entities=marked)
    try:
        await bot.edit_message_media(photo, chat_id=chat_id, message_id=message_id, request_timeout=_SECONDS)
    except TelegramBadRequest as error:
        if _DONE not in error.message:
            await bot.edit_message_media(file, chat_id=chat_id, message_id=message_id, request_timeout=_SECONDS)


def _blank() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (_SIDE, _SIDE), _PAPER).save(out, "PNG")
    return out.getvalue()
