"""Requests on their way from the thread that listens to the parent to the thread that draws."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from engine.contract import TextTask
from engine.diffusion.request_state import RequestState


class Inbox:
    """New requests, which tickets are still active, and which ones want previews. Safe between threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._new: list[RequestState] = []
        self._texts: list[tuple[int, TextTask]] = []
        self._active: set[int] = set()
        self._previewed: set[int] = set()

    def add(self, requests: Iterable[RequestState]) -> None:
        """Add new requests, and wake the thread that waits in ``take``."""
        with self._changed:
            for request in requests:
                self._new.append(request)
                self._active.add(request.ticket)
            self._changed.notify()

    def add_text(self, ticket: int, task: TextTask) -> None:
        """Add a text to write, and wake the thread that waits in ``take``."""
        with self._changed:
            self._texts.append((ticket, task))
            self._active.add(ticket)
            self._changed.notify()

    def drop(self, tickets: Iterable[int]) -> None:
        """Cancel requests, whether they wait or are being drawn; unknown tickets are ignored."""
        with self._changed:
            self._active.difference_update(tickets)
            self._previewed.difference_update(tickets)

    def set_preview(self, ticket: int, *, enabled: bool) -> None:
        """Turn previews of an active request on or off; unknown tickets are ignored."""
        with self._changed:
            if enabled and ticket in self._active:
                self._previewed.add(ticket)
            else:
                self._previewed.discard(ticket)

    def is_active(self, ticket: int) -> bool:
        """Whether a request has neither been dropped nor ended."""
        with self._changed:
            return ticket in self._active

    def wants_preview(self, ticket: int) -> bool:
        """Whether previews of a request are wanted."""
        with self._changed:
            return ticket in self._previewed

    def finish(self, ticket: int) -> bool:
        """Note that a request has ended; False if it had been dropped, and its end must not be reported."""
        with self._changed:
            self._previewed.discard(ticket)
            if ticket not in self._active:
                return False
            self._active.remove(ticket)
            return True

    def take(self, *, wait: bool, seconds: float | None = None) -> list[RequestState]:
        """Return the requests that were added since the last call, in their order.

        Args:
            wait: Wait until there is one, or a text to write.
            seconds: Longest time to wait; None: no limit.
        """
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._new or self._texts, seconds)
            new, self._new = self._new, []
            return new

    def take_texts(self) -> list[tuple[int, TextTask]]:
        """Return the texts to write that were added since the last call, with their tickets, in their order."""
        with self._changed:
            new, self._texts = self._texts, []
            return new
