"""A connection to SQLite that can run all statements of a coroutine in its thread, without a return to the event loop."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import aiosqlite

T = TypeVar("T")
P = ParamSpec("P")

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
        self._inside: InThread | None = None

    async def run(self, body: Body[T]) -> T:
        """Run a body in the connection's thread.

        Each statement that the event loop awaits by itself costs two changes of threads, and a turn of a busy loop.

        Args:
            body: It runs in another thread: it must leave alone what belongs to the event loop.

        Raises:
            RuntimeError: The body has awaited something else.
        """
        return await self.call(partial(run_body, body))

    async def call(self, function: Callable[Concatenate[InThread, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in the connection's thread, with the connection as that thread uses it."""
        if self._inside is None:
            self._inside = InThread(self._conn)
        result: T = await self._execute(function, self._inside, *args, **kwargs)  # type: ignore[no-untyped-call]
        return result


class InThread(aiosqlite.Connection):
    """A connection as its own thread uses it: what is awaited is done at once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(lambda: connection, iter_chunk_size=64)
        self._connection = connection

    def __del__(self) -> None:
        """Close nothing: the connection is another's."""

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    def do(self, statement: str) -> None:
        """Run a statement that returns no rows."""
        self._conn.execute(statement)


def run_body(body: Body[T], connection: InThread) -> T:
    """Run a body to its end. Blocks: runs in the connection's thread.

    Raises:
        RuntimeError: The body has awaited something else than its connection.
    """
    work = body(connection)
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise RuntimeError("the body has awaited something else than its connection")
