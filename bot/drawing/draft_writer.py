"""The worker that has prompts written by the engine, one after the other, and shows them."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from bot.cards import job_card
from bot.context import AppContext
from bot.core.errors import BadInput, Moderated, Refusal, Unavailable
from bot.core.events import MessagesAdded
from bot.core.waits import shield, until
from bot.drawing import admission, drafts, store
from bot.drawing.store import DraftState, PromptDraft
from bot.storage import messages
from bot.storage.sql import dump_card
from engine.contract import Engine, EngineError, EngineLost

MAX_TRIES = 3
"""A prompt is refused after the engine, or this process, was lost with it so often."""

PATIENCE_SECONDS = 300.0
"""Seconds after which a prompt is refused that the engine does not write: it may be drawing with another model."""

_RETRY = 5.0
_AFTER_LOSS = 1.0
_IDLE = 3600.0

log = logging.getLogger(__name__)


class DraftWriter:
    """Has prompts written, the oldest first.

    Args:
        ctx: The use cases' context.
        engine: Writes.
        patience: Seconds after which a prompt is refused.
    """

    def __init__(self, ctx: AppContext, engine: Engine, *, patience: float = PATIENCE_SECONDS) -> None:
        self._ctx = ctx
        self._engine = engine
        self._patience = patience
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """A prompt may have been saved, or dropped."""
        self._wake.set()

    def on_messages_added(self, _event: MessagesAdded) -> None:
        """A prompt may have been saved, with its notice."""
        self.wake()

    async def run(self) -> None:
        """Work until cancelled; the prompts that are not written then are found again at the next start."""
        while True:
            self._wake.clear()
            pause = _IDLE
            try:
                async with self._ctx.db.read() as tx:
                    found = await store.next_prompt(tx)
                if found is not None:
                    pause = await self._handle(found)
            except Unavailable as e:
                # The database logs its own fault once; this may go on for hours.
                log.debug("prompts can't be looked at (%s); again in %g s", e.key, _RETRY)
                pause = _RETRY
            if pause:
                await until(self._wake, pause, self._ctx.clock)

    async def _handle(self, draft_id: int) -> float:
        """Have one prompt written, and show it or why not; returns the seconds until the next one."""
        ctx = self._ctx
        async with ctx.db.write() as tx:
            draft = await store.begin_prompt(tx, draft_id)
        if draft is None:
            return 0.0
        if draft.tries > MAX_TRIES:
            await self._refuse(draft, Unavailable("refusal.expand.failed"))
            return 0.0
        try:
            written = await self._written(draft)
            if written is not None:
                await self._check_words(draft, written)
                await shield(self._show(draft, written))
        except Refusal as refusal:
            if isinstance(refusal, Unavailable) and refusal.key.startswith("unavailable."):
                raise  # the database; the row stays
            await self._refuse(draft, refusal)
        except EngineLost:
            await ctx.clock.sleep(_AFTER_LOSS)
        except EngineError as error:
            log.warning("the prompt %d can't be written: %s", draft.id, error)
            await self._refuse(draft, Unavailable("refusal.expand.failed"))
        except asyncio.CancelledError:
            # Only a process that ended meanwhile leaves the try counted.
            await shield(self._end_try(draft.id))
            raise
        except Exception:  # other people's prompts go on
            log.exception("the prompt %d failed", draft.id)
            await self._refuse(draft, Unavailable("refusal.unavailable.internal"))
        return 0.0

    async def _written(self, draft: PromptDraft) -> str | None:
        """Return what the engine writes; None once nobody waits for it any more."""
        writing = asyncio.create_task(self._ask(draft), name=f"prompt {draft.id}")
        try:
            while not writing.done():
                self._wake.clear()
                async with self._ctx.db.read() as tx:
                    now = await store.get_prompt(tx, draft.id)
                if now is None or now.state is not DraftState.WAITING:
                    return None
                woken = asyncio.create_task(self._wake.wait(), name="prompt-wake")
                try:
                    await asyncio.wait({writing, woken}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    woken.cancel()
            return await writing
        finally:
            writing.cancel()
            with contextlib.suppress(asyncio.CancelledError, Refusal, EngineError):
                await writing

    async def _ask(self, draft: PromptDraft) -> str:
        try:
            async with asyncio.timeout(self._patience):
                return await self._engine.expand(draft.model, draft.form.prompt, seed=draft.seed)
        except TimeoutError:
            raise Unavailable("refusal.expand.late") from None

    async def _check_words(self, draft: PromptDraft, written: str) -> None:
        """Raise BadInput if the text has words that are not drawn here. They are not its person's, and count for nothing."""
        request = await drafts.request_of(self._ctx, draft, written, draft.place)
        try:
            async with self._ctx.db.write() as tx:
                await admission.check(tx, self._ctx, draft.actor, draft.place, request)
        except Moderated:
            raise BadInput("refusal.expand.words") from None
        except Refusal as refusal:
            # A quota that is used up by now is told when the text is to be drawn.
            log.debug("the prompt %d can't be drawn now: %s", draft.id, refusal.key)

    async def _show(self, draft: PromptDraft, written: str) -> None:
        async with self._ctx.db.write() as tx:
            if await store.move_prompt(tx, draft.id, DraftState.WAITING, DraftState.WRITTEN, written):
                await messages.replace_notice(tx, draft.event, dump_card(drafts.written_card(draft, written)))
        self._ctx.backlog.messages_added()

    async def _refuse(self, draft: PromptDraft, refusal: Refusal) -> None:
        """Show why a prompt is not written, where its card is."""
        card = drafts.refused_card(draft, job_card.refused(refusal, draft.actor.locale))
        async with self._ctx.db.write() as tx:
            if await store.move_prompt(tx, draft.id, DraftState.WAITING, DraftState.ENDED):
                await messages.replace_notice(tx, draft.event, dump_card(card))
        self._ctx.backlog.messages_added()

    async def _end_try(self, draft_id: int) -> None:
        async with self._ctx.db.write() as tx:
            await store.end_prompt_try(tx, draft_id)
