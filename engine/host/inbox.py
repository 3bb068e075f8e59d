"""The child's work as it comes in: what to draw, what was dropped, who looks. Safe between threads."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from engine.contract import Lane
from engine.diffusion.rows import Row


class Inbox:
    """Filled by the thread that hears the parent, emptied by the thread that draws."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._coming: list[Row] = []
        self._open: set[int] = set()
        self._looked: set[int] = set()

    def add(self, lane: Lane, rows: Iterable[Row]) -> None:
        """Take on work of a lane."""
        with self._changed:
            for row in rows:
                self._coming.append(Row(row.ticket, row.recipe, lane))
                self._open.add(row.ticket)
            self._changed.notify()

    def drop(self, tickets: Iterable[int]) -> None:
        """Forget these, whether they wait or are being drawn."""
        with self._changed:
            self._open.difference_update(tickets)
            self._looked.difference_update(tickets)

    def set_preview(self, ticket: int, *, enabled: bool) -> None:
        """Somebody looks at how this one comes along, or no longer does."""
        with self._changed:
            if enabled and ticket in self._open:
                self._looked.add(ticket)
            else:
                self._looked.discard(ticket)

    def is_active(self, ticket: int) -> bool:
        """Whether this one has neither been dropped nor been finished."""
        with self._changed:
            return ticket in self._open

    def wants_preview(self, ticket: int) -> bool:
        """Whether somebody looks at this one."""
        with self._changed:
            return ticket in self._looked

    def finish(self, ticket: int) -> bool:
        """Note that this one has come to its end; False when it had been dropped, and there is nothing to say."""
        with self._changed:
            self._looked.discard(ticket)
            if ticket not in self._open:
                return False
            self._open.remove(ticket)
            return True

    def take(self, *, wait: bool, seconds: float | None = None) -> list[Row]:
        """Return what has come since the last call, in its order.

        Args:
            wait: Return only when there is something.
            seconds: But after so long at the latest; None: however long it takes.
        """
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._coming, seconds)
            rows, self._coming = self._coming, []
            return rows
