"""MultiEngine: several engines of one device each, as one engine with a slot for each of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from engine.contract import (
    READY,
    Engine,
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
    Profile,
    PromptOnly,
    Recipe,
    Slot,
    Step,
)

_BEST_FIRST = (
    Phase.WARM,
    Phase.IDLE,
    Phase.WARMING,
    Phase.DOWNLOADING,
    Phase.STARTING,
    Phase.LOST,
    Phase.BROKEN,
)

UNFIT_SECONDS = 3600.0
"""Seconds after which a model that did not fit a slot is tried there again: another program may have left the card."""

log = logging.getLogger(__name__)


class MultiEngine:
    """Draws with several engines. Implements ``engine.contract.Engine``.

    A lost engine ends its own calls alone, and is started again by itself.

    Args:
        engines: Engines of one slot each, by the id that the slot gets. The first one answers what concerns them all.
        models: Names of the models that a slot draws, by its id; empty: all of them, and not there: what its engine says.

    Raises:
        ValueError: There is no engine.
    """

    def __init__(
        self, engines: Mapping[str, Engine], models: Mapping[str, frozenset[str]] = MappingProxyType({})
    ) -> None:
        if not engines:
            raise ValueError("an engine needs a device")
        self._engines = dict(engines)
        self._slot_models = dict(models)
        self._first = next(iter(self._engines.values()))
        self._moving: set[str] = set()
        # Recipes whose calls are open, and those of them whose previews are wanted.
        self._open: set[str] = set()
        self._previewed: set[str] = set()
        self._calls: dict[str, int] = dict.fromkeys(self._engines, 0)
        self._changed = asyncio.Event()
        # By slot, the models that did not fit it: how often its process had been restarted then, and when.
        self._unfit: dict[str, dict[str, tuple[int, float]]] = {}

    async def start(self) -> None:
        """Begin to load and warm on every device; returns at once."""
        for engine in self._engines.values():
            await engine.start()

    async def aclose(self) -> None:
        """Close all engines at the same time, within 5 s."""
        await asyncio.gather(*(engine.aclose() for engine in self._engines.values()))

    async def warm(self) -> None:
        """Return when a slot is ready. Raises the first one's EngineError if none of them can start."""
        tasks = [asyncio.create_task(engine.warm()) for engine in self._engines.values()]
        try:
            for done in asyncio.as_completed(tasks):
                try:
                    return await done
                except EngineError:
                    continue
            await tasks[0]
        finally:
            await _end(tasks)

    def profiles(self) -> tuple[Profile, ...]:
        """Profiles that at least one slot can draw, as the first such engine has them; the first is the default."""
        found: dict[str, Profile] = {}
        for engine in self._engines.values():
            for profile in engine.profiles():
                found.setdefault(profile.name, profile)
        return tuple(found.values())

    def loras(self) -> tuple[LoraInfo, ...]:
        """LoRAs that recipes may name, by name."""
        return self._first.loras()

    def edit_model(self) -> str:
        """Name of the profile that serves edits when the default one can't; empty for none."""
        return self._first.edit_model()

    def slots(self) -> tuple[Slot, ...]:
        """The slot of each engine, in their order. None draws a model that does not fit it while another one does."""
        slots = []
        for name, engine in self._engines.items():
            slot = engine.slots()[0]
            slots.append(replace(slot, id=name, models=self._slot_models.get(name, slot.models)))
        if not self._unfit and not any(slot.plain for slot in slots):
            return tuple(slots)
        every = frozenset(profile.name for profile in self.profiles())
        # Where no other slot draws more, a recipe that needs it is to fail and not to wait.
        more = frozenset().union(*((slot.models or every) - slot.plain for slot in slots))
        slots = [replace(slot, plain=slot.plain & more) for slot in slots]
        unfit = {slot.id: self._unfit_models(slot) for slot in slots}
        working = [slot for slot in slots if slot.state.phase is not Phase.BROKEN]
        elsewhere = frozenset().union(*((slot.models or every) - unfit[slot.id] for slot in working))
        found = []
        for slot in slots:
            models = (slot.models or every) - (unfit[slot.id] & elsewhere)
            # An empty set would be all models.
            found.append(replace(slot, models=models) if models and unfit[slot.id] else slot)
        return tuple(found)

    async def slots_changed(self) -> None:
        """Return after the next change of an engine's slot; those since the last call count."""
        changes = [engine.slots_changed() for engine in self._engines.values()]
        tasks = [asyncio.ensure_future(change) for change in (*changes, self._changed.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self._changed.clear()
        finally:
            await _end(tasks)

    def batch(self, recipe: Recipe, slot: str = "") -> int:
        """How many recipes of this model and size should be drawn in one call on a slot."""
        return self._engines.get(slot, self._first).batch(recipe)

    def state(self) -> EngineState:
        """All slots together: the best one's state, with the sums and the problems of all of them."""
        states = {name: engine.state() for name, engine in self._engines.items()}
        best = min(states.values(), key=lambda state: _BEST_FIRST.index(state.phase))
        problems = [f"{name}: {state.problem}" for name, state in states.items() if state.problem]
        return replace(
            best,
            device=", ".join(dict.fromkeys(state.device for state in states.values() if state.device)),
            memory=sum(state.memory for state in states.values()),
            problem=" ".join(problems),
            restarts=sum(state.restarts for state in states.values()),
            busy_seconds=sum(state.busy_seconds for state in states.values()),
            warm_seconds=sum(state.warm_seconds for state in states.values()),
            prompts_encoded=sum(state.prompts_encoded for state in states.values()),
            resident=tuple(dict.fromkeys(model for state in states.values() for model in state.resident)),
        )

    async def paint(
        self, recipes: Sequence[Recipe], lane: Lane = Lane.INTERACTIVE, slot: str = ""
    ) -> AsyncGenerator[Event]:
        """See ``engine.contract.Engine.paint``. Without a slot, the ready one with the fewest open calls draws.

        A picture that does not fit the slot's memory is drawn on another slot, and so are those of a slot that breaks.

        Raises:
            EngineLost: The slot's process died, hung or was closed, or there is no such slot.
        """
        model = recipes[0].model if recipes else ""
        plain = all(recipe.plain for recipe in recipes)
        name = slot or self._choose(model, plain=plain)
        if name not in self._engines:
            raise EngineLost(f"There is no slot {name!r}.")
        ids = [recipe.id for recipe in recipes]
        self._open.update(ids)
        try:
            async with aclosing(self._paint(recipes, lane, model, name)) as events:
                async for event in events:
                    yield event
        finally:
            self._open.difference_update(ids)
            self._previewed.difference_update(ids)

    async def _paint(self, recipes: Sequence[Recipe], lane: Lane, model: str, name: str) -> AsyncGenerator[Event]:
        """Draw on a slot, and what it can't draw on others."""
        tried = [name]
        while True:
            failed: dict[str, Failed] = {}
            self._calls[name] += 1
            try:
                async with aclosing(self._engines[name].paint(recipes, lane)) as events:
                    async for event in events:
                        if isinstance(event, Failed) and self._draws_elsewhere(event.error, name):
                            failed[event.recipe_id] = event
                            self._moving.add(event.recipe_id)
                            if isinstance(event.error, OutOfMemory):
                                self._note_unfit(name, model)
                        elif len(tried) > 1:
                            yield await self._moved(event, name)
                        else:
                            yield event
                recipes = [recipe for recipe in recipes if recipe.id in failed and recipe.id in self._moving]
            finally:
                self._calls[name] -= 1
                self._moving.difference_update(failed)
            plain = all(recipe.plain for recipe in recipes)
            others = [other for other in self._ready_for(model, plain=plain) if other not in tried]
            if not recipes or not others:
                for recipe in recipes:
                    yield failed[recipe.id]
                return
            name = min(others, key=lambda each: self._calls[each])
            tried.append(name)
            log.info("%d pictures of %s are drawn on %s instead", len(recipes), model, name)

    async def _moved(self, event: Event, name: str) -> Event:
        """Return an event of a picture that another slot draws than was meant; its viewers see it there, too."""
        if isinstance(event, Step) and event.step == 1 and event.recipe_id in self._previewed:
            await self._engines[name].set_preview(event.recipe_id, enabled=True)
        return replace(event, slot=name) if isinstance(event, Image) else event

    async def drop(self, recipe_id: str) -> None:
        """Take a recipe out within one step, on whichever slot it is. Unknown ids are ignored."""
        self._moving.discard(recipe_id)
        for engine in tuple(self._engines.values()):
            await engine.drop(recipe_id)

    async def set_preview(self, recipe_id: str, *, enabled: bool) -> None:
        """Turn previews of a recipe on or off, on whichever slot it is. Unknown ids are ignored."""
        if enabled and recipe_id in self._open:
            self._previewed.add(recipe_id)
        else:
            self._previewed.discard(recipe_id)
        for engine in tuple(self._engines.values()):
            await engine.set_preview(recipe_id, enabled=enabled)

    async def expand(self, model: str, prompt: str, *, seed: int = 0) -> str:
        """See ``engine.contract.Engine.expand``; the ready slot with the fewest open calls writes."""

        def writes(engine: Engine) -> bool:
            return any(profile.name == model and profile.expands for profile in engine.profiles())

        return await self._write(model, writes, lambda engine: engine.expand(model, prompt, seed=seed))

    def can_describe(self) -> bool:
        """Whether a model describes pictures."""
        return any(engine.can_describe() for engine in self._engines.values())

    async def describe(self, image: str) -> str:
        """See ``engine.contract.Engine.describe``; the ready slot with the fewest open calls describes."""
        return await self._write("", lambda engine: engine.can_describe(), lambda engine: engine.describe(image))

    async def _write(self, model: str, can: Callable[[Engine], bool], write: Callable[[Engine], Awaitable[str]]) -> str:
        """Have a slot that can write a text; where it is lost, or has no room for it, another ready one does."""
        # Where none can, it says why not.
        able = {name for name, engine in self._engines.items() if can(engine)} or set(self._engines)
        name = self._choose(model, able)
        tried = [name]
        while True:
            self._calls[name] += 1
            try:
                return await write(self._engines[name])
            except EngineError as error:
                others = [other for other in self._ready_for(model) if other in able and other not in tried]
                if not others or not (isinstance(error, EngineLost) or self._draws_elsewhere(error, name)):
                    raise
            finally:
                self._calls[name] -= 1
            name = min(others, key=lambda each: self._calls[each])
            tried.append(name)

    def _add(self, name: str, engine: Engine) -> None:
        """Add a slot behind the others; its engine was started."""
        self._engines[name] = engine
        self._calls[name] = 0
        self._changed.set()

    def _draws_elsewhere(self, error: EngineError, name: str) -> bool:
        """Whether what failed on a slot may be drawn on another one: the slot can't draw it, or is broken."""
        return isinstance(error, OutOfMemory | PromptOnly) or self._engines[name].state().phase is Phase.BROKEN

    def _note_unfit(self, name: str, model: str) -> None:
        """A recipe did not fit a slot: remember it where its model does not, so that the slot gets no more of them."""
        state = self._engines[name].state()
        if model not in state.without_load and all(model != placed.model for placed in state.placements):
            self._unfit.setdefault(name, {})[model] = state.restarts, time.monotonic()
            self._changed.set()

    def _unfit_models(self, slot: Slot) -> frozenset[str]:
        """Return the models that did not fit a slot since its process was started, in the last UNFIT_SECONDS."""
        found, since = self._unfit.get(slot.id, {}), time.monotonic() - UNFIT_SECONDS
        return frozenset(model for model, (starts, at) in found.items() if starts == slot.state.restarts and at > since)

    def _ready_for(self, model: str, *, plain: bool = True) -> list[str]:
        """Return the ready slots that can draw a model."""
        return [slot.id for slot in self.slots() if slot.ready and (not model or slot.can_draw(model, plain=plain))]

    def _choose(self, model: str, among: Collection[str] = (), *, plain: bool = True) -> str:
        """Return the slot with the fewest open calls among those in the best phase that can draw this model.

        Args:
            model: Name of its profile; empty: any.
            among: Ids of the slots to choose from; empty: all of them.
            plain: As ``Recipe.plain``.
        """
        slots = [slot for slot in self.slots() if not among or slot.id in among]
        able = [slot for slot in slots if not model or slot.can_draw(model, plain=plain)] or slots
        ready = [slot for slot in able if slot.state.phase in READY] or able
        return min(ready, key=lambda slot: self._calls[slot.id]).id


async def _end(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel tasks and wait for them; what they raise is not wanted."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
