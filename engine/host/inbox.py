"""The child's work: what it was asked to draw, ordered by lane, with the dropped taken out. Safe between threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from engine import catalogue
from engine.contract import Lane, Recipe
from engine.diffusion.rows import Row


class Inbox:
    """Filled by the thread that hears the parent, emptied by the thread that draws."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lanes: dict[Lane, deque[Row]] = {lane: deque() for lane in (Lane.INTERACTIVE, Lane.BULK)}
        self._open: set[int] = set()

    def add(self, lane: Lane, rows: Iterable[Row]) -> None:
        """Take on work; each lane is served in the order in which it came."""
        with self._changed:
            for row in rows:
                self._lanes[lane].append(row)
                self._open.add(row.ticket)
            self._changed.notify()

    def drop(self, tickets: Iterable[int]) -> None:
        """Forget these, whether they wait or are being drawn."""
        with self._changed:
            self._open.difference_update(tickets)

    def wanted(self, ticket: int) -> bool:
        """Whether this one has neither been dropped nor been finished."""
        with self._changed:
            return ticket in self._open

    def finish(self, ticket: int) -> bool:
        """Note that this one has come to its end; False when it had been dropped, and there is nothing to say."""
        with self._changed:
            if ticket not in self._open:
                return False
            self._open.remove(ticket)
            return True

    def next(self) -> list[Row]:
        """Wait for work and return a batch: the foremost recipe of the most urgent lane and those right behind it
        that can be drawn with it, as many as are worth drawing together.
        """
        with self._changed:
            while True:
                for lane in self._lanes.values():
                    while lane and lane[0].ticket not in self._open:
                        lane.popleft()
                    if lane:
                        return self._batch(lane)
                self._changed.wait()

    def _batch(self, lane: deque[Row]) -> list[Row]:
        first = lane[0].recipe
        most = catalogue.batch(first)
        rows: list[Row] = []
        while lane and len(rows) < most and _kind(lane[0].recipe) == _kind(first):
            row = lane.popleft()
            if row.ticket in self._open:
                rows.append(row)
        return rows


def _kind(recipe: Recipe) -> tuple[str, int, int, int, float]:
    """What recipes of one batch have in common."""
    return recipe.model, recipe.width, recipe.height, recipe.steps, recipe.guidance
