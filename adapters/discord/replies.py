"""First responses: the card itself within a second, or "is thinking" and the card after it; never nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import discord

from adapters.discord.faults import NETWORK
from adapters.discord.pictures import Upload, uploads
from adapters.discord.render import embed_of, view_of
from bot.model.cards import Card, Tone
from bot.model.errors import Refusal
from bot.model.messages import Ref
from bot.studio import Studio
from engine.contract import Profile

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds until an answer is deferred; Discord gives 3 for the first response."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an interaction is answered with.

    Attributes:
        card: What to show; None acknowledges a press without a word.
        job_id: The job whose card this is: delivery goes on with the message.
        updates: Change the message that the button is on, instead of sending one.
        notice: A private sentence beside a card that is changed.
        as_they_are: Send the pictures' own files, not enlarged.
    """

    card: Card | None
    job_id: int | None = None
    updates: bool = False
    notice: str = ""
    as_they_are: bool = False


@dataclass(frozen=True, slots=True)
class _Ready:
    """An answer with its files in memory."""

    answer: Answer
    files: tuple[Upload, ...]

    @property
    def private(self) -> bool:
        return self.answer.card is not None and self.answer.card.private

    def shown(self) -> dict[str, Any]:
        """Return embeds and buttons, as every way to show them takes them."""
        assert self.answer.card is not None
        embed, view = embed_of(self.answer.card), view_of(self.answer.card)
        return {"embeds": [embed] if embed else [], **({"view": view} if view else {})}

    def edited(self) -> dict[str, Any]:
        """Return the same for an edit, which must also take away what is not there any more."""
        return {"view": None, **self.shown(), "attachments": [u.file() for u in self.files]}

    def sent(self) -> dict[str, Any]:
        """Return the same for a new message."""
        return {**self.shown(), "files": [u.file() for u in self.files], "ephemeral": self.private}


class Replies:
    """Answers interactions. Handlers that run are known to it, so that closing can wait for them."""

    def __init__(self, studio: Studio, patience: float = PATIENCE) -> None:
        self._studio = studio
        self._patience = patience
        self._running: set[asyncio.Task[Any]] = set()

    async def respond(
        self,
        interaction: discord.Interaction,
        ref: Ref,
        locale: str,
        work: Awaitable[Answer],
        *,
        private: bool = False,
        updates: bool = False,
    ) -> None:
        """Do the work and show what comes of it; a Refusal and any fault become a private sentence.

        Args:
            interaction: What to answer.
            ref: Its name and address, as Studio was given them.
            locale: The person's language.
            work: Admission, or whatever else has to be done first.
            private: When deferred: whether the answer is expected to be for this person alone.
            updates: When deferred: whether the answer is expected to change the message that the button is on.
        """
        task = asyncio.ensure_future(self._ready(work, locale))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        here = asyncio.current_task()
        assert here is not None
        self._running.add(here)
        try:
            done, _ = await asyncio.wait({task}, timeout=self._patience)
            deferred = not done and await self._defer(interaction, private=private, updates=updates)
            ready = await task
            if deferred:
                shown = self._after(interaction, ready, private=private, updates=updates)
            else:
                shown = self._first(interaction, ready)
            await self._show(interaction, ref, ready, shown)
            if ready.answer.notice:
                beside = _Ready(Answer(Card(Tone.INFO, ready.answer.notice, private=True, final=True)), ())
                await self._show(interaction, ref, beside, _follow_up(interaction, beside))
        finally:
            self._running.discard(here)

    def failed(self, error: BaseException, locale: str, key: str = "refusal.unavailable.internal") -> Card:
        """Log a fault and return the sentence for the person."""
        log.error("An interaction failed", exc_info=error)
        return self._studio.refused(Refusal(key), locale)

    async def drain(self, seconds: float) -> None:
        """Wait for handlers that still run, so that nobody is left without an answer."""
        if running := {t for t in self._running if t is not asyncio.current_task()}:
            await asyncio.wait(running, timeout=seconds)

    async def _ready(self, work: Awaitable[Answer], locale: str) -> _Ready:
        try:
            answer = await work
        except Refusal as refusal:
            answer = Answer(self._studio.refused(refusal, locale))
        except Exception as error:  # noqa: BLE001 - whatever it was, the person is told and it is logged
            answer = Answer(self.failed(error, locale))
        try:
            files = await _files(answer, self._studio.profiles())
        except OSError:
            # The card says what there is to say; the job itself is settled.
            log.exception("Pictures of a card can't be read")
            files = ()
        return _Ready(answer, files)

    async def _defer(self, interaction: discord.Interaction, *, private: bool, updates: bool) -> bool:
        try:
            await interaction.response.defer(ephemeral=private, thinking=not updates)
        except (discord.HTTPException, discord.InteractionResponded, *NETWORK) as error:
            log.warning("Discord did not take a deferred answer: %s", error)
            return False
        return True

    async def _first(self, interaction: discord.Interaction, ready: _Ready) -> int | None:
        response, answer = interaction.response, ready.answer
        if answer.card is None:
            await response.defer()
            return None
        if answer.updates:
            await response.edit_message(**ready.edited())
            return None
        return (await response.send_message(**ready.sent())).message_id

    async def _after(
        self, interaction: discord.Interaction, ready: _Ready, *, private: bool, updates: bool
    ) -> int | None:
        answer = ready.answer
        if answer.card is None:
            if not updates:
                await interaction.delete_original_response()
            return None
        # How private an answer is was fixed when it was deferred; another kind must be another message.
        if answer.updates if updates else answer.card.private == private:
            return (await interaction.edit_original_response(**ready.edited())).id
        if not updates:
            await interaction.delete_original_response()
        return await _follow_up(interaction, ready)

    async def _show(
        self, interaction: discord.Interaction, ref: Ref, ready: _Ready, showing: Awaitable[int | None]
    ) -> None:
        job_id = ready.answer.job_id
        try:
            message = await showing
        except (discord.HTTPException, discord.InteractionResponded, *NETWORK) as error:
            # A broken connection, or a first try that arrived without our hearing of it (40060 for the second).
            message = None if job_id is None else await self._arrived(interaction, private=ready.private)
            if message is None:
                log.warning("Discord did not take an answer: %s", error)
                if job_id is not None:
                    await self._studio.unbound(job_id, ref)
        if job_id is not None and message is not None and ref.address is not None:
            address = replace(ref.address, message=str(message), private=ready.private)
            await self._studio.bound(job_id, ref, address)

    async def _arrived(self, interaction: discord.Interaction, *, private: bool) -> int | None:
        """Ask whether an answer is there after all, and as private as it has to be."""
        try:
            found = await interaction.original_response()
        except (discord.HTTPException, discord.ClientException, *NETWORK):
            return None
        return found.id if found.flags.ephemeral == private else None


async def _follow_up(interaction: discord.Interaction, ready: _Ready) -> int:
    return (await interaction.followup.send(**ready.sent(), wait=True)).id


async def _files(answer: Answer, profiles: Sequence[Profile]) -> tuple[Upload, ...]:
    card = answer.card
    if card is None or not card.pictures:
        return ()
    # Pictures of a job alone are a model's own; a contact sheet has the size that it shall have.
    enlarged = card.job_id is not None and not answer.as_they_are
    return await uploads(card.pictures, profiles if enlarged else ())
