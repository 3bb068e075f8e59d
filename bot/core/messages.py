"""Where a card is shown: addresses, the events that caused them, and the stored messages."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Address:
    """Where a message is or shall be. Stored as it is, so that a restart can go on with it.

    Attributes:
        platform: Which surface speaks to it.
        chat: Channel or chat id.
        thread: Thread or topic id.
        reply_to: Id of the message that is answered.
        message: Id of the shown message; None until it is known.
        user: The asker's platform id, for direct messages.
        token: A short-lived right to edit (Discord's interaction token).
        expires: When the token ends, in Unix seconds.
        private: Shown to the asker alone (Discord's ephemeral messages).
        elsewhere: Not where it was asked for, since nothing can be sent there.
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


def at_new_message(address: Address) -> Address:
    """Return the same place, for another message than the one that is there."""
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
    """A job's card, a single notice (a refusal, an answer to a command), or files sent beside a card."""

    CARD = "card"
    NOTICE = "notice"
    ALBUM = "album"
    DOCUMENT = "document"


class MessageState(StrEnum):
    """OPENING: the adapter is sending it. WANTED: delivery must send it. SENDING: its intent is written and a send that
    can't be repeated may have happened. SHOWN: it is there, edits go to it; a card without the id of its message may be
    there, nobody can reach it, and the job's last card comes as a new message. UNCLEAR: nobody knows whether its pictures
    were shown, and they are not sent again. GONE: it can't be shown any more.
    """

    OPENING = "opening"
    WANTED = "wanted"
    SENDING = "sending"
    SHOWN = "shown"
    UNCLEAR = "unclear"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Message:
    """A stored message. ``card`` holds a notice's card; a job's card is made from the job each time."""

    id: int
    kind: MessageKind
    state: MessageState
    address: Address
    job_id: int | None = None
    card: str = ""
    shown: str = ""
    """Digest of what was shown last, so that the same card is not sent twice; while SENDING, of what is being sent; of
    files, the ids of their messages.
    """
    unwanted: bool = False
    """What it shows was forgotten: it is to be taken away."""
