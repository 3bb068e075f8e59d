"""ComfyEngine: the engine's contract, implemented with one ComfyUI server, which other people may use too."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from engine.backoff import Backoff
from engine.comfy import messages, picture, probe
from engine.comfy.client import ComfyClient, ServerInfo, ServerLost
from engine.comfy.inventory import Fit
from engine.comfy.workflow import Workflow
from engine.contract import (
    BadRecipe,
    CannotWrite,
    EngineError,
    EngineLost,
    EngineState,
    Event,
    Failed,
    Image,
    Lane,
    LoraInfo,
    OutOfMemory,
    Phase,
    Preview,
    Profile,
    Recipe,
    Slot,
    Step,
    UnknownModel,
    Unsupported,
)
from engine.host.supervision import EngineStatus, Timeouts

SLOT = "0"
"""Id of the only slot."""

CALLS = 2
"""Calls of ``paint``: the server draws one prompt of Easel's at a time, and the next is ready when it ends."""


_CLOSING = 3.0
"""Seconds for taking back what is on the server when the engine is closed."""

_STOPPING, _LONGEST_STOPPING = 0.2, 10.0
"""Seconds between two looks whether a prompt that was stopped has ended, at first and at most."""

_TRIES = 4
"""Most pictures of a prompt that are fetched to find the one of the right size."""

_ROUNDING = 1e-6

_UNEXPECTED = "The ComfyUI server said something that could not be handled; the log says more."

_PREVIEWS = 8
"""Events of a call that may wait while a preview is added; more previews would only be late."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pauses:
    """Times of the supervision of a server, in seconds.

    Attributes:
        look: Between two looks into the server's queue while a prompt is there.
        recheck: Between two looks for models that the server lacked.
    """

    look: float = 15.0
    recheck: float = 300.0


@dataclass(slots=True, eq=False)
class _PaintCall:
    """An open call of ``paint``.

    Attributes:
        lane: How urgent it is.
        open: Recipes that have not ended, by ticket.
        events: What happened, with its ticket; None wakes the reader after a recipe was dropped.
        previewed: Tickets whose previews are wanted.
    """

    lane: Lane
    open: dict[int, Recipe]
    events: asyncio.Queue[tuple[int, Event] | EngineLost | None] = field(default_factory=asyncio.Queue)
    previewed: set[int] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class _Prompt:
    """A recipe that is on the server.

    Attributes:
        id: Its prompt's id there.
        ticket: Of its recipe.
        recipe: The recipe.
        call: Of its recipe.
        heard: When the server last said something of it, in monotonic seconds.
        begun: When the server began it; None before that.
        step: Steps that were told.
        files: Pictures that its output nodes have written.
        end: How it ended; None before that.
        over: Whether its entry is in the server's history.
        moved: Set when something has happened to it.
    """

    id: str
    ticket: int
    recipe: Recipe
    call: _PaintCall
    heard: float
    begun: float | None = None
    seconds: float = 0.0
    step: int = 0
    files: list[messages.OutputFile] = field(default_factory=list)
    end: messages.Succeeded | messages.Erred | messages.Interrupted | None = None
    over: bool = False
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def dropped(self) -> bool:
        return self.ticket not in self.call.open


class ComfyEngine:
    """Draws on a ComfyUI server. Implements ``engine.contract.Engine``.

    It draws recipes that need nothing but a prompt, one at a time: what waits here can still be put in another order.

    Args:
        url: Of the server, such as ``http://10.0.0.5:8188``.
        workflows: What it draws, by the name of the model; the first is the default. At least one.
        slot: Id of the slot, which log lines name; empty: none.
        timeouts: Limits of the supervision; tests make them short.
        pauses: Further times; tests make them short.

    Raises:
        UnknownModel: There is no workflow.
    """

    def __init__(
        self,
        url: str,
        workflows: Mapping[str, Workflow],
        *,
        slot: str = "",
        timeouts: Timeouts | None = None,
        pauses: Pauses | None = None,
    ) -> None:
        if not workflows:
            raise UnknownModel("There is no ComfyUI workflow that can be used.")
        self._url = url
        self._workflows = dict(workflows)
        self._fits: Mapping[str, Fit] = {}
        self._timeouts = timeouts or Timeouts()
        self._pauses = pauses or Pauses()
        self._about = f"{slot}: " if slot else ""
        self._status = EngineStatus(next(iter(self._workflows)), slot)
        self._client_id = uuid.uuid4().hex
        self._version = ""
        self._tickets = itertools.count(1)
        self._calls: dict[int, _PaintCall] = {}
        # What the next prompt is taken from, by lane.
        self._waiting: dict[Lane, dict[int, _PaintCall]] = {lane: {} for lane in Lane}
        self._added = asyncio.Event()
        self._prompt: _Prompt | None = None
        # Prompts that are left on the server, which did not hear that they are not wanted.
        self._left: set[str] = set()
        self._told: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to connect; returns at once. ``state`` tells how it goes."""
        if self._task is None and not isinstance(self._status.error, EngineLost):
            self._task = asyncio.create_task(self._run(), name="comfy")

    async def aclose(self) -> None:
        """Take back what is on the server, within 5 s; open calls of ``paint`` raise EngineLost."""
        closed = EngineLost("The engine was closed.")
        self._status.closed(closed)
        self._end_calls(closed)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def warm(self) -> None:
        """Return when the server draws. Raises EngineError with a clear sentence if it can't be used."""
        await self._status.settled()

    def profiles(self) -> tuple[Profile, ...]:
        """Models that the server can draw; all that have a workflow, until it has said what it has."""
        names = self._drawable() or self._workflows
        return tuple(self._workflows[name].profile for name in names)

    def loras(self) -> tuple[LoraInfo, ...]:
        """There are none."""
        return ()

    def edit_model(self) -> str:
        """There is none."""
        return ""

    def slots(self) -> tuple[Slot, ...]:
        """The server, which draws from prompts alone."""
        models = frozenset(self._drawable() or self._workflows)
        return (Slot(SLOT, self._status.state, CALLS, models, frozenset(self._workflows)),)

    async def slots_changed(self) -> None:
        """Return after the next change of the phase or of the models that it draws."""
        await self._status.changed()

    def batch(self, recipe: Recipe, slot: str = "") -> int:  # noqa: ARG002 - all are the same
        """One: each recipe is a prompt of its own."""
        return 1

    def state(self) -> EngineState:
        """What the server is doing now."""
        return self._status.state

    async def paint(
        self, recipes: Sequence[Recipe], lane: Lane = Lane.INTERACTIVE, slot: str = ""
    ) -> AsyncGenerator[Event]:
        """See ``engine.contract.Engine.paint``. A call before the server is there waits for it.

        Raises:
            EngineLost: The server is gone, silent or was closed, or there is no such slot.
        """
        if slot not in {"", SLOT}:
            raise EngineLost(f"There is no slot {slot!r}.")
        call = _PaintCall(lane, {next(self._tickets): recipe for recipe in recipes})
        self._calls.update(dict.fromkeys(call.open, call))
        for ticket, recipe in call.open.items():
            if (error := self._refusal(recipe)) is not None:
                call.events.put_nowait((ticket, Failed(recipe.id, error)))
            else:
                self._waiting[lane][ticket] = call
        self._added.set()
        try:
            if self._status.error is not None:
                self._end_calls(self._status.error)
            while call.open:
                event = await call.events.get()
                if isinstance(event, EngineLost):
                    raise EngineLost(*event.args)
                if event is None or event[0] not in call.open:
                    continue  # dropped before it was read
                ticket, what = event
                if not isinstance(what, Step | Preview):
                    self._close(call, [ticket])
                yield what
        finally:
            self._drop(call, list(call.open))

    async def drop(self, recipe_id: str) -> None:
        """Take a recipe out; its call yields nothing more of it. Unknown ids are ignored."""
        for call in set(self._calls.values()):
            self._drop(call, [t for t, r in call.open.items() if r.id == recipe_id])

    async def set_preview(self, recipe_id: str, *, enabled: bool) -> None:
        """Pass the server's previews of a recipe on, or no longer; its settings decide whether it makes any."""
        for call in set(self._calls.values()):
            for ticket in [t for t, r in call.open.items() if r.id == recipe_id]:
                (call.previewed.add if enabled else call.previewed.discard)(ticket)

    async def expand(self, model: str, prompt: str, *, seed: int = 0) -> str:  # noqa: ARG002 - the contract's
        """Raises CannotWrite: a ComfyUI server writes no prompts."""
        raise CannotWrite("A ComfyUI server writes no prompts; a device of this machine does, with EASEL_TEXT_MODEL.")

    def can_describe(self) -> bool:
        """Whether it describes pictures: never."""
        return False

    async def describe(self, image: str) -> str:  # noqa: ARG002 - the contract's
        """Raises CannotWrite: a ComfyUI server describes no pictures."""
        raise CannotWrite(
            "A ComfyUI server describes no pictures; a device of this machine does, with EASEL_CAPTION_MODEL."
        )

    # The calls of paint

    def _refusal(self, recipe: Recipe) -> EngineError | None:
        """Return why a recipe can't be drawn here; None where it can."""
        if recipe.model not in self._workflows:
            return UnknownModel(f"There is no model {recipe.model!r} here.")
        if not recipe.plain:
            title = self._workflows[recipe.model].profile.title
            return Unsupported(f"The ComfyUI server draws {title} from a prompt alone.")
        return None

    def _close(self, call: _PaintCall, tickets: Sequence[int]) -> None:
        for ticket in tickets:
            call.open.pop(ticket, None)
            call.previewed.discard(ticket)
            self._calls.pop(ticket, None)
            self._waiting[call.lane].pop(ticket, None)
        if self._prompt is not None and self._prompt.dropped:
            self._prompt.moved.set()

    def _drop(self, call: _PaintCall, tickets: Sequence[int]) -> None:
        if tickets:
            self._close(call, tickets)
            call.events.put_nowait(None)

    def _end_calls(self, error: EngineError) -> None:
        """End every open call: each raises EngineLost, or each recipe fails with another error."""
        for call in set(self._calls.values()):
            if isinstance(error, EngineLost):
                call.events.put_nowait(error)
            else:
                for ticket, recipe in call.open.items():
                    call.events.put_nowait((ticket, Failed(recipe.id, error)))
        self._calls.clear()
        for waiting in self._waiting.values():
            waiting.clear()

    def _tell(self, prompt: _Prompt, event: Event) -> None:
        if not prompt.dropped:
            prompt.call.events.put_nowait((prompt.ticket, event))

    def _drawable(self) -> tuple[str, ...]:
        return tuple(name for name, found in self._fits.items() if found.ok)

    # The server

    async def _run(self) -> None:
        """Connect again and again; cancel it to end."""
        backoff = Backoff(self._timeouts.first_pause, self._timeouts.longest_pause)
        was_warm = False
        said = ""
        while True:
            problem = ""
            try:
                async with ComfyClient.opened(self._url, self._timeouts.silence) as client:
                    await self._serve(client)
            except ServerLost as lost:
                problem = str(lost)
            except ExceptionGroup as group:
                lost_ones, others = group.split(ServerLost)
                if others is not None:
                    log.error("%sthe ComfyUI server's messages could not be handled", self._about, exc_info=others)
                problem = str(_first(lost_ones)) if lost_ones else _UNEXPECTED
            except Exception:
                log.exception("%swhat the ComfyUI server answers could not be handled", self._about)
                problem = _UNEXPECTED
            if self._status.ready:
                was_warm = True
                said = ""
                backoff.succeed()
            backoff.fail()
            self._lose(problem, broken=not was_warm and backoff.failures >= self._timeouts.starts)
            # A server may be off for days: what is said already is not said each minute.
            level = logging.DEBUG if problem == said else logging.WARNING
            log.log(level, "%s%s Trying again in %.1f s.", self._about, problem, backoff.pause)
            said = problem
            await asyncio.sleep(backoff.pause)

    def _lose(self, problem: str, *, broken: bool) -> None:
        """The server is lost; ``broken``: it was never there."""
        if broken:
            self._break(EngineError(problem))
        else:
            ready = self._status.ready
            self._status.error = None
            self._status.lost(problem)
            # What was opened while it was away goes on waiting.
            if ready:
                self._end_calls(EngineLost(problem))

    def _break(self, error: EngineError) -> None:
        """The server can't be used until somebody changes something; it is looked for on and on."""
        if self._status.error is None or str(error) != str(self._status.error):
            self._status.broken(error)
        self._end_calls(error)

    async def _serve(self, client: ComfyClient) -> None:
        """Draw on a server until it is lost. Raises ServerLost, alone or in an ExceptionGroup."""
        info = await client.info()
        async with client.listening(self._client_id, self._timeouts.silence) as received:
            await self._check(client, info)
            try:
                async with asyncio.TaskGroup() as tasks:
                    for prompt_id in tuple(self._left):
                        tasks.create_task(self._take_back(client, prompt_id), name="comfy leftovers")
                    tasks.create_task(self._read(received), name="comfy messages")
                    tasks.create_task(self._draw_all(client, tasks), name="comfy drawing")
                    tasks.create_task(self._recheck(client, info), name="comfy models")
            finally:
                await self._leave(client)

    async def _check(self, client: ComfyClient, info: ServerInfo) -> None:
        """Find out which models the server can draw, and be ready if there are any."""
        before, self._version = self._drawable(), info.version
        self._fits = await probe.fits(client, self._workflows)
        for name, found in self._fits.items():
            sentence = found.sentence(self._workflows[name])
            if sentence and sentence not in self._told:
                self._told.add(sentence)
                # Nobody has asked for a workflow of Easel's own.
                shipped = self._workflows[name].shipped
                log.log(logging.INFO if shipped else logging.WARNING, "%s%s", self._about, sentence)
        if not self._drawable():
            first = next(iter(self._fits.items()))
            self._break(UnknownModel(first[1].sentence(self._workflows[first[0]])))
            return
        state = self._status.state
        if self._status.ready and before == self._drawable():
            return
        ready, back = self._status.ready, state.phase is Phase.LOST
        self._status.error = None
        self._status.state = replace(
            state,
            phase=Phase.WARM,
            model=state.model if ready else self._drawable()[0],
            resident=() if back else state.resident,
            device=info.kind,
            problem="",
            restarts=state.restarts + back,
        )
        self._status.models_changed()
        log.info("%s%s draws %s", self._about, info.title, ", ".join(self._drawable()))

    async def _recheck(self, client: ComfyClient, info: ServerInfo) -> None:
        """Look for models that the server lacked; whoever runs it may have fetched them."""
        while True:
            await asyncio.sleep(self._pauses.recheck)
            if not all(found.ok for found in self._fits.values()):
                await self._check(client, info)

    async def _read(self, received: AsyncIterator[str | bytes]) -> None:
        """Take the server's messages in. Raises ServerLost when the connection ends."""
        async for message in received:
            if isinstance(message, str):
                if (found := messages.read_text(message)) is not None:
                    self._take(found)
            elif (seen := messages.read_binary(message)) is not None:
                await self._take_preview(seen)
        raise ServerLost(f"The ComfyUI server at {self._url} has closed the connection.")

    def _take(self, message: messages.Message) -> None:
        """Note what the server says of the prompt that is there. What it says of others is not for Easel."""
        prompt = self._prompt
        if prompt is None or message.prompt != prompt.id or prompt.over:
            return
        prompt.heard = time.monotonic()
        if prompt.begun is None:
            prompt.begun = prompt.heard
        match message:
            case messages.Progress(share=share):
                self._step(prompt, int(share * prompt.recipe.steps + _ROUNDING))
            case messages.Executed(files=files):
                prompt.files += [file for file in files if file not in prompt.files]
                del prompt.files[_TRIES:]
            case messages.Succeeded() | messages.Erred() | messages.Interrupted():
                prompt.end = message
                prompt.seconds = prompt.heard - prompt.begun
            case messages.Ended():
                prompt.over = True
                prompt.seconds = prompt.seconds or prompt.heard - prompt.begun
        prompt.moved.set()

    def _step(self, prompt: _Prompt, step: int) -> None:
        """Tell that a step is done, if it is a new one; the first one is always told."""
        if step > prompt.step:
            if prompt.step == 0 and step > 1:
                self._tell(prompt, Step(prompt.recipe.id, 1, prompt.recipe.steps))
            self._tell(prompt, Step(prompt.recipe.id, step, prompt.recipe.steps))
            prompt.step = step

    async def _take_preview(self, seen: messages.PreviewPicture) -> None:
        """Pass a preview on if somebody wants it and reads the earlier ones."""
        prompt = self._prompt
        if prompt is None or seen.prompt not in {"", prompt.id} or prompt.begun is None or prompt.over:
            return
        if prompt.ticket in prompt.call.previewed and prompt.call.events.qsize() < _PREVIEWS:
            small = await asyncio.to_thread(picture.preview, seen.data)
            if small is not None and prompt is self._prompt and prompt.ticket in prompt.call.previewed:
                self._tell(prompt, Preview(prompt.recipe.id, small, "image/jpeg"))

    # Drawing

    async def _draw_all(self, client: ComfyClient, tasks: asyncio.TaskGroup) -> None:
        """Draw what waits, one prompt after the other; each picture is fetched while the next one is drawn."""
        fetching: asyncio.Task[None] | None = None
        while True:
            ticket, call = await self._next()
            recipe = call.open[ticket]
            del self._waiting[call.lane][ticket]
            prompt = await self._submit(client, ticket, recipe, call)
            if prompt is None:
                continue
            self._prompt = prompt
            await self._until_over(client, prompt)
            self._prompt = None
            if fetching is not None:
                await fetching
            fetching = tasks.create_task(self._finish(client, prompt), name="comfy picture")

    async def _next(self) -> tuple[int, _PaintCall]:
        """Return the recipe that is drawn next: interactive ones first, in the order in which they came."""
        while True:
            for lane in Lane:
                for ticket, call in self._waiting[lane].items():
                    return ticket, call
            self._added.clear()
            await self._added.wait()

    async def _submit(self, client: ComfyClient, ticket: int, recipe: Recipe, call: _PaintCall) -> _Prompt | None:
        """Give a recipe to the server; None where it can't be drawn there."""
        workflow, found = self._workflows[recipe.model], self._fits[recipe.model]
        prompt = _Prompt(str(uuid.uuid4()), ticket, recipe, call, time.monotonic())
        try:
            if not found.ok:
                raise UnknownModel(found.sentence(workflow))
            graph = workflow.filled(recipe, found.chosen)
            # Messages may come before the answer.
            self._prompt = prompt
            self._left.add(prompt.id)
            own, prompt.id = prompt.id, await client.submit(graph, self._client_id, prompt.id)
            self._left = self._left - {own} | {prompt.id}
        except EngineError as error:
            self._prompt = None
            self._left.discard(prompt.id)
            log.warning("%s%s: %s", self._about, recipe.log_name, error)
            self._tell(prompt, Failed(recipe.id, error))
            return None
        return prompt

    async def _until_over(self, client: ComfyClient, prompt: _Prompt) -> None:
        """Return when the server is done with a prompt; takes it back where it is not wanted any more.

        Raises:
            ServerLost: Nothing was heard of it for too long although it runs.
        """
        cancelled = False
        looked = time.monotonic()
        while not prompt.over:
            if prompt.dropped and not cancelled:
                cancelled = True
                await client.cancel(prompt.id)
                looked = 0.0
            wait = max(0.0, looked + self._pauses.look - time.monotonic())
            prompt.moved.clear()
            try:
                async with asyncio.timeout(wait):
                    await prompt.moved.wait()
            except TimeoutError:
                await self._look(client, prompt)
                looked = time.monotonic()

    async def _look(self, client: ComfyClient, prompt: _Prompt) -> None:
        """Look for a prompt on the server: its messages may be lost, and others may have deleted it."""
        queue = await client.queue()
        if prompt.id in queue.running:
            if time.monotonic() - prompt.heard > self._timeouts.loading:
                await client.cancel(prompt.id)
                raise ServerLost(f"The ComfyUI server at {self._url} has said nothing of its work for too long.")
        elif prompt.id in queue.waiting:
            prompt.heard = time.monotonic()
        elif not prompt.over:
            found = messages.read_history(await client.history(prompt.id), prompt.id)
            for message in found or (messages.Interrupted(prompt.id), messages.Ended(prompt.id)):
                self._take(message)

    async def _finish(self, client: ComfyClient, prompt: _Prompt) -> None:
        """Fetch a prompt's picture and delete its entry from the history."""
        event = None if prompt.dropped else await self._outcome(client, prompt)
        await client.forget(prompt.id)
        self._left.discard(prompt.id)
        if event is None:
            return
        if isinstance(event, Image):
            self._step(prompt, prompt.recipe.steps)
            state = self._status.state
            if state.resident != (prompt.recipe.model,):
                self._status.state = replace(state, model=prompt.recipe.model, resident=(prompt.recipe.model,))
        else:
            log.warning("%s%s: %s", self._about, prompt.recipe.log_name, event.error)
        self._tell(prompt, event)

    async def _outcome(self, client: ComfyClient, prompt: _Prompt) -> Image | Failed:
        recipe = prompt.recipe
        if prompt.end is None or not prompt.files:
            # Its nodes had nothing to do, or messages were lost.
            for message in messages.read_history(await client.history(prompt.id), prompt.id):
                if isinstance(message, messages.Executed):
                    prompt.files += message.files[:_TRIES]
                elif not isinstance(message, messages.Ended | messages.Started | messages.Progress):
                    prompt.end = message
        try:
            match prompt.end:
                case messages.Erred() as end if end.out_of_memory:
                    raise OutOfMemory(f"The picture does not fit the memory of the ComfyUI server ({end.reason}).")
                case messages.Erred(kind=kind, reason=reason):
                    raise BadRecipe(f"The ComfyUI server could not draw it: {kind} {reason}".rstrip())
                case messages.Interrupted():
                    raise EngineError("Somebody has stopped or deleted it on the ComfyUI server.")
            data = await self._fetch(client, prompt)
        except EngineError as error:
            return Failed(recipe.id, error)
        digest = self._workflows[recipe.model].digest(self._fits[recipe.model].chosen, self._version)
        return Image(
            recipe.id,
            data,
            width=recipe.width,
            height=recipe.height,
            seconds=max(prompt.seconds, 0.001),
            device=self._status.state.device,
            setup=f"comfyui-{digest}",
        )

    async def _fetch(self, client: ComfyClient, prompt: _Prompt) -> bytes:
        """Return a prompt's picture, as a PNG of the right size. Raises EngineError."""
        width, height = prompt.recipe.width, prompt.recipe.height
        problem = picture.BadPicture("The ComfyUI server has drawn it and has no picture of it.")
        # What a workflow saves counts before what it only shows.
        for file in sorted(prompt.files, key=lambda each: each.type != "output")[:_TRIES]:
            data = await client.file(file, picture.encoded_bytes(width, height))
            if data is None:
                continue
            try:
                return await asyncio.to_thread(picture.checked, data, width, height)
            except picture.BadPicture as error:
                problem = error
        raise problem

    async def _take_back(self, client: ComfyClient, prompt_id: str) -> None:
        """Cancel a prompt that is not wanted, and delete it from the history."""
        await client.cancel(prompt_id)
        # It ends with its step, and only then its entry is written. A lost connection brings no message of that.
        pause = _STOPPING
        while prompt_id in (await client.queue()).running:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_STOPPING)
        await client.forget(prompt_id)
        self._left.discard(prompt_id)

    async def _leave(self, client: ComfyClient) -> None:
        """Take back what is on the server when the engine is closed; after a loss, the next connection does."""
        self._prompt = None
        if not isinstance(self._status.error, EngineLost):
            return
        with contextlib.suppress(ServerLost, TimeoutError):
            async with asyncio.timeout(_CLOSING):
                for prompt_id in tuple(self._left):
                    await self._take_back(client, prompt_id)


def _first(group: BaseExceptionGroup[ServerLost]) -> BaseException:
    """Return the first exception of a group."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
