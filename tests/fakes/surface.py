"""A surface that records messages, and fails as a test plans."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from bot.core.cards import Card
from bot.core.messages import Address
from bot.core.pictures import PictureFile
from bot.core.ports import Abilities, Gone, NoPictures, RetryLater, TooLarge, Unclear
from bot.core.requests import PictureSource

ABLE = Abilities(edit_every=1.0, safe_resend=False, pictures_in_card=1, private_send=True)
"""Like Telegram: nothing can be repeated safely, one picture in a card."""

ABLE_SAFE = Abilities(edit_every=1.0, safe_resend=True, pictures_in_card=10, private_send=True)
"""Like Discord: a key makes a send safe to repeat, all pictures in the card."""


class Fault(StrEnum):
    """The ways in which a call can fail."""

    GONE = "gone"
    BUSY = "busy"
    UNCLEAR_SENT = "unclear, it arrived"
    UNCLEAR_LOST = "unclear, it did not arrive"
    BUG = "the library raises"
    KILLED_BEFORE = "the service is killed before it arrives"
    KILLED_AFTER = "the service is killed after it arrived"


@dataclass
class Seen:
    """One message as people see it."""

    chat: str
    card: Card | None
    key: str = ""
    files: tuple[PictureFile, ...] = ()
    originals: bool = False
    edits: int = 0
    first: Card | None = None
    """The card as it was sent."""

    def __post_init__(self) -> None:
        self.first = self.card


@dataclass
class Chats:
    """The platform's state, which survives restarts of the service."""

    messages: dict[str, Seen] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    old: set[str] = field(default_factory=set)
    """Messages that are too old to delete."""
    shut: set[str] = field(default_factory=set)
    """Chats that refuse messages."""
    bare: set[str] = field(default_factory=set)
    """Chats that refuse pictures."""
    closed: set[str] = field(default_factory=set)
    """Threads that refuse messages."""
    sent: dict[str, bytes] = field(default_factory=dict)
    """Files that people sent, by their location."""

    def put(self, seen: Seen) -> str:
        name = str(len(self.messages) + 1)
        self.messages[name] = seen
        return name

    def shown(self, job_id: int) -> list[Seen]:
        """The messages about a job that were not deleted."""
        return [
            seen
            for name, seen in self.messages.items()
            if name not in self.deleted and seen.card is not None and seen.card.job_id == job_id
        ]

    def pictures(self, job_id: int, *, ever: bool = False) -> list[str]:
        """Names of the job's pictures that people see, once for each time that they are there.

        ``ever``: in deleted messages too.
        """
        prefix = f"easel-{job_id}-"
        return sorted(
            file.name
            for name, seen in self.messages.items()
            if ever or name not in self.deleted
            for file in (*seen.files, *(seen.card.pictures if seen.card else ()))
            if file.name.startswith(prefix)
        )


class Call(StrEnum):
    """The calls of a surface; faults are planned for each."""

    PROGRESS = "edit a card that is not final"
    FINAL = "edit a final card"
    SEND = "send a card"
    FILES = "send files"
    REMOVE = "take a message away"
    FETCH = "fetch a file that somebody sent"


class FakeSurface:
    """Implements ``bot.core.ports.Surface``; each call takes one planned fault, further calls succeed."""

    def __init__(
        self,
        chats: Chats | None = None,
        able: Abilities = ABLE,
    ) -> None:
        self.chats = chats if chats is not None else Chats()
        self.able = able
        self._faults: dict[Call, list[Fault | None]] = {call: [] for call in Call}
        self.killed = asyncio.Event()
        """Set once a call was killed; that call never returns."""
        self.calls: list[Call] = []
        self.met: list[tuple[Call, Fault, int | None]] = []
        """(call, fault, job id) of the calls that failed as planned."""
        self.on_edit: Callable[[Card], None] = lambda _card: None
        """Called with the card of each edit that is tried."""

    def plan(self, call: Call, *faults: Fault | None) -> None:
        """Set the faults of the next calls of this kind; None lets one succeed."""
        self._faults[call] = list(faults)

    def abilities(self) -> Abilities:
        return self.able

    def wait(self, address: Address) -> float:
        """Return 0."""
        return 0.0

    async def edit(self, address: Address, card: Card) -> Address:
        self.on_edit(card)
        fault = await self._before(Call.FINAL if card.final else Call.PROGRESS, card.job_id)
        assert address.message is not None
        if address.message in self.chats.deleted or address.message not in self.chats.messages:
            raise Gone("no such message")
        seen = self.chats.messages[address.message]
        if (card.pictures or card.preview) and seen.chat in self.chats.bare:
            raise NoPictures("the chat takes no pictures")
        if fault is not Fault.UNCLEAR_LOST and seen.card != card:
            seen.card = card
            seen.edits += 1
        await self._after(fault, repeatable=True)
        return address

    async def send(self, address: Address, card: Card, key: str) -> Address:
        fault = await self._before(Call.SEND, card.job_id)
        if (card.private or address.private) and not address.chat.startswith("@"):
            address = replace(address, chat=f"@{address.user}", private=True, thread=None)
        if address.chat in self.chats.shut or address.thread in self.chats.closed:
            raise Gone("the chat is shut")
        if card.pictures and address.chat in self.chats.bare:
            raise NoPictures("the chat takes no pictures")
        name = None
        if self.able.safe_resend:
            name = next((n for n, s in self.chats.messages.items() if s.key == key and s.chat == address.chat), None)
        if name is None and fault is not Fault.UNCLEAR_LOST:
            name = self.chats.put(Seen(address.chat, card, key))
        await self._after(fault, repeatable=False)
        assert name is not None
        return replace(address, message=name)

    async def send_files(self, address: Address, files: Sequence[PictureFile], *, originals: bool) -> tuple[str, ...]:
        # Files of an export belong to no job.
        _, _, number = files[0].name.removesuffix(".zip").partition("-")
        fault = await self._before(Call.FILES, int(number.split("-")[0]) if number[:1].isdigit() else None)
        chat = f"@{address.user}" if address.private and not address.chat.startswith("@") else address.chat
        if chat in self.chats.shut:
            raise Gone("the chat is shut")
        if chat in self.chats.bare:
            raise NoPictures("the chat takes no pictures")
        names: tuple[str, ...] = ()
        if fault is not Fault.UNCLEAR_LOST:
            names = (self.chats.put(Seen(chat, None, files=tuple(files), originals=originals)),)
        await self._after(fault, repeatable=False)
        return names

    async def fetch(self, source: PictureSource, limit: int) -> bytes:
        fault = await self._before(Call.FETCH, None)
        if source.location not in self.chats.sent:
            raise Gone("there is no such file")
        data = self.chats.sent[source.location]
        if len(data) > limit:
            raise TooLarge(limit)
        await self._after(fault, repeatable=True)
        return data

    async def remove(self, address: Address, card: Card) -> None:
        fault = await self._before(Call.REMOVE, card.job_id)
        assert address.message is not None
        if address.message in self.chats.deleted or address.message not in self.chats.messages:
            raise Gone("no such message")
        if fault is not Fault.UNCLEAR_LOST:
            if address.message in self.chats.old:
                seen = self.chats.messages[address.message]
                seen.card, seen.files = replace(card, pictures=()), ()
            else:
                self.chats.deleted.add(address.message)
        await self._after(fault, repeatable=True)

    async def _before(self, call: Call, job_id: int | None) -> Fault | None:
        self.calls.append(call)
        await asyncio.sleep(0)
        fault = self._faults[call].pop(0) if self._faults[call] else None
        if fault is not None:
            self.met.append((call, fault, job_id))
        if fault is Fault.GONE:
            raise Gone("planted")
        if fault is Fault.BUSY:
            raise RetryLater(3)
        if fault is Fault.BUG:
            raise RuntimeError("planted")
        if fault is Fault.KILLED_BEFORE:
            await self._die()
        return fault

    async def _after(self, fault: Fault | None, *, repeatable: bool) -> None:
        if fault is Fault.KILLED_AFTER:
            await self._die()
        if fault in {Fault.UNCLEAR_LOST, Fault.UNCLEAR_SENT}:
            raise RetryLater(3, unclear=True) if repeatable else Unclear("planted")

    async def _die(self) -> None:
        self.killed.set()
        await asyncio.Event().wait()
