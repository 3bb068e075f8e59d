"""Stored addresses as Telegram's calls take them."""

from __future__ import annotations

from aiogram.types import ReplyParameters

from bot.model.messages import Address
from bot.ports import Gone


def alone(address: Address) -> Address:
    """The private chat with the asker, whose id is the asker's own; groups and channels have none. Raises Gone."""
    if address.user is None or address.user.startswith("-"):
        raise Gone("a private card without a person")
    if address.user == address.chat:
        return address
    return Address(platform=address.platform, chat=address.user, user=address.user, private=True)


def reply_to(address: Address) -> ReplyParameters | None:
    """What a message answers; None where there is nothing."""
    # Files answer their card, a card answers what asked for it.
    message_id = whole(address.message or address.reply_to)
    if message_id is None:
        return None
    return ReplyParameters(message_id=message_id, allow_sending_without_reply=True)


def whole(text: str | None) -> int | None:
    """A stored id as a number."""
    return None if text is None else int(text)
