"""The worker that has prompts written by the engine and shows them: longer ones, and what pictures show."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bot.cards import job_card
from bot.context import AppContext
from bot.core.errors import BadInput, Moderated, Refusal, Unavailable
from bot.core.events import MessagesAdded
from bot.core.ports import RetryLater, Surface, TooLarge
from bot.core.requests import MAX_PICTURE_BYTES
from bot.core.waits import shield
from bot.drawing import admission, drafts, picture_requests, store
from bot.drawing.store import DraftState, PromptDraft
from bot.storage import messages
from bot.storage.sql import dump_card
from engine.contract import BadImage, Engine, EngineError, EngineLost

MAX_TRIES = 3
"""A prompt is refused after the engine, or this process, was lost with it so often."""

AT_ONCE = 4
"""Most prompts that are worked on at once, so that a slow download holds up no other; the engine writes one at a time."""

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
        surfaces: The platforms that have the pictures to describe; they come and go.
        patience: Seconds after which a prompt is refused.
    """

    def __init__(
        self,
        ctx: AppContext,
        engine: Engine,
        surfaces: Mapping[str, Surface],
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._ctx = ctx
        self._engine = engine
        self._surfaces = surfaces
        self._patience = patience
        self._wake = asyncio.Event()
        self._running: dict[int, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """A prompt may have been saved, or dropped."""
        self._wake.set()

    def on_messages_added(self, _event: MessagesAdded) -> None:
        """A prompt may have been saved, with its notice, or dropped."""
        self.wake()

    async def run(self) -> None:
        """Work until cancelled; the prompts that are not written then are found again at the next start."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                pause = _IDLE
                try:
                    await self._begin(tasks)
                except Unavailable as e:
                    # The database logs its own fault once; this may go on for hours.
                    log.debug("prompts can't be looked at (%s); again in %g s", e.key, _RETRY)
                    pause = _RETRY
                await self._ctx.clock.wait(self._wake, pause)

    async def _begin(self, tasks: asyncio.TaskGroup) -> None:
        """Begin with the prompts that wait, and end the work on those that were dropped."""
        async with self._ctx.db.read() as tx:
            waiting = await store.unwritten_prompts(tx)
        for draft_id, task in self._running.items():
            if draft_id not in waiting:
                task.cancel()
        for draft_id in waiting:
            if draft_id not in self._running and len(self._running) < AT_ONCE:
                self._running[draft_id] = tasks.create_task(self._run_one(draft_id), name=f"prompt {draft_id}")

    async def _run_one(self, draft_id: int) -> None:
        try:
            await self._handle(draft_id)
        except Unavailable as e:
            log.debug("the prompt %d has to wait (%s)", draft_id, e.key)
            await self._ctx.clock.sleep(_RETRY)
        finally:
            del self._running[draft_id]
            self.wake()

    async def _handle(self, draft_id: int) -> None:
        """Have one prompt written, and show it or why not. Raises Unavailable while the database can't be used."""
        async with self._ctx.db.write() as tx:
            draft = await store.begin_prompt(tx, draft_id)
        if draft is None:
            return
        try:
            refusal = await self._try(draft)
        except EngineLost:
            await self._ctx.clock.sleep(_AFTER_LOSS)
            return
        except BaseException:
            # Only a process or an engine that ended meanwhile leaves the try counted.
            await shield(self._end_try(draft.id))
            raise
        if refusal is not None:
            await self._refuse(draft, refusal)

    async def _try(self, draft: PromptDraft) -> Refusal | None:
        """Have a prompt written and show it; return why that can't be. Raises EngineLost, or Unavailable of the database."""
        if draft.tries > MAX_TRIES:
            return Unavailable("refusal.expand.failed")
        try:
            async with asyncio.timeout(self._patience):
                written = await (self._described(draft) if draft.form.sources else self._expanded(draft))
        except TimeoutError:
            return Unavailable("refusal.expand.late")
        except BadInput as refusal:
            return refusal
        except BadImage:
            return BadInput("refusal.describe.unreadable")
        except EngineLost:
            raise
        except EngineError as error:
            log.warning("the prompt %d can't be written: %s", draft.id, error)
            return Unavailable("refusal.expand.failed")
        except Exception:  # other people's prompts go on
            log.exception("the prompt %d failed", draft.id)
            return Unavailable("refusal.unavailable.internal")
        try:
            await self._check_words(draft, written)
        except BadInput as refusal:
            return refusal
        await shield(self._show(draft, written))
        return None

    async def _expanded(self, draft: PromptDraft) -> str:
        return await self._engine.expand(draft.model, draft.form.prompt, seed=draft.seed)

    async def _described(self, draft: PromptDraft) -> str:
        """Fetch a picture and have it described. Raises BadInput where it is gone or too large, and EngineError."""
        data = await self._fetched(draft)
        # The engine, in a process of its own, is the first to open it.
        with await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="easel-") as folder:
            path = Path(folder) / "picture"
            await asyncio.to_thread(path.write_bytes, data)
            return await self._engine.describe(str(path))

    async def _fetched(self, draft: PromptDraft) -> bytes:
        while True:
            surface = self._surfaces.get(draft.address.platform)
            pause = _RETRY
            if surface is not None:
                try:
                    return await picture_requests.fetch(surface, draft.form.sources[0], 1, MAX_PICTURE_BYTES)
                except TooLarge as large:
                    raise picture_requests.too_large(1, large.limit) from None
                except RetryLater as later:
                    pause = max(1.0, later.seconds)
            await self._ctx.clock.sleep(pause)

    async def _check_words(self, draft: PromptDraft, written: str) -> None:
        """Raise BadInput if the text has words that are not drawn here. They are not its person's, and count for nothing."""
        try:
            request = await drafts.request_of(self._ctx, draft, written, draft.place)
            async with self._ctx.db.write() as tx:
                await admission.check(tx, self._ctx, draft.actor, draft.place, request)
        except Moderated:
            raise BadInput("refusal.expand.words") from None
        except Unavailable:
            raise
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
