"""A session with one connected ComfyUI server: draws what waits, one prompt at a time, and takes back what is dropped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from engine.comfy import messages, picture
from engine.comfy.calls import Calls, OpenRecipe
from engine.comfy.client import ComfyClient, ServerLost
from engine.comfy.prompt import FILES, Prompt
from engine.comfy.server_models import ServerModels
from engine.contract import EngineError, Failed, Image, Preview
from engine.host.supervision import EngineStatus

_CLOSING = 3.0
"""Seconds for taking back what is on the server when the engine is closed."""

_STOPPING, _LONGEST_STOPPING = 0.2, 10.0
"""Seconds between two looks whether a prompt that was stopped has ended, at first and at most."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OwnPrompts:
    """What a server has of one engine. It outlives a session.

    Attributes:
        client: Id by which the server knows the engine.
        ids: Prompts of the engine that are on the server, or whose entry is in its history.
    """

    client: str = field(default_factory=lambda: uuid.uuid4().hex)
    ids: set[str] = field(default_factory=set)


@dataclass(slots=True)
class ServerSession:
    """Draws on a server while the connection lasts. Its methods raise ServerLost.

    Attributes:
        client: Of the server.
        models: What the server draws; it was looked at.
        calls: Where recipes are taken from.
        status: Where the model that was drawn last is noted.
        own: What the server has of this engine.
        look: Seconds between two looks into the server's queue while a prompt is there.
        longest: Seconds for which a prompt that runs may say nothing.
    """

    client: ComfyClient
    models: ServerModels
    calls: Calls
    status: EngineStatus
    own: OwnPrompts
    look: float
    longest: float
    _prompt: Prompt | None = field(default=None, init=False)

    async def read(self, received: AsyncIterator[str | bytes]) -> None:
        """Take the server's messages in. Raises ServerLost when the connection ends."""
        async for message in received:
            if isinstance(message, str):
                found = messages.read_text(message)
                if found is not None and self._prompt is not None:
                    self._prompt.take(found)
            elif (seen := messages.read_binary(message)) is not None:
                await self._take_preview(seen)
        raise ServerLost(f"The ComfyUI server at {self.client.url} has closed the connection.")

    async def _take_preview(self, seen: messages.PreviewPicture) -> None:
        """Pass a preview on if it is wanted and the earlier ones are read."""
        prompt = self._prompt
        if prompt is None or seen.prompt not in {"", prompt.id} or prompt.begun is None or prompt.over:
            return
        if prompt.work.takes_preview:
            small = await asyncio.to_thread(picture.preview, seen.data)
            if small is not None and prompt is self._prompt and prompt.work.previewed:
                prompt.work.tell(Preview(prompt.recipe.id, small, "image/jpeg"))

    async def draw_all(self, tasks: asyncio.TaskGroup) -> None:
        """Draw what waits, one prompt after the other; each picture is fetched while the next one is drawn.

        Args:
            tasks: Own the fetching.
        """
        fetching: asyncio.Task[None] | None = None
        while True:
            prompt = await self._submit(await self.calls.next())
            if prompt is None:
                continue
            await self._until_over(prompt)
            self._prompt = None
            if fetching is not None:
                await fetching
            fetching = tasks.create_task(self._finish(prompt), name="comfy picture")

    async def _submit(self, work: OpenRecipe) -> Prompt | None:
        """Give a recipe to the server; None where it can't be drawn there."""
        prompt = Prompt(str(uuid.uuid4()), work, time.monotonic())
        try:
            graph = self.models.graph(work.recipe)
            # Messages may come before the answer.
            self._prompt = prompt
            self.own.ids.add(prompt.id)
            asked, prompt.id = prompt.id, await self.client.submit(graph, self.own.client, prompt.id)
            self.own.ids.discard(asked)
            self.own.ids.add(prompt.id)
        except EngineError as error:
            self._prompt = None
            self.own.ids.discard(prompt.id)
            log.warning("%s%s: %s", self.status.about, work.recipe.log_name, error)
            work.tell(Failed(work.recipe.id, error))
            return None
        return prompt

    async def _until_over(self, prompt: Prompt) -> None:
        """Return when the server is done with a prompt; takes it back where it is not wanted any more.

        Raises:
            ServerLost: Nothing was heard of it for too long although it runs.
        """
        cancelled = False
        looked = time.monotonic()
        while not prompt.over:
            if prompt.work.dropped and not cancelled:
                cancelled = True
                await self.client.cancel(prompt.id)
                looked = 0.0
            wait = max(0.0, looked + self.look - time.monotonic())
            prompt.work.changed.clear()
            try:
                async with asyncio.timeout(wait):
                    await prompt.work.changed.wait()
            except TimeoutError:
                await self._look_for(prompt)
                looked = time.monotonic()

    async def _look_for(self, prompt: Prompt) -> None:
        """Look for a prompt on the server: its messages may be lost, and others may have deleted it."""
        queue = await self.client.queue()
        if prompt.id in queue.running:
            if time.monotonic() - prompt.heard > self.longest:
                await self.client.cancel(prompt.id)
                raise ServerLost(f"The ComfyUI server at {self.client.url} has said nothing of its work for too long.")
        elif prompt.id in queue.waiting:
            prompt.heard = time.monotonic()
        elif not prompt.over:
            found = messages.read_history(await self.client.history(prompt.id), prompt.id)
            for message in found or (messages.Interrupted(prompt.id), messages.Ended(prompt.id)):
                prompt.take(message)

    async def _finish(self, prompt: Prompt) -> None:
        """Fetch a prompt's picture and delete its entry from the history."""
        event = None if prompt.work.dropped else await self._outcome(prompt)
        await self.client.forget(prompt.id)
        self.own.ids.discard(prompt.id)
        if event is None:
            return
        if isinstance(event, Image):
            prompt.tell_step(prompt.recipe.steps)
            state = self.status.state
            if state.resident != (prompt.recipe.model,):
                self.status.state = replace(state, model=prompt.recipe.model, resident=(prompt.recipe.model,))
        else:
            log.warning("%s%s: %s", self.status.about, prompt.recipe.log_name, event.error)
        prompt.work.tell(event)

    async def _outcome(self, prompt: Prompt) -> Image | Failed:
        recipe = prompt.recipe
        if prompt.end is None or not prompt.files:
            # Its nodes had nothing to do, or messages were lost.
            prompt.complete(messages.read_history(await self.client.history(prompt.id), prompt.id))
        try:
            prompt.check_end()
            data = await self._fetch(prompt)
        except EngineError as error:
            return Failed(recipe.id, error)
        return Image(
            recipe.id,
            data,
            width=recipe.width,
            height=recipe.height,
            seconds=max(prompt.seconds, 0.001),
            device=self.status.state.device,
            setup=self.models.setup(recipe.model),
        )

    async def _fetch(self, prompt: Prompt) -> bytes:
        """Return a prompt's picture, as a PNG of the right size. Raises EngineError."""
        width, height = prompt.recipe.width, prompt.recipe.height
        problem = picture.BadPicture("The ComfyUI server has drawn it and has no picture of it.")
        # What a workflow saves counts before what it only shows.
        for file in sorted(prompt.files, key=lambda each: each.type != "output")[:FILES]:
            data = await self.client.file(file, picture.encoded_bytes(width, height))
            if data is None:
                continue
            try:
                return await asyncio.to_thread(picture.checked, data, width, height)
            except picture.BadPicture as error:
                problem = error
        raise problem

    async def take_back(self, prompt_id: str) -> None:
        """Cancel a prompt that is not wanted, and delete it from the history."""
        await self.client.cancel(prompt_id)
        # It ends with its step, and only then its entry is written. A lost connection brings no message of that.
        pause = _STOPPING
        while prompt_id in (await self.client.queue()).running:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_STOPPING)
        await self.client.forget(prompt_id)
        self.own.ids.discard(prompt_id)

    async def leave(self) -> None:
        """Take back what is on the server, within 3 s, when the engine is closed; raises nothing."""
        with contextlib.suppress(ServerLost, TimeoutError):
            async with asyncio.timeout(_CLOSING):
                for prompt_id in tuple(self.own.ids):
                    await self.take_back(prompt_id)
