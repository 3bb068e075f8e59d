"""A connection to SQLite that can run all statements of a coroutine in its thread, without a return to the event loop."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

T = TypeVar("T")

Body = Callable[[aiosqlite.Connection], Coroutine[Any, Any, T]]
"""A coroutine function that awaits nothing but methods of the connection that it gets."""


class Connection(aiosqlite.Connection):
    """A connection with a thread of its own. ``await`` opens it."""

    def __init__(self, path: Path, busy_seconds: float) -> None:
        """Args:
        path: The file.
        busy_seconds: How long a statement waits for another process's lock.
        """
        # isolation_level None: transactions begin and end explicitly.
        super().__init__(lambda: sqlite3.connect(path, isolation_level=None, timeout=busy_seconds), iter_chunk_size=64)
        self._inside: _InThread | None = None

    async def run(self, body: Body[T]) -> T:
        """Run a body in the connection's thread.

        Each statement that the event loop awaits by itself costs two changes of threads, and a turn of a busy loop.

        Args:
            body: It runs in another thread: it must leave alone what belongs to the event loop.

        Raises:
            RuntimeError: The body has awaited something else.
        """
        if self._inside is None:
            self._inside = _InThread(self._conn)
        result: T = await self._execute(_run, body, self._inside)  # type: ignore[no-untyped-call]
        return result


class _InThread(aiosqlite.Connection):
    """A connection as its own thread uses it: what is awaited is done at once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(lambda: connection, iter_chunk_size=64)
        self._connection = connection

    def __del__(self) -> None:
        """Close nothing: the connection is another's."""

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)


def _run(body: Body[T], connection: _InThread) -> T:
    work = body(connection)
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise RuntimeError("the body has awaited something else than its connection")
