"""Studio: the one object that adapters hold; every method delegates to a use case."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from bot.model.actions import Press
from bot.model.answers import Pressed, Shown
from bot.model.cards import Card
from bot.model.errors import Refusal
from bot.model.messages import Address, Ref
from bot.model.people import Actor, Place
from bot.model.pictures import PictureFile
from bot.model.requests import DrawForm
from engine.contract import EngineState, Profile


class Studio(Protocol):
    """DRAFT of the surface that adapters code against; the class itself is built in this module."""

    async def draw(self, actor: Actor, place: Place, form: DrawForm, ref: Ref) -> Shown:
        """Admit a request: saved, reserved and queued in one transaction. The same ``ref.event`` twice is one job.

        Raises Refusal.
        """
        ...

    async def press(self, actor: Actor, place: Place, press: Press, ref: Ref) -> Pressed:
        """A button: reroll and seed admit a new job whose card belongs at ``ref.address``; cancel stops; page turns
        history (``card`` is the new page). Raises Refusal.
        """
        ...

    async def bound(self, job_id: int, ref: Ref, address: Address) -> None:
        """The adapter has made the first answer: the job's card is shown at ``address`` (message id now known)."""
        ...

    async def unbound(self, job_id: int, ref: Ref) -> None:
        """The adapter could not make the first answer: delivery sends the card by itself."""
        ...

    async def post(self, ref: Ref, card: Card) -> None:
        """Save a notice (a refusal, an answer) for delivery at ``ref.address``; the same event twice is one notice.
        For surfaces that only save while they handle an event.
        """
        ...

    async def history(self, actor: Actor, place: Place, before: int | None = None) -> Card:
        """One's own last pictures as a contact sheet with facts, and buttons to turn pages."""
        ...

    async def items(self, actor: Actor, before: int | None = None, limit: int = 24) -> tuple[Card, ...]:
        """One's own last jobs as cards, newest first, older than job ``before`` (the page's gallery)."""
        ...

    async def card(self, actor: Actor, job_id: int) -> Card:
        """The card of one's own job as it is now. Raises NotFound."""
        ...

    def watch(self, actor: Actor, job_id: int) -> AsyncIterator[Card]:
        """The card now and after each change, until it is final; coalesced: a slow reader misses only what is stale."""
        ...

    async def picture(self, actor: Actor, job_id: int, index: int) -> PictureFile:
        """The file of one's own picture. Raises NotFound."""
        ...

    async def quota_show(self, actor: Actor, place: Place) -> Card:
        """What is left, when more come back, and which rule binds."""
        ...

    async def quota_set(self, actor: Actor, place: Place, rule: str, role: str | None = None) -> Card:
        """Set the rule of this place (``20/day``), or of a role in it. Raises NotAllowed, BadInput, OverQuota (above
        the owner's ceiling: the sentence names it).
        """
        ...

    def help(self, locale: str) -> Card:
        """What people can do here, with this surface's own examples left to it."""
        ...

    def refused(self, refusal: Refusal, locale: str) -> Card:
        """A refusal as a private card in the person's language."""
        ...

    def text(self, key: str, locale: str, **params: str | int | float) -> str:
        """One message of the catalogue (labels of commands, of the page)."""
        ...

    def profiles(self) -> tuple[Profile, ...]:
        """The models that can be asked for; the first is the default."""
        ...

    def engine(self) -> EngineState:
        """What the engine is doing."""
        ...

    async def healthy(self) -> tuple[str, ...]:
        """What keeps this Easel from drawing, as sentences for the operator; empty when it is ready."""
        ...
