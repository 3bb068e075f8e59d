"""Group commit: transactions that wait for one connection share a commit; each can fail by itself."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiosqlite

from bot.core.waits import shield

MAX_MEMBERS = 32
"""Maximum number of members of a group."""

MAX_OPEN_SECONDS = 0.05
"""A group accepts no member later than this after its BEGIN, so that its first member does not wait long."""


@dataclass(slots=True)
class _Group:
    """An SQLite transaction that several members share.

    Attributes:
        begun: When it began, by the loop's clock (seconds).
        max_members: Maximum number of members.
        changes: ``total_changes`` of the connection at the beginning.
        done: Done when the group is committed; holds the error if that failed.
        joined: Number of members so far, failed ones included.
    """

    begun: float
    max_members: int
    changes: int
    done: asyncio.Future[None]
    joined: int = 1


class GroupCommit:
    """The transactions of one connection. One body runs at a time; consecutive ones share a commit.

    The first member of a group begins the SQLite transaction. Each further member begins a savepoint, to which it is
    rolled back if its body raises. A member that ends while others wait leaves the commit to them. No member returns
    before the commit; if the commit fails, all members fail. Without contention, a transaction is a BEGIN, its body and
    a COMMIT.
    """

    def __init__(self, connection: aiosqlite.Connection, turn: asyncio.Lock) -> None:
        """``turn`` is held while a body runs, and while the connection is used outside of a transaction."""
        self._connection = connection
        self._turn = turn
        self._waiting = 0
        self._group: _Group | None = None
        self.changes = 0
        """Number of rows that committed transactions have changed."""

    @asynccontextmanager
    async def outside(self) -> AsyncIterator[aiosqlite.Connection]:
        """Yield the connection while no transaction is open."""
        await self._acquire()
        try:
            await self._commit()
            yield self._connection
        finally:
            self._turn.release()

    @asynccontextmanager
    async def transaction(self, *, alone: bool = False) -> AsyncIterator[aiosqlite.Connection]:
        """Begin a transaction: it is durable when the block ends, and rolled back if the block raises.

        Args:
            alone: It shares its commit with no other; earlier members are committed before its body begins.
        """
        await self._acquire()
        try:
            if alone:
                await self._commit()
            group = await self._begin(1 if alone else MAX_MEMBERS)
            try:
                yield self._connection
                if not self._connection.in_transaction:
                    # The body has caught an error at which SQLite rolls the whole transaction back.
                    raise sqlite3.OperationalError("the transaction was rolled back by an earlier error")
            except BaseException as e:
                await shield(self._undo(group, e))
                raise
        finally:
            await self._pass_on()
        # This member is part of the commit: a cancellation takes effect after it.
        await shield(group.done)

    async def _acquire(self) -> None:
        self._waiting += 1
        try:
            await self._turn.acquire()
        except BaseException:
            if self._waiting == 1 and not self._turn.locked():
                # The previous member has left the commit to this one.
                await shield(self._commit_for_others())
            raise
        finally:
            self._waiting -= 1

    async def _commit_for_others(self) -> None:
        async with self._turn:
            await self._commit()

    async def _begin(self, max_members: int) -> _Group:
        group = self._group
        try:
            if group is None:
                await self._connection.execute_fetchall("BEGIN IMMEDIATE")
                loop = asyncio.get_running_loop()
                self._group = _Group(loop.time(), max_members, self._connection.total_changes, loop.create_future())
                return self._group
            group.joined += 1
            await self._connection.execute_fetchall(f"SAVEPOINT member_{group.joined}")
        except BaseException as e:
            # Also after a cancellation: the connection's thread runs statements in order, so this runs after it.
            await shield(self._undo(group, e))
            raise
        return group

    async def _undo(self, group: _Group | None, error: BaseException) -> None:
        """Roll the running member back; the other members' changes stay unless SQLite has rolled them back."""
        if group is None or group.joined == 1:
            self._group = None
            # Without an open transaction this does nothing.
            await self._connection.rollback()
            return
        try:
            # The savepoints of earlier members exist until the commit, so each has its own name.
            await self._connection.execute_fetchall(f"ROLLBACK TO member_{group.joined}")
        except sqlite3.Error as undoing:
            # SQLite has rolled the whole transaction back, as it does when the disk is full.
            await self._fail(group, error if isinstance(error, sqlite3.Error) else undoing)

    async def _pass_on(self) -> None:
        """Let the next member begin; commit first if none waits, or if the group is full or has been open long enough."""
        group = self._group
        try:
            if group is not None and (
                not self._waiting
                or group.joined >= group.max_members
                or asyncio.get_running_loop().time() - group.begun >= MAX_OPEN_SECONDS
            ):
                await self._commit()
        finally:
            self._turn.release()

    async def _commit(self) -> None:
        """Commit the open group, if there is one, and release its members. They get the error if it fails."""
        group = self._group
        if group is None:
            return
        try:
            await shield(self._end(group))
        finally:
            # It has an effect only when the loop shuts down and has cancelled every task.
            group.done.cancel()

    async def _end(self, group: _Group) -> None:
        try:
            await self._connection.commit()
        except Exception as e:  # noqa: BLE001 - each member raises it
            await self._fail(group, e)
            return
        self._group = None
        self.changes += self._connection.total_changes - group.changes
        group.done.set_result(None)

    async def _fail(self, group: _Group, error: Exception) -> None:
        self._group = None
        group.done.set_exception(error)
        # Mark the exception as retrieved: a cancelled member does not await it.
        group.done.exception()
        await self._connection.rollback()
