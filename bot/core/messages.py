"""Messages in chats: their addresses, the platform events behind them, and their stored form."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Address:
    """Where a message is, or is to be sent. Stored whole, so that a restart can continue with it.

    Attributes:
        platform: The platform.
        chat: Channel or chat id.
        thread: Thread or topic id.
        reply_to: Id of the message that it answers.
        message: Id of the shown message; None until it is known.
        user: The asker's id on the platform, for direct messages.
        token: A short-lived token for edits (Discord's interaction token).
        expires: When the token expires, in Unix seconds.
        private: Shown to the asker alone (Discord's ephemeral messages).
        elsewhere: Another chat than the request's, since nothing can be sent there.
        max_file: Largest file that can be sent there, in bytes; None where the surface's general limit holds.
        replaces: Id of an earlier message in the same chat, which is removed once this one is shown.
        fixed: The message was sent by its asker: it can be edited, and no other can take its place (Telegram's inline
            messages).
    """

    platform: str
    chat: str
    thread: str | None = None
    reply_to: str | None = None
    message: str | None = None
    user: str | None = None
    token: str | None = field(default=None, repr=False)
    expires: float | None = None
    private: bool = False
    elsewhere: bool = False
    max_file: int | None = None
    replaces: str | None = None
    fixed: bool = False


def at_new_message(address: Address) -> Address:
    """Return the address of a new message in the same chat."""
    return replace(address, message=None)


@dataclass(frozen=True, slots=True)
class EventRef:
    """The platform's event behind a request.

    Attributes:
        event: Unique name of the event, such as ``discord:interaction:1`` or ``telegram:update:2``: one event, one job.
        address: Where the answer belongs; None where no message is kept (the page shows live state by itself).
        answered: The adapter makes the first answer by itself and calls ``Studio.bound`` or ``Studio.unbound``
            (Discord, where it must be the response to the interaction); otherwise delivery sends it.
        digest: A digest of what was asked for, where the event's name is chosen by the asker: the same event with another
            digest is refused. Empty where the platform names events.
    """

    event: str
    address: Address | None = None
    answered: bool = False
    digest: str = ""


class MessageKind(StrEnum):
    """A job's card, a notice (a refusal, the answer to a command), an album of pictures, or files as documents."""

    CARD = "card"
    NOTICE = "notice"
    ALBUM = "album"
    DOCUMENT = "document"


class MessageState(StrEnum):
    """States of a message.

    - OPENING: the adapter sends it as the first answer.
    - WANTED: delivery has to send it.
    - SENDING: its intent is stored, and a send that must not be repeated may have been carried out.
    - SHOWN: it is in the chat, and edits go to it. A card whose message's id is unknown may be in the chat; it can't be
      edited until a press on it brings the id, and the final card is a new message.
    - UNCLEAR: it is unknown whether its pictures were shown; they are not sent again.
    - GONE: it can't be shown any more.
    """

    OPENING = "opening"
    WANTED = "wanted"
    SENDING = "sending"
    SHOWN = "shown"
    UNCLEAR = "unclear"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Message:
    """A stored message.

    Attributes:
        id: Its id in the database.
        kind: What it is.
        state: Its state.
        address: Where it is, or is to be sent.
        job_id: The job that it is about; None for other notices.
        card: A notice's card as JSON, or the indexes of files; empty for a job's card, which is made from the job.
        shown: Digest of what was shown last, or in SENDING of what is being sent; ids of the messages for files.
        unwanted: Its job was forgotten, and it is to be removed.
    """

    id: int
    kind: MessageKind
    state: MessageState
    address: Address
    job_id: int | None = None
    card: str = ""
    shown: str = ""
    unwanted: bool = False
