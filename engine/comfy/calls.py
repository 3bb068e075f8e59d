"""The open calls of ``paint``: their recipes, which of them is drawn next, and the events that each call is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from engine.contract import EngineError, EngineLost, Event, Failed, Lane, Preview, Recipe, Step

_PREVIEWS = 8
"""Events of a call that may wait while a preview is added; more previews would only be late."""


@dataclass(slots=True, eq=False)
class PaintCall:
    """An open call of ``paint``.

    Attributes:
        lane: How urgent it is.
        open: Recipes that have not ended, in their order; the values mean nothing.
        events: What happened, with its recipe; None wakes the reader after a recipe was dropped.
    """

    lane: Lane
    open: dict[OpenRecipe, None] = field(default_factory=dict)
    events: asyncio.Queue[tuple[OpenRecipe, Event] | EngineLost | None] = field(default_factory=asyncio.Queue)


@dataclass(slots=True, eq=False)
class OpenRecipe:
    """A recipe of a call. Two calls may have recipes with the same id.

    Attributes:
        recipe: The recipe.
        call: Its call.
        previewed: Whether previews of it are wanted.
        changed: Set when it has ended, and when something has happened to its prompt.
    """

    recipe: Recipe
    call: PaintCall
    previewed: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def dropped(self) -> bool:
        """Whether its call reads no more events of it."""
        return self not in self.call.open

    @property
    def takes_preview(self) -> bool:
        """Whether a preview is wanted, and its call reads the earlier events."""
        return self.previewed and self.call.events.qsize() < _PREVIEWS

    def tell(self, event: Event) -> None:
        """Pass an event to the call; does nothing after the recipe was dropped."""
        if not self.dropped:
            self.call.events.put_nowait((self, event))


class Calls:
    """The calls of one engine, and what is drawn next."""

    def __init__(self) -> None:
        self._open: dict[OpenRecipe, None] = {}
        self._waiting: dict[Lane, dict[OpenRecipe, None]] = {lane: {} for lane in Lane}
        self._added = asyncio.Event()

    def opened(self, recipes: Sequence[Recipe], lane: Lane) -> PaintCall:
        """Open a call. Its recipes are not drawn before ``add``; close it with ``close``."""
        call = PaintCall(lane)
        call.open.update(dict.fromkeys(OpenRecipe(recipe, call) for recipe in recipes))
        self._open.update(call.open)
        return call

    def add(self, recipe: OpenRecipe) -> None:
        """Let a recipe wait until it is drawn."""
        self._waiting[recipe.call.lane][recipe] = None
        self._added.set()

    async def next(self) -> OpenRecipe:
        """Wait for the recipe that is drawn next, and take it: interactive ones first, in the order of their coming."""
        while True:
            for waiting in self._waiting.values():
                for recipe in waiting:
                    del waiting[recipe]
                    return recipe
            self._added.clear()
            await self._added.wait()

    async def read(self, call: PaintCall) -> Event | None:
        """Wait for the next event of a call; None when all of its recipes have ended.

        Raises:
            EngineLost: The engine was lost or closed.
        """
        while call.open:
            event = await call.events.get()
            if isinstance(event, EngineLost):
                raise EngineLost(*event.args)
            if event is None or event[0].dropped:
                continue  # dropped before it was read
            recipe, what = event
            if not isinstance(what, Step | Preview):
                self._end([recipe])
            return what
        return None

    def close(self, call: PaintCall) -> None:
        """Drop what a call has left."""
        self._end(tuple(call.open))

    def drop(self, recipe_id: str) -> None:
        """Take the recipes with an id out; their calls go on without them."""
        dropped = self._named(recipe_id)
        self._end(dropped)
        for recipe in dropped:
            recipe.call.events.put_nowait(None)

    def set_preview(self, recipe_id: str, *, enabled: bool) -> None:
        """Say whether previews of the recipes with an id are wanted."""
        for recipe in self._named(recipe_id):
            recipe.previewed = enabled

    def end_all(self, error: EngineError) -> None:
        """End every open call: each raises EngineLost, or each recipe fails with another error."""
        if isinstance(error, EngineLost):
            for call in {recipe.call for recipe in self._open}:
                call.events.put_nowait(error)
        else:
            for recipe in self._open:
                recipe.tell(Failed(recipe.recipe.id, error))
        self._open.clear()
        for waiting in self._waiting.values():
            waiting.clear()

    def _named(self, recipe_id: str) -> tuple[OpenRecipe, ...]:
        return tuple(recipe for recipe in self._open if recipe.recipe.id == recipe_id)

    def _end(self, recipes: Iterable[OpenRecipe]) -> None:
        for recipe in recipes:
            recipe.call.open.pop(recipe, None)
            recipe.previewed = False
            self._open.pop(recipe, None)
            self._waiting[recipe.call.lane].pop(recipe, None)
            recipe.changed.set()
