"""ComfyEngine: the engine's contract, implemented with one ComfyUI server, which other people may use too."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace

from engine.backoff import Backoff
from engine.comfy.calls import Calls
from engine.comfy.client import ComfyClient, ServerInfo, ServerLost
from engine.comfy.server_models import ServerModels
from engine.comfy.session import OwnPrompts, ServerSession
from engine.comfy.workflow import Workflow
from engine.contract import (
    CannotWrite,
    EngineError,
    EngineLost,
    EngineState,
    Event,
    Failed,
    Lane,
    LoraInfo,
    Phase,
    Profile,
    Recipe,
    Slot,
    UnknownModel,
)
from engine.host.supervision import EngineStatus, Timeouts

SLOT = "0"
"""Id of the only slot."""

CALLS = 2
"""Calls of ``paint``: the server draws one prompt of Easel's at a time, and the next is ready when it ends."""

_UNEXPECTED = "The ComfyUI server said something that could not be handled; the log says more."

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
        self._timeouts = timeouts or Timeouts()
        self._pauses = pauses or Pauses()
        self._status = EngineStatus(next(iter(workflows)), slot)
        self._models = ServerModels(workflows, self._status.about)
        self._calls = Calls()
        self._own = OwnPrompts()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to connect; returns at once. ``state`` tells how it goes."""
        if self._task is None and not isinstance(self._status.error, EngineLost):
            self._task = asyncio.create_task(self._run(), name="comfy")

    async def aclose(self) -> None:
        """Take back what is on the server, within 5 s; open calls of ``paint`` raise EngineLost."""
        closed = EngineLost("The engine was closed.")
        self._status.closed(closed)
        self._calls.end_all(closed)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def warm(self) -> None:
        """Return when the server draws. Raises EngineError with a clear sentence if it can't be used."""
        await self._status.settled()

    def profiles(self) -> tuple[Profile, ...]:
        """Models that the server can draw; all that have a workflow, until it has said what it has."""
        return self._models.profiles()

    def loras(self) -> tuple[LoraInfo, ...]:
        """There are none."""
        return ()

    def edit_model(self) -> str:
        """There is none."""
        return ""

    def slots(self) -> tuple[Slot, ...]:
        """The server, which draws from prompts alone."""
        return (Slot(SLOT, self._status.state, CALLS, frozenset(self._models.offered), self._models.known),)

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
        call = self._calls.opened(recipes, lane)
        for each in call.open:
            if (error := self._models.refusal(each.recipe)) is not None:
                each.tell(Failed(each.recipe.id, error))
            else:
                self._calls.add(each)
        try:
            if self._status.error is not None:
                self._calls.end_all(self._status.error)
            while (event := await self._calls.read(call)) is not None:
                yield event
        finally:
            self._calls.close(call)

    async def drop(self, recipe_id: str) -> None:
        """Take a recipe out; its call yields nothing more of it. Unknown ids are ignored."""
        self._calls.drop(recipe_id)

    async def set_preview(self, recipe_id: str, *, enabled: bool) -> None:
        """Pass the server's previews of a recipe on, or no longer; its settings decide whether it makes any."""
        self._calls.set_preview(recipe_id, enabled=enabled)

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
                    log.error(
                        "%sthe ComfyUI server's messages could not be handled", self._status.about, exc_info=others
                    )
                problem = str(_first(lost_ones)) if lost_ones else _UNEXPECTED
            except Exception:
                log.exception("%swhat the ComfyUI server answers could not be handled", self._status.about)
                problem = _UNEXPECTED
            if self._status.ready:
                was_warm = True
                said = ""
                backoff.succeed()
            backoff.fail()
            self._lose(problem, broken=not was_warm and backoff.failures >= self._timeouts.starts)
            # A server may be off for days: what is said already is not said each minute.
            level = logging.DEBUG if problem == said else logging.WARNING
            log.log(level, "%s%s Trying again in %.1f s.", self._status.about, problem, backoff.pause)
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
                self._calls.end_all(EngineLost(problem))

    def _break(self, error: EngineError) -> None:
        """The server can't be used until somebody changes something; it is looked for on and on."""
        if self._status.error is None or str(error) != str(self._status.error):
            self._status.broken(error)
        self._calls.end_all(error)

    async def _serve(self, client: ComfyClient) -> None:
        """Draw on a server until it is lost. Raises ServerLost, alone or in an ExceptionGroup."""
        info = await client.info()
        async with client.listening(self._own.client, self._timeouts.silence) as received:
            await self._check(client, info)
            session = ServerSession(
                client,
                self._models,
                self._calls,
                self._status,
                self._own,
                look=self._pauses.look,
                longest=self._timeouts.loading,
            )
            try:
                async with asyncio.TaskGroup() as tasks:
                    for prompt_id in tuple(self._own.ids):
                        tasks.create_task(session.take_back(prompt_id), name="comfy leftovers")
                    tasks.create_task(session.read(received), name="comfy messages")
                    tasks.create_task(session.draw_all(tasks), name="comfy drawing")
                    tasks.create_task(self._recheck(client, info), name="comfy models")
            finally:
                # After a loss, the next session takes back what is there.
                if isinstance(self._status.error, EngineLost):
                    await session.leave()

    async def _check(self, client: ComfyClient, info: ServerInfo) -> None:
        """Find out which models the server can draw, and be ready if there are any."""
        before = self._models.drawable
        await self._models.look(client, info)
        drawable = self._models.drawable
        if not drawable:
            self._break(UnknownModel(self._models.problem))
            return
        state = self._status.state
        if self._status.ready and before == drawable:
            return
        ready, back = self._status.ready, state.phase is Phase.LOST
        self._status.error = None
        self._status.state = replace(
            state,
            phase=Phase.WARM,
            model=state.model if ready else drawable[0],
            resident=() if back else state.resident,
            device=info.kind,
            problem="",
            restarts=state.restarts + back,
        )
        self._status.models_changed()
        log.info("%s%s draws %s", self._status.about, info.title, ", ".join(drawable))

    async def _recheck(self, client: ComfyClient, info: ServerInfo) -> None:
        """Look for models that the server lacked; its operator may have fetched them."""
        while True:
            await asyncio.sleep(self._pauses.recheck)
            if not self._models.complete:
                await self._check(client, info)


def _first(group: BaseExceptionGroup[ServerLost]) -> BaseException:
    """Return the first exception of a group."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
