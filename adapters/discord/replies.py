"""Answers to interactions: the card at once, or a deferred answer and the card later. None stays unanswered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import discord

from adapters.discord.errors import NETWORK, log_refusal
from adapters.discord.forms import modal_of
from adapters.discord.identity import NAME, language_of
from adapters.discord.render import MessageParts, show_with_fallbacks
from bot.core.cards import Card, Tone
from bot.core.errors import Refusal
from bot.core.forms import Form
from bot.core.messages import EventRef
from bot.core.people import Actor
from bot.studio import Studio

log = logging.getLogger(__name__)

DEFER_AFTER = 1.0
"""Seconds until an answer is deferred; Discord allows 3 for the first response."""

CROWD = 16
"""Answers in the making; while there are more, answers are deferred before their work is begun.

A deferral costs a tenth of an answer: everybody gets a sign in the time that the first few answers take.
"""
CROWD_DEFER_AFTER = 0.25
"""Seconds until an answer is deferred that was begun before there was a crowd."""

FORM_AFTER = 2.0
"""The same where the answer may be a form, which can only be the first response."""


FAULTS = (discord.HTTPException, discord.InteractionResponded, *NETWORK)
"""Errors of an answer that come from Discord or from the network."""


@dataclass(frozen=True, slots=True)
class InteractionAnswer:
    """The answer to an interaction.

    Attributes:
        card: The card to show; None acknowledges a press silently. Beside a form, it stands in for a form that comes too late.
        job_id: The job of the card; delivery updates the message from then on.
        updates: Whether the message with the button is edited instead of sending a new one.
        notice: A private sentence in addition to an edited card.
        as_they_are: Whether the original files are sent, not enlarged.
        form: A form to open.
    """

    card: Card | None
    job_id: int | None = None
    updates: bool = False
    notice: str = ""
    as_they_are: bool = False
    form: Form | None = None


@dataclass(frozen=True, slots=True)
class _Deferral:
    """A deferred answer: the id of its message, where it has one of its own."""

    message: int | None


class InteractionReplies:
    """Answers interactions. It tracks running handlers, so that ``drain`` can wait for them."""

    def __init__(self, studio: Studio, defer_after: float = DEFER_AFTER, form_after: float = FORM_AFTER) -> None:
        self._studio = studio
        self._defer_after = defer_after
        self._form_after = form_after
        self._running: set[asyncio.Task[Any]] = set()
        self._making: set[asyncio.Task[Any]] = set()

    async def respond(
        self,
        interaction: discord.Interaction,
        ref: EventRef,
        locale: str,
        work: Awaitable[InteractionAnswer],
        *,
        private: bool = False,
        updates: bool = False,
        opens: bool = False,
    ) -> None:
        """Do the work and show its result. A Refusal or an internal error becomes a private sentence.

        Args:
            interaction: What to answer.
            ref: The event and address that Studio was given.
            locale: The person's language.
            work: Returns the answer.
            private: Whether a deferred answer is ephemeral.
            updates: Whether a deferred answer edits the message with the button.
            opens: Whether the answer may be a form.
        """
        here = asyncio.current_task()
        assert here is not None
        self._running.add(here)
        self._making.add(here)
        try:
            await self._respond(interaction, ref, locale, work, private=private, updates=updates, opens=opens)
            await self._say_missed(interaction, locale)
        except Exception as error:  # noqa: BLE001 - nobody is left with "the application did not respond"
            await self.apologise(interaction, error)
        finally:
            self._making.discard(here)
            self._running.discard(here)

    async def apologise(self, interaction: discord.Interaction, error: Exception) -> None:
        """Log an internal error, and tell the person that something went wrong."""
        log.error("An interaction failed", exc_info=error)
        await self._sorry(interaction, language_of(interaction, self._studio))

    def failed(self, error: BaseException, locale: str, key: str = "refusal.unavailable.internal") -> Card:
        """Log an internal error and return the card for the person."""
        log.error("An interaction failed", exc_info=error)
        return self._studio.refused(Refusal(key), locale)

    async def drain(self, seconds: float) -> None:
        """Wait up to ``seconds`` for running handlers, so that their interactions are answered."""
        if running := {t for t in self._running if t is not asyncio.current_task()}:
            await asyncio.wait(running, timeout=seconds)

    async def _respond(
        self,
        interaction: discord.Interaction,
        ref: EventRef,
        locale: str,
        work: Awaitable[InteractionAnswer],
        *,
        private: bool,
        updates: bool,
        opens: bool,
    ) -> None:
        # A form can only be the first response.
        deferred = None
        if self._crowded and not opens:
            deferred = await self._defer(interaction, private=private, updates=updates)
        task = asyncio.ensure_future(self._answer(work, locale))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        if deferred is None and not await self._done_in_time(task, opens=opens):
            deferred = await self._defer(interaction, private=private, updates=updates)
        answer = await task
        if (here := asyncio.current_task()) is not None:
            self._making.discard(here)
        show: Callable[[MessageParts], Awaitable[int | None]]
        if answer.form is not None and deferred is None:
            await self._guarded(interaction, locale, interaction.response.send_modal(modal_of(answer.form)))
        elif answer.card is None:
            await self._guarded(interaction, locale, self._acknowledge(interaction, deferred, updates=updates))
        elif deferred is not None and deferred.message is not None and _is_delivered(answer, private=private):
            # Delivery edits an answer that was bound next, at the pace of its chat; an edit here would be one more.
            await self._bind(ref, answer.job_id, deferred.message, private=private)
        elif deferred is not None:
            show = partial(self._after, interaction, answer, private=private, updates=updates)
            await self._show(interaction, ref, locale, answer, show)
        else:
            await self._show(interaction, ref, locale, answer, partial(self._first, interaction, answer))
        if answer.notice:
            beside = InteractionAnswer(Card(Tone.INFO, answer.notice, private=True, final=True, locale=locale))
            await self._show(interaction, ref, locale, beside, partial(_follow_up, interaction))

    @property
    def _crowded(self) -> bool:
        return len(self._making) > CROWD

    async def _done_in_time(self, task: asyncio.Task[InteractionAnswer], *, opens: bool) -> bool:
        """Wait for an answer; returns False when it has to be deferred."""
        left = self._form_after if opens else self._defer_after
        if not opens:
            first = min(left, CROWD_DEFER_AFTER)
            await asyncio.wait({task}, timeout=first)
            left = 0.0 if self._crowded else left - first
        if not task.done():
            await asyncio.wait({task}, timeout=left)
        return task.done()

    async def _answer(self, work: Awaitable[InteractionAnswer], locale: str) -> InteractionAnswer:
        try:
            return await work
        except Refusal as refusal:
            return InteractionAnswer(self._studio.refused(refusal, locale))
        except Exception as error:  # noqa: BLE001 - whatever it was, the person is told and it is logged
            return InteractionAnswer(self.failed(error, locale))

    async def _defer(self, interaction: discord.Interaction, *, private: bool, updates: bool) -> _Deferral | None:
        """Defer the answer; None where that failed."""
        try:
            made = await interaction.response.defer(ephemeral=private, thinking=not updates)
        except FAULTS as error:
            _log("a deferred answer", error)
            # Without the response it is unknown whether it arrived. If it did, no other first answer is accepted.
            message = await self._arrived(interaction, private=private)
            if message is None:
                return None
        else:
            message = None if made is None else made.message_id
        return _Deferral(None if updates else message)

    async def _acknowledge(
        self, interaction: discord.Interaction, deferred: _Deferral | None, *, updates: bool
    ) -> None:
        """Answer a press without a message."""
        if deferred is None:
            await interaction.response.defer()
        elif not updates:
            await interaction.delete_original_response()

    async def _first(
        self, interaction: discord.Interaction, answer: InteractionAnswer, parts: MessageParts
    ) -> int | None:
        if answer.updates:
            await interaction.response.edit_message(**parts.edit())
            return None
        sent = await interaction.response.send_message(**parts.new(), ephemeral=parts.card.private)
        return sent.message_id

    async def _after(
        self,
        interaction: discord.Interaction,
        answer: InteractionAnswer,
        parts: MessageParts,
        *,
        private: bool,
        updates: bool,
    ) -> int | None:
        # Deferring fixed the visibility; an answer of the other kind must be a new message.
        if answer.updates if updates else parts.card.private == private:
            return (await interaction.edit_original_response(**parts.edit())).id
        if not updates:
            with contextlib.suppress(discord.NotFound):
                await interaction.delete_original_response()
        return await _follow_up(interaction, parts)

    async def _show(
        self,
        interaction: discord.Interaction,
        ref: EventRef,
        locale: str,
        answer: InteractionAnswer,
        show: Callable[[MessageParts], Awaitable[int | None]],
    ) -> None:
        card, job_id = answer.card, answer.job_id
        assert card is not None
        # Delivery updates it from then on, as soon as it has a job.
        tracked = job_id is not None or card.provisional
        # Only a job's pictures are enlarged; a contact sheet already has its final size.
        enlarged = card.job_id is not None and not answer.as_they_are
        profiles = self._studio.profiles() if enlarged else ()
        try:
            message = await show_with_fallbacks(
                card,
                show,
                what="an answer",
                words=self._studio.text,
                profiles=profiles,
                max_file=interaction.filesize_limit,
                sign=self._studio.sign_copy,
            )
        except FAULTS as error:
            _log("an answer", error)
            # A broken connection, or a first try that arrived without a response (40060 for the second).
            message = await self._arrived(interaction, private=card.private) if tracked else None
            if message is None and not tracked:
                await self._sorry(interaction, locale)
            elif message is None:
                await self._studio.unbind_answer(job_id, ref)
        if tracked and message is not None:
            await self._bind(ref, job_id, message, private=card.private)

    async def _bind(self, ref: EventRef, job_id: int | None, message: int, *, private: bool) -> None:
        if ref.address is not None:
            address = replace(ref.address, message=str(message), private=private)
            await self._studio.bind_answer(job_id, ref, address)

    async def _guarded(self, interaction: discord.Interaction, locale: str, asked: Awaitable[object]) -> None:
        try:
            await asked
        except FAULTS as error:
            _log("an acknowledgement", error)
            await self._sorry(interaction, locale)

    async def _arrived(self, interaction: discord.Interaction, *, private: bool) -> int | None:
        """Return the id of the answer if it arrived after all with the right visibility, else None."""
        try:
            found = await interaction.original_response()
        except (discord.ClientException, *FAULTS):
            return None
        return found.id if found.flags.ephemeral == private else None

    async def _sorry(self, interaction: discord.Interaction, locale: str) -> None:
        """Send a last plain sentence, so that Discord does not show "the application did not respond"."""
        text = self._studio.text("refusal.unavailable.internal", locale)
        try:
            if interaction.response.is_done():
                await interaction.followup.send(text, ephemeral=True)
            else:
                await interaction.response.send_message(text, ephemeral=True)
        except (discord.ClientException, *FAULTS) as error:
            _log("an apology", error)

    async def _say_missed(self, interaction: discord.Interaction, locale: str) -> None:
        """Tell a person about cards that could not be delivered."""
        actor = Actor(NAME, str(interaction.user.id), locale=locale)
        told = await self._studio.find_missed(actor)
        if told is None or not interaction.response.is_done():
            return
        try:
            await interaction.followup.send(told.notice, ephemeral=True, wait=True)
        except FAULTS as error:
            _log("a sentence about what was missed", error)
        else:
            await self._studio.mark_told(actor, told)


def _is_delivered(answer: InteractionAnswer, *, private: bool) -> bool:
    """Whether delivery shows the answer: the card of a job, to those whom the deferred answer was shown to."""
    return answer.job_id is not None and answer.card is not None and answer.card.private == private


def _log(what: str, error: Exception) -> None:
    if isinstance(error, discord.HTTPException):
        log_refusal(what, error)
    else:
        log.warning("Discord did not take %s: %s", what, str(error) or type(error).__name__)


async def _follow_up(interaction: discord.Interaction, parts: MessageParts) -> int:
    return (await interaction.followup.send(**parts.new(), ephemeral=parts.card.private, wait=True)).id
