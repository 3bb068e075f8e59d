"""Pictures that people send: photos and image files, alone, in albums or replied to, and the words that address the bot with them."""

from __future__ import annotations

from aiogram.types import Message, User

from adapters.telegram.identity import NAME, is_channel, is_group
from bot.core.messages import Address, EventRef
from bot.core.requests import PictureSource

_IMAGE = "image/"


def pictures_in(message: Message | None) -> tuple[PictureSource, ...]:
    """Return the picture of a message: its photo in the largest size, or its file if that is an image; else nothing."""
    if message is None:
        return ()
    if message.photo:
        largest = max(message.photo, key=lambda size: size.width * size.height)
        return (PictureSource(largest.file_unique_id, largest.file_id, largest.file_size or 0),)
    file = message.document
    # An animation is a file too, but a video.
    if file is None or message.animation is not None or not (file.mime_type or "").startswith(_IMAGE):
        return ()
    return (PictureSource(file.file_unique_id, file.file_id, file.file_size or 0),)


def pictures_of(message: Message) -> tuple[PictureSource, ...]:
    """Return the picture of a message, or of the message that it replies to."""
    return pictures_in(message) or pictures_in(message.reply_to_message)


def words_to_bot(message: Message, me: User) -> str | None:
    """Return the words of a message that is addressed to the bot; None where it is not.

    In a private chat each message is. In a group it mentions the bot, whose name is left out, or replies to it.
    """
    typed = message.text or message.caption or ""
    if not is_group(message.chat):
        return typed
    if is_channel(message) or typed.startswith("/"):
        return None
    mention = f"@{me.username}".lower()
    units = typed.encode("utf-16-le")
    for entity in message.entities or message.caption_entities or ():
        begin, end = 2 * entity.offset, 2 * (entity.offset + entity.length)
        if entity.type == "mention" and units[begin:end].decode("utf-16-le").lower() == mention:
            return (units[:begin] + units[end:]).decode("utf-16-le").strip()
    replied = message.reply_to_message
    answers = replied is not None and replied.from_user is not None and replied.from_user.id == me.id
    return typed if answers else None


def album_ref(message: Message, address: Address) -> EventRef:
    """Return the event of a whole album, whose pictures come as messages of their own."""
    return EventRef(event=f"{NAME}:pictures:{address.chat}:{message.media_group_id}", address=address)
