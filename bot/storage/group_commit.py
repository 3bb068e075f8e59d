"""Group commit: transactions that wait for the same connection share one commit, and each still fails alone."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiosqlite

from bot.storage.shield import shield

MAX_MEMBERS = 32
"""Members of a group at most."""

MAX_OPEN_SECONDS = 0.05
"""A group takes no further member once this has passed since its BEGIN, so that its first member does not wait long."""


@dataclass(slots=True)
class _Group:
    """One transaction of SQLite's, and what its members wait for.

    Attributes:
        begun: When it began, in seconds of the loop's clock.
        most: Members at most.
        changes: ``total_changes`` of the connection at its begin.
        done: Ends with the commit; holds the error where that failed.
        joined: Members so far, those that failed too.
    """

    begun: float
    most: int
    changes: int
    done: asyncio.Future[None]
    joined: int = 1


class GroupCommit:
    """The transactions of one connection: one body runs at a time, and several that follow each other share a commit.

    The first member of a group begins SQLite's transaction. Each further one begins a savepoint: what it did is undone
    alone when its body raises. A member that ends while others wait leaves the commit to them. No member returns before
    the commit, and all fail where it fails. A transaction that nobody waits behind is a BEGIN, its body and a COMMIT.
    """

    def __init__(self, connection: aiosqlite.Connection, turn: asyncio.Lock) -> None:
        """``turn`` is held while a body runs, and by whoever needs the connection outside of a transaction."""
        self._connection = connection
        self._turn = turn
        self._waiting = 0
        self._group: _Group | None = None
        self.changes = 0
        """Rows that committed transactions have changed so far."""

    @asynccontextmanager
    async def outside(self) -> AsyncIterator[aiosqlite.Connection]:
        """The connection while no transaction is open."""
        await self._acquire()
        try:
            await self._commit()
            yield self._connection
        finally:
            self._turn.release()

    @asynccontextmanager
    async def transaction(self, *, alone: bool = False) -> AsyncIterator[aiosqlite.Connection]:
        """A transaction that may write: durable when the block ends, undone when it raises.

        Args:
            alone: It shares its commit with no other, and what came before is committed when its body begins.
        """
        await self._acquire()
        try:
            if alone:
                await self._commit()
            group = await self._begin(1 if alone else MAX_MEMBERS)
            try:
                yield self._connection
                if not self._connection.in_transaction:
                    # The body has caught an error for which SQLite ends the whole transaction.
                    raise sqlite3.OperationalError("the transaction was undone by an earlier error")
            except BaseException as e:
                await shield(self._undo(group, e))
                raise
        finally:
            await self._pass_on()
        # A cancellation comes after the commit: this member is part of it.
        await shield(group.done)

    async def _acquire(self) -> None:
        self._waiting += 1
        try:
            await self._turn.acquire()
        except BaseException:
            if self._waiting == 1 and not self._turn.locked():
                # The member before has left the commit to this one.
                await shield(self._commit_for_others())
            raise
        finally:
            self._waiting -= 1

    async def _commit_for_others(self) -> None:
        async with self._turn:
            await self._commit()

    async def _begin(self, most: int) -> _Group:
        group = self._group
        try:
            if group is None:
                await self._connection.execute_fetchall("BEGIN IMMEDIATE")
                loop = asyncio.get_running_loop()
                self._group = _Group(loop.time(), most, self._connection.total_changes, loop.create_future())
                return self._group
            group.joined += 1
            await self._connection.execute_fetchall(f"SAVEPOINT member_{group.joined}")
        except BaseException as e:
            # Also when it was only cancelled: the connection's thread takes statements in order, so this comes after it.
            await shield(self._undo(group, e))
            raise
        return group

    async def _undo(self, group: _Group | None, error: BaseException) -> None:
        """Undo the member that runs; the others' part is kept where SQLite has kept it."""
        if group is None or group.joined == 1:
            self._group = None
            # It does nothing where no transaction is open.
            await self._connection.rollback()
            return
        try:
            # Savepoints of earlier members stay below this one until the commit: each has a name of its own.
            await self._connection.execute_fetchall(f"ROLLBACK TO member_{group.joined}")
        except sqlite3.Error as undoing:
            # SQLite has ended the whole transaction, as it does when the disk is full.
            await self._fail(group, error if isinstance(error, sqlite3.Error) else undoing)

    async def _pass_on(self) -> None:
        """Let the next one begin its body; commit first where none waits, or the group has been open for long enough."""
        group = self._group
        try:
            if group is not None and (
                not self._waiting
                or group.joined >= group.most
                or asyncio.get_running_loop().time() - group.begun >= MAX_OPEN_SECONDS
            ):
                await self._commit()
        finally:
            self._turn.release()

    async def _commit(self) -> None:
        """Commit the open group, if there is one, and release its members; an error is theirs."""
        group = self._group
        if group is None:
            return
        try:
            await shield(self._end(group))
        finally:
            # Only where the loop is shutting down and has cancelled every task.
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
        # Seen, although a member that was cancelled does not look.
        group.done.exception()
        await self._connection.rollback()
