"""Inline messages: cards in chats that the bot is not in. They are edited by an id of their own, and take no uploads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import InputFile, InputMediaPhoto

from adapters.telegram.identity import person_of
from adapters.telegram.inline import SentPhotos
from adapters.telegram.message_edits import EDIT_SECONDS, edit_words, grey_square, has_no_text, ignore_unmodified
from adapters.telegram.render import CAPTION_LIMIT, TEXT_LIMIT, keyboard, words
from bot.core.cards import Card
from bot.core.messages import Address
from bot.core.ports import Gone, NoPictures

_UPLOAD_SECONDS = 120


class InlineMessages:
    """Edits inline messages.

    A picture is sent to its asker's private chat first, with its buttons, or to the storage chat; the inline message
    then shows it by Telegram's id.

    Args:
        sent: Telegram's ids of pictures.
        storage_chat: Id of the storage chat; None for the asker's private chat.
        turn: Reserves a chat while a message is sent there.
    """

    def __init__(
        self, sent: SentPhotos, storage_chat: int | None, turn: Callable[[int], AbstractContextManager[None]]
    ) -> None:
        self._sent = sent
        self._storage_chat = storage_chat
        self._turn = turn

    async def edit(self, bot: Bot, address: Address, card: Card, shown: InputFile | None) -> None:
        """Show a card without buttons; ``shown`` is its picture.

        Raises:
            Gone: There is no such message, or the card is private: other people read it.
            NoPictures: Its picture can be sent to no chat.
            TelegramAPIError: Telegram refused it.
        """
        if card.private or address.message is None:
            raise Gone("an inline message is no private chat")
        if shown is None:
            with ignore_unmodified():
                await edit_words(bot, card, inline_message_id=address.message)
        else:
            photo = self._sent.known(card.pictures[0].path) or await self._upload(bot, address, card, shown)
            await self._edit_photo(bot, address.message, card, photo)

    async def redact(self, bot: Bot, address: Address, card: Card) -> None:
        """Replace a message's content by the card: a bot can't delete it. Raises as ``edit``."""
        if address.message is None:
            raise Gone("no message is known")
        text, entities = words(card, TEXT_LIMIT)
        try:
            with ignore_unmodified():
                await bot.edit_message_text(
                    text, inline_message_id=address.message, entities=entities, request_timeout=EDIT_SECONDS
                )
        except TelegramBadRequest as error:
            if not has_no_text(error):
                raise
            chat = self._chat(address)
            with self._turn(chat):
                square = await bot.send_photo(chat, await grey_square(), request_timeout=_UPLOAD_SECONDS)
            await bot.delete_message(chat, square.message_id, request_timeout=EDIT_SECONDS)
            assert square.photo
            await self._edit_photo(bot, address.message, card, square.photo[-1].file_id)

    async def _upload(self, bot: Bot, address: Address, card: Card, shown: InputFile) -> str:
        """Send the picture to a chat of the bot; returns Telegram's id of it."""
        chat, caption = self._chat(address), words(card, CAPTION_LIMIT)
        with self._turn(chat):
            try:
                message = await bot.send_photo(
                    chat,
                    shown,
                    caption=caption[0],
                    caption_entities=caption[1],
                    has_spoiler=card.pictures[0].spoiler or None,
                    reply_markup=None if self._storage_chat is not None else keyboard(card),
                    request_timeout=_UPLOAD_SECONDS,
                )
            except TelegramBadRequest as error:
                raise NoPictures(error.message) from error
        if not message.photo:
            raise NoPictures("Telegram has made no photo of it")
        path: Path = card.pictures[0].path
        self._sent.add(path, message)
        return message.photo[-1].file_id

    def _chat(self, address: Address) -> int:
        return person_of(address) if self._storage_chat is None else self._storage_chat

    @staticmethod
    async def _edit_photo(bot: Bot, message_id: str, card: Card, photo: str) -> None:
        caption, entities = words(card, CAPTION_LIMIT)
        spoiler = bool(card.pictures) and card.pictures[0].spoiler
        media = InputMediaPhoto(media=photo, caption=caption, caption_entities=entities, has_spoiler=spoiler or None)
        with ignore_unmodified():
            await bot.edit_message_media(media, inline_message_id=message_id, request_timeout=EDIT_SECONDS)
