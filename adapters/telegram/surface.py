"""Delivery to Telegram: cards are messages, pictures are photos, albums or documents, and old messages are redacted."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import yarl
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.enums import ChatAction
from aiogram.exceptions import TelegramBadRequest, TelegramMigrateToChat, TelegramRetryAfter
from aiogram.types import (
    BufferedInputFile,
    FSInputFile,
    InputFile,
    InputMediaDocument,
    InputMediaPhoto,
    MediaUnion,
    Message,
)
from PIL import Image

from adapters.downloads import download
from adapters.telegram.background import ChatActions
from adapters.telegram.errors import TokenRefusals, picture_errors, translate_errors
from adapters.telegram.identity import is_inline, person_of, private_chat, reply_to, whole
from adapters.telegram.inline import SentPhotos
from adapters.telegram.inline_messages import InlineMessages
from adapters.telegram.message_edits import NO_PREVIEW, edit_words, grey_square, has_no_text, ignore_unmodified
from adapters.telegram.rate_limit import RateLimiter
from adapters.telegram.render import CAPTION_LIMIT, TEXT_LIMIT, keyboard, words
from bot.core.cards import Card, Tone
from bot.core.file_marks import SignCopy, copied_marks, unsigned
from bot.core.messages import Address
from bot.core.pictures import PictureFile
from bot.core.ports import Abilities, Gone, NoPictures, RetryLater, TooLarge
from bot.core.requests import PictureSource
from engine.contract import Profile

log = logging.getLogger(__name__)

PHOTO_BYTES = 10 * 1000 * 1000
"""Just under the 10 MB that a photo may have (https://core.telegram.org/bots/api#sendphoto)."""
DOCUMENT_BYTES = 49 * 1000 * 1000
"""Just under the 50 MB that a document may have (https://core.telegram.org/bots/api#senddocument)."""
_LONGEST = 2560
"""Telegram keeps no photo larger than this, in pixels."""
_QUALITY = 92


async def photo(file: PictureFile, profiles: Sequence[Profile], sign: SignCopy = unsigned) -> InputFile:
    """Return the picture as a photo; Telegram compresses it again. Raises OSError if the file can't be read."""
    return await asyncio.to_thread(_photo, file, _factor(file, profiles), sign)


async def original(file: PictureFile) -> InputFile:
    """Return the stored file. Raises OSError if it can't be read."""
    await asyncio.to_thread(file.path.stat)
    return FSInputFile(file.path, filename=file.name)


def _factor(file: PictureFile, profiles: Sequence[Profile]) -> int:
    factor = file.enlargement(profiles)
    return factor if factor == 1 else max(1, min(factor, _LONGEST // max(file.width, file.height)))


def _photo(file: PictureFile, factor: int, sign: SignCopy) -> InputFile:
    if factor == 1 and file.path.stat().st_size <= PHOTO_BYTES:
        return FSInputFile(file.path, filename=file.name)
    with Image.open(file.path) as stored:
        marks = copied_marks(stored.info)
        shown = stored.convert("RGB")
    if factor > 1:
        shown = shown.resize((shown.width * factor, shown.height * factor), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=_QUALITY, subsampling=0, **marks)
    signed = sign(buffer.getvalue(), "image/jpeg", file.path.read_bytes())
    return BufferedInputFile(signed, filename=f"{file.path.stem}.jpg")


ALBUM = 10
"""Most files in an album (https://core.telegram.org/bots/api#sendmediagroup)."""

_FILE_TOO_BIG = "file is too big"
_HANDED_OUT = 20 * 2**20
"""Most bytes of a file that Telegram's server hands out (https://core.telegram.org/bots/api#getfile)."""

_NOT_DELETED = ("can't be deleted", "not enough rights")
_UPLOAD_SECONDS = 120
_SECONDS = 30
_AWAY = 5.0


class TelegramSurface:
    """``bot.core.ports.Surface`` for Telegram. Without a client every call raises RetryLater.

    Args:
        profiles: The models; small pictures are shown enlarged as their profile says. Asked each time.
        rate_limiter: Rate limits.
        sent: Telegram's ids of the photos that it has.
        storage_chat: Chat to which the pictures of inline messages are sent; None: to their askers.
        sign: Signs files that differ from the stored ones.
    """

    def __init__(
        self,
        profiles: Callable[[], Sequence[Profile]],
        rate_limiter: RateLimiter,
        sent: SentPhotos | None = None,
        storage_chat: int | None = None,
        *,
        sign: SignCopy = unsigned,
    ) -> None:
        self._client: Bot | None = None
        self._actions: ChatActions | None = None
        self._profiles = profiles
        self._rate_limiter = rate_limiter
        self._sign = sign
        self._refusals = TokenRefusals()
        self._sent = sent or SentPhotos()
        self._inline = InlineMessages(self._sent, storage_chat, self._turn)

    def use(self, bot: Bot | None, actions: ChatActions | None = None) -> None:
        """Use this client from now on, and show by ``actions`` that pictures are drawn; None while there is none."""
        self._client = bot
        self._actions = actions

    def abilities(self) -> Abilities:
        """One photo in a card, one message a second; Telegram has no idempotency key for sending.

        Cards show no previews: a message with a photo can't become text again, so the card of a cancelled or failed job
        would keep one.
        """
        return Abilities(
            edit_every=self._rate_limiter.gap,
            safe_resend=False,
            pictures_in_card=1,
            private_send=True,
            max_file=DOCUMENT_BYTES,
        )

    def wait(self, address: Address) -> float:
        """See ``bot.core.ports.Surface``."""
        alone = address.private or is_inline(address)
        return self._rate_limiter.wait(int(address.user if alone and address.user else address.chat))

    async def edit(self, address: Address, card: Card) -> Address:
        """See ``bot.core.ports.Surface``."""
        if address.message is None:
            raise Gone("no message to edit")
        if is_inline(address):
            return await self._edit_inline(address, card)
        chat_id, message_id = int(address.chat), int(address.message)
        self._show_action(address, card)
        if not card.final and self._rate_limiter.scarce(chat_id):
            return address
        shown = await self._photo(card)
        with translate_errors(self._refusals, repeatable=True), self._turn(chat_id):
            try:
                with ignore_unmodified():
                    if shown is None:
                        await edit_words(self._bot, card, chat_id=chat_id, message_id=message_id, markup=keyboard(card))
                    else:
                        await self._edit_pictures(chat_id, message_id, card, shown)
            except TelegramMigrateToChat as error:
                # The old group's messages can't be edited; the card is sent again in the new group.
                raise Gone("the group became a supergroup") from error
        return address

    async def show_buttons(self, address: Address, card: Card) -> None:
        """Put the card's buttons in the place of those of a message; the rest of the message stays.

        Raises Gone or RetryLater.
        """
        if address.message is None:
            raise Gone("no message to edit")
        chat_id = int(address.chat)
        with translate_errors(self._refusals, repeatable=True), self._turn(chat_id):
            try:
                with ignore_unmodified():
                    await self._bot.edit_message_reply_markup(
                        chat_id=chat_id,
                        message_id=int(address.message),
                        reply_markup=keyboard(card),
                        request_timeout=_SECONDS,
                    )
            except TelegramMigrateToChat as error:
                raise Gone("the group became a supergroup") from error

    async def send(self, address: Address, card: Card, key: str) -> Address:  # noqa: ARG002 - Telegram takes no key
        """See ``bot.core.ports.Surface``."""
        if card.private or address.private:
            address = private_chat(address)
        if is_inline(address):
            return await self._edit_inline(address, card)  # it was sent by its asker
        shown = await self._photo(card)

        async def call(chat_id: int) -> Message:
            if shown is not None:
                return await self._send_pictures(chat_id, address, card, shown)
            text, entities = words(card, TEXT_LIMIT)
            return await self._bot.send_message(
                chat_id,
                text,
                message_thread_id=whole(address.thread),
                entities=entities,
                link_preview_options=NO_PREVIEW,
                reply_parameters=reply_to(address),
                reply_markup=keyboard(card),
                request_timeout=_SECONDS,
            )

        chat_id = int(address.chat)
        with translate_errors(self._refusals, repeatable=False):
            try:
                with self._turn(chat_id):
                    sent = await call(chat_id)
            except TelegramMigrateToChat as error:
                with self._turn(error.migrate_to_chat_id):
                    sent = await call(error.migrate_to_chat_id)
        shown_at = replace(address, chat=str(sent.chat.id), message=str(sent.message_id))
        self._show_action(shown_at, card)
        return shown_at

    async def send_files(self, address: Address, files: Sequence[PictureFile], *, originals: bool) -> tuple[str, ...]:
        """See ``bot.core.ports.Surface``."""
        if address.private or is_inline(address):
            address = private_chat(address)
        chat_id = int(address.chat)
        sent: list[str] = []
        for start in range(0, len(files), ALBUM):
            part = files[start : start + ALBUM]
            try:
                chat_id = await self._send_part(chat_id, address, part, sent, originals=originals)
            except OSError as error:
                raise Gone("a stored picture can't be read") from error
            except NoPictures as error:
                if sent:
                    raise Gone(str(error)) from error
                raise
        return tuple(sent)

    async def _send_part(
        self, chat_id: int, address: Address, part: Sequence[PictureFile], sent: list[str], *, originals: bool
    ) -> int:
        """Send one album and add its message ids to ``sent``; returns the chat's id, which a migration may have
        changed.
        """
        with translate_errors(self._refusals, repeatable=False):
            try:
                with self._turn(chat_id, len(part)):
                    sent += await self._send_album(chat_id, address, part, originals=originals)
            except TelegramMigrateToChat as error:
                chat_id = error.migrate_to_chat_id
                with self._turn(chat_id, len(part)):
                    sent += await self._send_album(chat_id, address, part, originals=originals)
        return chat_id

    async def _send_album(
        self, chat_id: int, address: Address, part: Sequence[PictureFile], *, originals: bool
    ) -> list[str]:
        """Send pictures as photos, or as files where photos are refused. Raises NoPictures."""
        if not originals:
            shown = [await photo(file, self._profiles(), self._sign) for file in part]
            try:
                with picture_errors():
                    return await self._send_files(chat_id, address, part, shown, originals=False)
            except NoPictures:
                log.info("pictures go as files")
        files = [await original(file) for file in part]
        with picture_errors():
            return await self._send_files(chat_id, address, part, files, originals=True)

    async def fetch(self, source: PictureSource, limit: int) -> bytes:
        """See ``bot.core.ports.Surface``. Telegram's own server hands out files of up to 20 MB."""
        with translate_errors(self._refusals, repeatable=True):
            bot = self._bot
            try:
                file = await bot.get_file(source.location, request_timeout=_SECONDS)
            except TelegramBadRequest as error:
                if _FILE_TOO_BIG in error.message:
                    raise TooLarge(_HANDED_OUT) from error
                raise
            if (file.file_size or 0) > limit:
                raise TooLarge(limit)
            if not file.file_path:
                raise Gone("Telegram names no path of the file")
            session = bot.session
            assert isinstance(session, AiohttpSession)
            url = session.api.file_url(bot.token, file.file_path)
            return await download(await session.create_session(), yarl.URL(url), limit)

    async def remove(self, address: Address, card: Card) -> None:
        """See ``bot.core.ports.Surface``. A message older than 48 h can't be deleted; it is redacted."""
        if address.message is None:
            raise Gone("no message is known")
        if is_inline(address):
            with translate_errors(self._refusals, repeatable=True):
                await self._inline.redact(self._bot, address, card)
            return
        chat_id, message_id = int(address.chat), int(address.message)
        with translate_errors(self._refusals, repeatable=True):
            try:
                await self._bot.delete_message(chat_id, message_id, request_timeout=_SECONDS)
            except TelegramRetryAfter as error:
                self._rate_limiter.hold(chat_id, error.retry_after)
                raise
            except TelegramBadRequest as error:
                if not any(reason in error.message for reason in _NOT_DELETED):
                    raise
            else:
                return
            with self._turn(chat_id):
                await _redact(self._bot, chat_id, message_id, card)

    async def _edit_inline(self, address: Address, card: Card) -> Address:
        person = person_of(address)
        if not card.final and self._rate_limiter.scarce(person):
            return address
        shown = await self._photo(card)
        with translate_errors(self._refusals, repeatable=True):
            await self._inline.edit(self._bot, address, card, shown)
        return address

    def _show_action(self, address: Address, card: Card) -> None:
        if self._actions is not None and card.tone is Tone.RUNNING:
            self._actions.show(int(address.chat), ChatAction.UPLOAD_PHOTO, whole(address.thread))

    @property
    def _bot(self) -> Bot:
        if self._client is None:
            raise RetryLater(_AWAY)
        return self._client

    @contextmanager
    def _turn(self, chat_id: int, messages: int = 1) -> Iterator[None]:
        with self._rate_limiter.slot(chat_id, messages):
            try:
                yield
            except TelegramRetryAfter as error:
                self._rate_limiter.hold(chat_id, error.retry_after)
                raise

    async def _photo(self, card: Card) -> InputFile | None:
        if not card.pictures:
            return None
        try:
            return await photo(card.pictures[0], self._profiles(), self._sign)
        except OSError as error:
            log.warning("a stored picture can't be read; its card goes without: %s", error)
            return None

    async def _edit_pictures(self, chat_id: int, message_id: int, card: Card, shown: InputFile) -> None:
        """Edit a message to the card's photo, or to its file where a photo is refused. Raises NoPictures."""
        caption, entities = words(card, CAPTION_LIMIT)

        async def edit(media: InputMediaPhoto | InputMediaDocument) -> None:
            edited = await self._bot.edit_message_media(
                media,
                chat_id=chat_id,
                message_id=message_id,
                reply_markup=keyboard(card),
                request_timeout=_UPLOAD_SECONDS,
            )
            self._sent.add(card.pictures[0].path, edited)

        try:
            with picture_errors():
                spoiler = _cover(card.pictures[0])
                await edit(
                    InputMediaPhoto(media=shown, caption=caption, caption_entities=entities, has_spoiler=spoiler)
                )
        except NoPictures:
            file = await original(card.pictures[0])
            with picture_errors():
                await edit(InputMediaDocument(media=file, caption=caption, caption_entities=entities))

    async def _send_pictures(self, chat_id: int, address: Address, card: Card, shown: InputFile) -> Message:
        """Send the card's photo, or its file where a photo is refused. Raises NoPictures."""
        caption, entities = words(card, CAPTION_LIMIT)
        try:
            with picture_errors():
                sent = await self._bot.send_photo(
                    chat_id,
                    shown,
                    caption=caption,
                    caption_entities=entities,
                    has_spoiler=_cover(card.pictures[0]),
                    message_thread_id=whole(address.thread),
                    reply_parameters=reply_to(address),
                    reply_markup=keyboard(card),
                    request_timeout=_UPLOAD_SECONDS,
                )
                self._sent.add(card.pictures[0].path, sent)
                return sent
        except NoPictures:
            file = await original(card.pictures[0])
            with picture_errors():
                return await self._bot.send_document(
                    chat_id,
                    file,
                    caption=caption,
                    caption_entities=entities,
                    message_thread_id=whole(address.thread),
                    reply_parameters=reply_to(address),
                    reply_markup=keyboard(card),
                    request_timeout=_UPLOAD_SECONDS,
                )

    async def _send_files(
        self,
        chat_id: int,
        address: Address,
        files: Sequence[PictureFile],
        inputs: Sequence[InputFile],
        *,
        originals: bool,
    ) -> list[str]:
        thread, reply = whole(address.thread), reply_to(address)
        if len(inputs) > 1:
            media: list[MediaUnion] = [
                # A document has no visible preview that needs a cover.
                InputMediaDocument(media=i) if originals else InputMediaPhoto(media=i, has_spoiler=_cover(file))
                for file, i in zip(files, inputs, strict=True)
            ]
            album = await self._bot.send_media_group(
                chat_id, media, message_thread_id=thread, reply_parameters=reply, request_timeout=_UPLOAD_SECONDS
            )
            for file, message in zip(files, album, strict=False):
                self._sent.add(file.path, message)
            return [str(message.message_id) for message in album]
        if originals:
            one = await self._bot.send_document(
                chat_id, inputs[0], message_thread_id=thread, reply_parameters=reply, request_timeout=_UPLOAD_SECONDS
            )
        else:
            one = await self._bot.send_photo(
                chat_id,
                inputs[0],
                has_spoiler=_cover(files[0]),
                message_thread_id=thread,
                reply_parameters=reply,
                request_timeout=_UPLOAD_SECONDS,
            )
        self._sent.add(files[0].path, one)
        return [str(one.message_id)]


def _cover(file: PictureFile) -> bool | None:
    """Return True if Telegram must cover the photo until it is tapped, else None."""
    return True if file.spoiler else None


async def _redact(bot: Bot, chat_id: int, message_id: int, card: Card) -> None:
    """Replace a message's content by the card: text is replaced, and a photo or file becomes a grey square.

    Raises:
        TelegramAPIError: It can't be edited.
    """
    text, entities = words(card, TEXT_LIMIT)
    try:
        with ignore_unmodified():
            await bot.edit_message_text(
                text,
                chat_id=chat_id,
                message_id=message_id,
                entities=entities,
                link_preview_options=NO_PREVIEW,
                request_timeout=_SECONDS,
            )
    except TelegramBadRequest as error:
        if not has_no_text(error):
            raise
    else:
        return
    caption, marked = words(card, CAPTION_LIMIT)
    square = await grey_square()
    # In an album a photo must stay a photo and a file a file; elsewhere the kind may change.
    as_photo = InputMediaPhoto(media=square, caption=caption, caption_entities=marked)
    as_file = InputMediaDocument(media=square, caption=caption, caption_entities=marked)
    try:
        with ignore_unmodified():
            await bot.edit_message_media(as_photo, chat_id=chat_id, message_id=message_id, request_timeout=_SECONDS)
    except TelegramBadRequest:
        await bot.edit_message_media(as_file, chat_id=chat_id, message_id=message_id, request_timeout=_SECONDS)
