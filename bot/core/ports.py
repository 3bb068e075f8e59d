"""What the core asks of the outside: surfaces that show cards, the backlog, a clock."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from bot.core.cards import Card
from bot.core.messages import Address
from bot.core.pictures import PictureFile
from engine.contract import SafetyVerdict


class Gone(Exception):
    """The message or the chat can't be reached any more, and never will be."""


class NoPictures(Exception):
    """The platform takes the message but not its pictures here; the bot lacks a right, for example."""


class RetryLater(Exception):
    """Not now: again after ``seconds`` (a platform's own rate limit, or a passing fault).

    ``unclear``: the call got no answer and may have been done all the same. Only calls that can be repeated end so.
    """

    def __init__(self, seconds: float, *, unclear: bool = False) -> None:
        super().__init__(f"again in {seconds:g} s")
        self.seconds = seconds
        self.unclear = unclear


class Unclear(Exception):
    """A send that can't be repeated safely ended without an answer; it may have arrived."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a surface can do; the core asks for these and never for a platform's name.

    Attributes:
        edit_every: Shortest pause between two edits in one chat, in seconds; progress is coalesced to it.
        safe_resend: A repeated ``send`` with the same key shows one message (Discord's enforced nonce).
        pictures_in_card: How many pictures the card itself can show; more go as an album beside it.
        private_send: A private card may be sent anew to the person alone (a direct message).
        max_count: Most pictures in one request here.
        max_file: Largest file that can be sent, in bytes.
    """

    edit_every: float
    safe_resend: bool
    pictures_in_card: int
    private_send: bool
    max_count: int = 4
    max_file: int = 8 * 2**20


class Surface(Protocol):
    """One platform's side of delivery. Every method may raise Gone, Busy, or (sends alone) Unclear."""

    def abilities(self) -> Abilities:
        """What this surface can do."""

    async def edit(self, address: Address, card: Card) -> Address:
        """Make the message at ``address`` show the card; repeating it changes nothing. Returns where it is now.

        Raises:
            Gone: It can't be edited any more (deleted, or the right to edit has ended).
            NoPictures: It can be edited, but not with the card's pictures.
            Busy: Again later.
        """

    async def send(self, address: Address, card: Card, key: str) -> Address:
        """Send the card as a new message near ``address``; ``key`` is the same for every try of the same send.

        A private card, or any card to a private address, goes to the person alone or raises Gone.

        Raises:
            NoPictures: The card can be sent there, but not with its pictures; nothing was sent.
        """

    async def send_files(self, address: Address, files: Sequence[PictureFile], *, originals: bool) -> tuple[str, ...]:
        """Send pictures beside the card: as an album to look at, or as the original files, whatever they are.

        Where the address is private, they go to the person alone or it raises Gone. Returns the ids of the messages.

        Raises:
            NoPictures: The chat does not take them; nothing was sent.
        """

    async def remove(self, address: Address, card: Card) -> None:
        """Take the message away; where that is not allowed any more, it shows this card (no pictures) instead.

        Repeating it changes nothing.

        Raises:
            Gone: There is no such message, or nothing can be done about it.
            Busy: Again later.
        """


class Moderator(Protocol):
    """Looks at finished pictures."""

    async def judge(self, data: bytes) -> SafetyVerdict:
        """Judge an encoded picture. Never raises: UNKNOWN when it can't say."""


class Clock(Protocol):
    """Time, so that tests can hold it."""

    def now(self) -> float:
        """Unix seconds: what people read and what rows keep. Somebody may set the machine's clock, forward or back."""

    def monotonic(self) -> float:
        """Seconds that never go back, of which differences alone mean anything: for everything that waits or paces."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


@dataclass(frozen=True, slots=True)
class Eta:
    """When something will be there: most likely in ``low`` to ``high`` seconds."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """A place in the queue (1 is next) and the expected wait until the pictures are there (None: unknown)."""

    position: int
    eta: Eta | None


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the queue has to know of a waiting job to order it and to batch it.

    Attributes:
        job_id: Which job.
        person_id: Whose.
        count: How many pictures.
        batch_key: Equal for jobs whose pictures cost the same.
        model: What draws it: changing models costs.
        work: What one of its pictures costs, in pixels times steps.
        share: Equal for jobs that are handed to the engine as one batch; ``batch_key`` where it is empty.
        place: Where it was asked for: the place's id; a direct message is a place of the person's own, below 0.
        bulk: It goes when nothing urgent waits, since it is large.
    """

    job_id: int
    person_id: int
    count: int
    batch_key: tuple[str | int | float, ...]
    model: str = ""
    work: int = 0
    share: tuple[str | int | float, ...] = ()
    place: int = 0
    bulk: bool = False

    def shares(self, other: Ticket) -> bool:
        """Whether both can be handed to the engine as one batch."""
        return (self.share or self.batch_key) == (other.share or other.batch_key)


class Backlog(Protocol):
    """The shared queue as the use cases see it; the rows are the truth, this orders their ids and wakes the others."""

    def put(self, ticket: Ticket) -> None:
        """A queued row was committed: its job may be begun."""

    def full(self) -> float | None:
        """None while there is room for another job; otherwise in how many seconds to come back."""

    def seat(self) -> AbstractContextManager[None]:
        """Keep room for a job until the block ends: its row is written, and not yet committed."""

    def hold(self, on: bool) -> None:
        """Begin nothing new until it is off again; requests still wait."""

    def forget(self, job_id: int) -> None:
        """The job was cancelled: leave the queue, or leave the engine within one step."""

    def changed(self, job_id: int) -> None:
        """The job's card may look different now: delivery shows it again."""

    def posted(self) -> None:
        """A notice, a file or an export to be sent was committed."""

    def asked(self) -> None:
        """Somebody new waits for an owner's answer, or an owner is known now who may be told."""

    def waiting(self, job_id: int) -> QueuePosition | None:
        """Where it stands; None when it does not wait."""

    def progress(self, job_id: int) -> float | None:
        """0 to 1 while it is being drawn; None otherwise."""
