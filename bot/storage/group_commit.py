"""Shared commits: transactions of one connection that come together are committed together."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import aiosqlite

from bot.core.waits import TokenBucket, shield
from bot.storage.connection import Body, Connection, InThread, run_body

T = TypeVar("T")

MAX_MEMBERS = 32
"""Maximum number of members of a group."""

MAX_OPEN_SECONDS = 0.05
"""A group accepts no member later than this after its BEGIN, so that its first member does not wait long."""

BODIES_PER_SECOND = 100
BODIES_AT_ONCE = 50
"""Bodies of ``GroupCommit.run`` each second, and at once, from which on they wait for each other."""

PAUSE_SECONDS = 0.04
"""How long they wait then: a commit costs the processor more than a body, and so does a visit to the thread."""


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


@dataclass(slots=True)
class _Waiting:
    """A body of ``GroupCommit.run`` that has not begun.

    Attributes:
        body: What runs.
        result: Done when it is committed or has failed.
        told: Whether that was said.
    """

    body: Body[Any]
    result: asyncio.Future[Any]
    told: bool = False


@dataclass(frozen=True, slots=True)
class _Ran:
    """What bodies that ran together have returned or raised, in order; ``lost``: why none of them is committed."""

    results: Sequence[tuple[Any, BaseException | None]]
    lost: Exception | None = None


class GroupCommit:
    """The transactions of one connection. One body runs at a time; consecutive ones share a commit.

    The first member of a group begins the SQLite transaction. Each further member begins a savepoint, to which it is
    rolled back if its body raises. A member that ends while others wait leaves the commit to them. No member returns
    before the commit; if the commit fails, all members fail. Without contention, a transaction is a BEGIN, its body and
    a COMMIT.

    The bodies of ``run`` that wait for their turn run together, and are committed in the same visit to the connection's
    thread. Where one fails, what they have done is rolled back, and they run again, each in a savepoint of its own.
    """

    def __init__(self, connection: Connection, turn: asyncio.Lock) -> None:
        """``turn`` is held while a body runs, and while the connection is used outside of a transaction."""
        self._connection = connection
        self._turn = turn
        self._waiting = 0
        self._group: _Group | None = None
        self._bodies: list[_Waiting] = []
        self._runner: asyncio.Task[None] | None = None
        self._rate = TokenBucket(BODIES_PER_SECOND, BODIES_AT_ONCE)
        self.changes = 0
        """Number of rows that committed transactions have changed."""

        self.commits = 0
        """Number of commits so far."""

    async def run(self, body: Body[T]) -> T:
        """Run a body in a transaction, in the connection's thread; it is durable when this returns.

        It may run twice, where another one fails: only its last run counts. A caller that is cancelled before its body
        begins leaves no trace; later, the cancellation takes effect after the commit.

        Raises:
            Exception: What the body raised, or why it could not be committed; nothing of it is kept.
        """
        waiting = _Waiting(body, asyncio.get_running_loop().create_future())
        self._bodies.append(waiting)
        if self._runner is None:
            self._runner = asyncio.create_task(self._run_bodies(), name="group commit")
        try:
            result: T = await waiting.result
        except asyncio.CancelledError:
            if waiting in self._bodies:
                self._bodies.remove(waiting)
            elif not waiting.told:
                # The first future was cancelled with the caller; this one is told.
                waiting.result = asyncio.get_running_loop().create_future()
                await shield(waiting.result)
            raise
        return result

    async def drain(self) -> None:
        """Return when no body of ``run`` waits or runs."""
        while self._runner is not None:
            await asyncio.wait({self._runner})

    async def _run_bodies(self) -> None:
        """Run all bodies that wait, in turns with the other users of the connection."""
        begun: Sequence[_Waiting] = ()
        loop = asyncio.get_running_loop()
        try:
            while self._bodies:
                await asyncio.sleep(PAUSE_SECONDS if self._rate.is_empty(loop.time()) else 0)
                await self._acquire()
                try:
                    begun = self._bodies[:MAX_MEMBERS]
                    del self._bodies[:MAX_MEMBERS]
                    self._rate.take(loop.time(), len(begun))
                    if begun:
                        await self._run_together(begun)
                    else:
                        # All of them were cancelled meanwhile; a member may have left its commit to them.
                        await self._commit()
                finally:
                    self._turn.release()
        finally:
            self._runner = None
            # It has an effect only when the loop shuts down and has cancelled every task.
            for waiting in (*begun, *self._bodies):
                waiting.told = True
                waiting.result.cancel()

    async def _run_together(self, begun: Sequence[_Waiting]) -> None:
        """Run bodies and commit, together with the members that have left their commit to this one."""
        group = self._group
        changes = self._connection.total_changes if group is None else group.changes
        bodies = [waiting.body for waiting in begun]
        try:
            ran = await shield(self._connection.call(_run_together, bodies, group is None))
        except Exception as e:  # noqa: BLE001 - each of them raises it
            ran = _Ran([(None, e)] * len(begun), e)
            # Without a connection there is nothing to roll back, and the callers are told of ``e``.
            with suppress(Exception):
                await self._connection.rollback()
        self._group = None
        if ran.lost is None:
            self.changes += self._connection.total_changes - changes
            self.commits += 1
        if group is not None:
            self._tell(group.done, None, ran.lost)
        # Those that had not begun when the transaction was lost run in the next one.
        self._bodies[:0] = begun[len(ran.results) :]
        for waiting, (value, error) in zip(begun, ran.results, strict=False):
            waiting.told = True
            self._tell(waiting.result, value, error or ran.lost)

    @staticmethod
    def _tell(waits: asyncio.Future[Any], value: object, error: BaseException | None) -> None:
        if waits.done():
            return  # the loop shuts down
        if error is None:
            waits.set_result(value)
            return
        waits.set_exception(error)
        # Mark the exception as retrieved: a cancelled caller does not await it.
        waits.exception()

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
        self.commits += 1
        group.done.set_result(None)

    async def _fail(self, group: _Group, error: Exception) -> None:
        self._group = None
        group.done.set_exception(error)
        # Mark the exception as retrieved: a cancelled member does not await it.
        group.done.exception()
        await self._connection.rollback()


def _run_together(connection: InThread, bodies: Sequence[Body[Any]], begin: bool) -> _Ran:
    """Run bodies in one transaction and commit it. Blocks: runs in the connection's thread.

    A savepoint for each body would cost more than most bodies do, and make the search index write a segment for each. So
    they share one; only where a body fails they run again, in savepoints of their own.

    Args:
        connection: The connection.
        bodies: What runs.
        begin: Whether no transaction is open yet.
    """
    results: list[tuple[Any, BaseException | None]] = []
    try:
        if begin:
            connection.do("BEGIN IMMEDIATE")
        connection.do("SAVEPOINT bodies")
        try:
            results.extend((_run_in_transaction(connection, body), None) for body in bodies)
        except Exception as e:
            if not connection.in_transaction:
                results.append((None, e))
                raise _lost(e) from e
            results.clear()
            connection.do("ROLLBACK TO bodies")
            for body in bodies:
                results.append(_run_apart(connection, body))
                if (error := results[-1][1]) is not None and not connection.in_transaction:
                    raise _lost(error) from error
        connection.do("COMMIT")
    except Exception as e:  # noqa: BLE001 - all callers raise it
        if connection.in_transaction:
            connection.do("ROLLBACK")
        # Also where the transaction did not begin, nothing has run, and each caller is told.
        return _Ran(results or [(None, e)] * len(bodies), e)
    return _Ran(results)


def _run_apart(connection: InThread, body: Body[T]) -> tuple[T | None, Exception | None]:
    """Run a body in a savepoint of its own; return its result and None, or None and why it has failed."""
    connection.do("SAVEPOINT body")
    try:
        result = _run_in_transaction(connection, body)
    except Exception as e:  # noqa: BLE001 - the body's caller raises it
        if connection.in_transaction:
            connection.do("ROLLBACK TO body")
            connection.do("RELEASE body")
        return None, e
    connection.do("RELEASE body")
    return result, None


def _lost(error: BaseException) -> sqlite3.Error:
    """Return why a transaction is gone that SQLite has rolled back by itself, as it does when the disk is full."""
    return error if isinstance(error, sqlite3.Error) else sqlite3.OperationalError(str(error))


def _run_in_transaction(connection: InThread, body: Body[T]) -> T:
    """Run a body. Raises what it raises, and sqlite3.OperationalError where the transaction is gone after it."""
    result = run_body(body, connection)
    if not connection.in_transaction:
        # The body has caught an error at which SQLite rolls the whole transaction back.
        raise sqlite3.OperationalError("the transaction was rolled back by an earlier error")
    return result
