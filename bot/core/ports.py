"""The ports of the core: surfaces that show cards, the queue, the image classifier, the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from bot.core.cards import Card
from bot.core.messages import Address
from bot.core.pictures import PictureFile
from bot.core.requests import PictureSource
from engine.contract import EngineState, SafetyVerdict


class Gone(Exception):
    """The message or the chat can't be reached, now or later."""


class NoPictures(Exception):
    """The chat takes the message but not its pictures, for example because the bot lacks a right."""


class TooLarge(Exception):
    """A file has more than ``limit`` bytes: those that were allowed, or that the platform hands out."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes")
        self.limit = limit


class RetryLater(Exception):
    """Try again after ``seconds``: the platform's rate limit, or a passing fault.

    ``unclear``: the call got no answer and may have been carried out. Only calls that can be repeated raise this.
    """

    def __init__(self, seconds: float, *, unclear: bool = False) -> None:
        super().__init__(f"again in {seconds:g} s")
        self.seconds = seconds
        self.unclear = unclear


class Unclear(Exception):
    """A send that must not be repeated got no answer; it may have arrived."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a surface can do. The core reads these and never checks a platform's name.

    Attributes:
        edit_every: Shortest pause between two edits in one chat, in seconds; updates in between are merged.
        safe_resend: A repeated ``send`` with the same key shows one message (Discord's enforced nonce).
        pictures_in_card: How many pictures a card can show; the others are sent as an album.
        private_send: A private card can be sent as a new message to the person alone (a direct message).
        max_file: Largest file that can be sent, in bytes.
        preview_every: Shortest pause between two previews on one card, in seconds; None where cards show no previews.
    """

    edit_every: float
    safe_resend: bool
    pictures_in_card: int
    private_send: bool
    max_file: int = 8 * 2**20
    preview_every: float | None = None


class Surface(Protocol):
    """A platform's side of delivery. Every method may raise Gone or RetryLater; sends may also raise Unclear."""

    def abilities(self) -> Abilities:
        """Return what this surface can do."""

    def wait(self, address: Address) -> float:
        """Return the seconds after which the platform's limits allow a message to ``address``; 0 for now.

        It is asked before a message's rows are read. A call may raise RetryLater all the same.
        """

    async def edit(self, address: Address, card: Card) -> Address:
        """Make the message at ``address`` show the card; a repetition changes nothing. Returns the address it has now.

        Raises:
            Gone: It can't be edited any more (deleted, or the right to edit has ended).
            NoPictures: It can be edited, but not with the card's pictures or preview.
            RetryLater: Try again later.
        """

    async def send(self, address: Address, card: Card, key: str) -> Address:
        """Send the card as a new message to ``address``; ``key`` is the same in every try of one send.

        A private card, or any card to a private address, goes to the person alone or raises Gone.

        Raises:
            NoPictures: The card can be sent there, but not with its pictures; nothing was sent.
        """

    async def send_files(self, address: Address, files: Sequence[PictureFile], *, originals: bool) -> tuple[str, ...]:
        """Send pictures in messages of their own: as an album to view, or as the original files of any type.

        Where the address is private, they go to the person alone or it raises Gone. Returns the ids of the messages.

        Raises:
            NoPictures: The chat does not take them; nothing was sent.
        """

    async def fetch(self, source: PictureSource, limit: int) -> bytes:
        """Return the file of a picture that somebody sent to the platform.

        It may be called any number of times. It holds at most about ``limit`` bytes in memory, and asks nobody but the
        platform.

        Raises:
            Gone: There is no such file any more, or the source names none of the platform's.
            TooLarge: It is too large.
            RetryLater: Try again later.
        """

    async def remove(self, address: Address, card: Card) -> None:
        """Remove the message; where that is no longer allowed, it shows this card without pictures instead.

        A repetition changes nothing.

        Raises:
            Gone: There is no such message, or it can't be changed.
            RetryLater: Try again later.
        """


class Moderator(Protocol):
    """Classifies finished pictures."""

    async def judge(self, data: bytes) -> SafetyVerdict:
        """Judge an encoded picture. Never raises; returns UNKNOWN when it can't judge."""


class Clock(Protocol):
    """Time; tests pass their own."""

    def now(self) -> float:
        """Return Unix seconds, for people and for rows. The machine's clock may be set forward or back."""

    def monotonic(self) -> float:
        """Return seconds that never go back, for pauses and rates. Only differences have a meaning."""

    async def sleep(self, seconds: float) -> None:
        """Wait this many seconds."""

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait this many seconds, or until the event is set."""


@dataclass(frozen=True, slots=True)
class Eta:
    """The expected wait: most likely ``low`` to ``high`` seconds."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """A position in the queue (1 is next) and the expected wait until all pictures are drawn (None: unknown).

    ``paused``: nothing is begun until an owner goes on.
    """

    position: int
    eta: Eta | None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the queue needs to know of a waiting job to order and to batch it.

    Attributes:
        job_id: The job.
        person_id: The person who asked.
        count: How many pictures.
        batch_key: Equal for jobs whose pictures cost the same.
        model: The model that draws it; a change of model takes time.
        work: Cost of one of its pictures, in pixels times runs of the denoiser.
        share: Equal for jobs that can be in one batch; ``batch_key`` where it is empty.
        place: Id of the place of the request; below 0 for a direct message, which is a place of its own.
        bulk: A large job, which is drawn when nothing urgent waits.
        width: Width of its pictures, in pixels.
        height: Height of its pictures, in pixels.
        plain: Whether its pictures are drawn from the prompt alone, as ``Recipe.plain``.
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
    width: int = 0
    height: int = 0
    plain: bool = True


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """How many requests wait to be begun, and how many are being drawn."""

    waiting: int
    drawing: int


@dataclass(frozen=True, slots=True)
class SlotReport:
    """One slot of the engine.

    Attributes:
        id: Its id.
        state: What it is doing.
        speed: How fast it is: reference seconds of work in a second; 1 while it was not compared with others.
        jobs: Ids of the jobs of which it has pictures.
        pictures: How many pictures it has.
    """

    id: str
    state: EngineState
    speed: float
    jobs: Sequence[int]
    pictures: int


class QueuePositions(Protocol):
    """Positions and expected waits of the jobs in the queue."""

    def position(self, job_id: int) -> QueuePosition | None:
        """Return where a job stands; None when it does not wait."""


class Backlog(QueuePositions, Protocol):
    """Dispatch as the use cases see it. The rows are the truth; they call this after a commit."""

    def enqueue(self, ticket: Ticket) -> None:
        """A queued job was committed: it may be begun."""

    def retry_after(self) -> float | None:
        """Return None while there is room for another job; otherwise the seconds after which to try again."""

    def reserve(self) -> AbstractContextManager[None]:
        """Reserve room for a job until the block ends, while its row is not yet committed."""

    def set_paused(self, on: bool) -> None:
        """Begin no new jobs while ``on``; requests still wait."""

    def order(self) -> Sequence[int]:
        """Return the ids of the waiting jobs in the order in which they would begin."""

    def newest(self) -> int:
        """Return the id of the newest job that waits; 0 while none does."""

    def move_ahead(self, job_id: int) -> None:
        """An owner moved a waiting job to the front: it begins before all others."""

    def move_behind(self, job_id: int, last_id: int) -> None:
        """An owner moved a waiting job to the back: it begins after the jobs with an id up to ``last_id``."""

    def job_cancelled(self, job_id: int) -> None:
        """The job was cancelled: it leaves the queue, or the engine within one step."""

    def job_changed(self, job_id: int) -> None:
        """The card of a job may look different now."""

    def messages_added(self) -> None:
        """Notices, files or exports to be sent were committed."""

    def access_requested(self) -> None:
        """A newcomer waits for an owner's answer, or the owners have changed."""

    def deletion_added(self) -> None:
        """A deletion that can be undone was committed."""

    def load(self) -> QueueLoad:
        """Return how much there is to draw, of everybody."""

    def slots(self) -> Sequence[SlotReport]:
        """Return the engine's slots, and what each of them draws."""

    def progress(self, job_id: int) -> float | None:
        """Return 0 to 1 while a job is being drawn; None otherwise."""

    def seconds_left(self, job_id: int) -> float | None:
        """Return the expected seconds until a begun job is drawn; None when unknown, or while it takes no steps."""
