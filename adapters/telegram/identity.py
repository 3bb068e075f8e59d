"""People, places and addresses: Telegram's objects as the core names them, and back."""

from __future__ import annotations

from collections.abc import Container

from aiogram.enums import ChatType
from aiogram.types import CallbackQuery, Chat, InaccessibleMessage, Message, ReplyParameters, Update, User

from bot.core.messages import Address, EventRef
from bot.core.people import Actor, Place
from bot.core.ports import Gone
from bot.core.preferences import Languages

NAME = "telegram"


def locale_of(user: User | None, languages: Languages) -> str:
    """Return the locale that somebody has chosen, else the one for the language of their app."""
    return languages.locale(NAME, str(user.id), _reported(user)) if user else _reported(user)


def _reported(user: User | None) -> str:
    code = (user.language_code if user else None) or ""
    return "zh_CN" if code.lower().startswith("zh") else "en"


def written(update: Update) -> Message | None:
    """Return the message of an update: a new or edited one, or a channel's post; None for any other update."""
    return update.message or update.edited_message or update.channel_post


def is_group(chat: Chat) -> bool:
    """Whether several people read the chat."""
    return chat.type != ChatType.PRIVATE


def is_channel(message: Message) -> bool:
    """Whether the author writes in a group as a channel or another group, so that the person is unknown."""
    return message.sender_chat is not None and is_group(message.chat) and message.sender_chat.id != message.chat.id


def author_of(message: Message, owners: Container[str], languages: Languages) -> Actor:
    """Return the author of a message.

    If it is written in the name of a chat, the author is that chat: all anonymous admins share one user. Only admins
    can write in the name of the group itself.
    """
    if message.sender_chat is not None and is_group(message.chat):
        return Actor(
            platform=NAME,
            user_id=str(message.sender_chat.id),
            name=message.sender_chat.full_name or "",
            is_admin=message.sender_chat.id == message.chat.id,
            locale=languages.locale(NAME, str(message.sender_chat.id), _reported(message.from_user)),
        )
    return actor_of(message.from_user, owners, languages)


def presser_of(query: CallbackQuery, owners: Container[str], languages: Languages) -> Actor:
    """Return the actor who pressed a button."""
    return actor_of(query.from_user, owners, languages)


def actor_of(user: User | None, owners: Container[str], languages: Languages) -> Actor:
    """Return the actor that a user is."""
    user_id = str(user.id) if user else ""
    return Actor(
        platform=NAME,
        user_id=user_id,
        name=user.full_name if user else "",
        is_owner=user_id in owners,
        locale=locale_of(user, languages),
        handle=(user.username if user else None) or "",
    )


def place_of(message: Message | InaccessibleMessage) -> Place:
    """Return the place of a message. A private chat has no guild: no rules are set there."""
    chat = message.chat
    return Place(
        platform=NAME,
        guild=str(chat.id) if is_group(chat) else None,
        channel=str(chat.id),
        thread=_thread(message),
        name=chat.title or "",
    )


def address_near(message: Message | InaccessibleMessage, actor: Actor) -> Address:
    """Return the address of an answer to the message."""
    return Address(
        platform=NAME,
        chat=str(message.chat.id),
        thread=_thread(message),
        reply_to=str(message.message_id),
        user=actor.user_id,
    )


def ref_of(update_id: int, address: Address, part: str = "") -> EventRef:
    """Return the update as the event of a job or notice; ``part`` distinguishes several events of one update."""
    return EventRef(event=f"{NAME}:update:{update_id}{part and ':' + part}", address=address)


def once(address: Address, what: str) -> EventRef:
    """Return the event of a notice that a person gets only once in a chat."""
    return EventRef(event=f"{NAME}:once:{address.chat}:{address.user}:{what}", address=address)


def once_in_album(address: Address, album: str, what: str) -> EventRef:
    """Return the event of a notice about an album, whose photos are separate updates."""
    return EventRef(event=f"{NAME}:album:{address.chat}:{album}:{what}", address=address)


def _thread(message: Message | InaccessibleMessage) -> str | None:
    # Outside forums a thread id only identifies a reply chain, and is not valid in requests.
    if isinstance(message, Message) and message.is_topic_message and message.message_thread_id is not None:
        return str(message.message_thread_id)
    return None


def private_chat(address: Address) -> Address:
    """Return the address of the private chat with the asker. Raises Gone for groups and channels, which have none."""
    if address.user is None or address.user.startswith("-"):
        raise Gone("a private card without a person")
    if address.user == address.chat:
        return address
    return Address(platform=address.platform, chat=address.user, user=address.user, private=True)


def reply_to(address: Address) -> ReplyParameters | None:
    """Return the reply parameters for an address; None if there is no message to reply to."""
    # Files reply to their card, a card replies to the request.
    message_id = whole(address.message or address.reply_to)
    if message_id is None:
        return None
    return ReplyParameters(message_id=message_id, allow_sending_without_reply=True)


def whole(text: str | None) -> int | None:
    """Return a stored id as a number."""
    return None if text is None else int(text)


_INLINE = "inline:"


def inline_address(message_id: str, actor: Actor) -> Address:
    """Return the address of an inline message: only its asker and its own id are known, and not its chat."""
    chat = f"{_INLINE}{actor.user_id}"
    return Address(platform=NAME, chat=chat, message=message_id, user=actor.user_id, fixed=True)


def is_inline(address: Address) -> bool:
    """Whether the address is that of an inline message."""
    return address.chat.startswith(_INLINE)


def person_of(address: Address) -> int:
    """Return the user id of the asker of an inline message."""
    return int(address.chat.removeprefix(_INLINE))
