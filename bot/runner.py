"""Runs commands: checks rights in the first transaction of the handler, then lets it act."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from bot.commands import permissions
from bot.commands.model import CommandResult, Invocation, Permission
from bot.commands.parser import job_number
from bot.context import AppContext
from bot.core.errors import Refusal
from bot.moderation import checks
from bot.storage import jobs
from bot.storage.database import Transactions, Tx


async def run(ctx: AppContext, invocation: Invocation) -> CommandResult:
    """Run a command, and return what its handler returns.

    Rights are checked at the beginning of the first transaction that the handler opens, so a handler with one transaction
    acts on the rows that were checked. A refusal for want of rights comes before any other refusal.

    Raises:
        NotAllowed: The actor has no permission, or is banned.
        NotFound: The command is about a job that is neither theirs nor shown in this chat.
        Refusal: What the handler raises.
    """
    db = _CheckedTransactions(ctx.db, partial(_check, ctx, invocation))
    try:
        result = await invocation.command.handler(replace(ctx, db=db), invocation)
    except Refusal:
        await db.check()
        raise
    await db.check()
    return result if isinstance(result, CommandResult) else CommandResult(card=result)


async def _check(ctx: AppContext, invocation: Invocation, tx: Tx) -> None:
    command, actor, place = invocation.command, invocation.actor, invocation.place
    job = await jobs.get_visible(tx, actor, place, job_number(invocation)) if command.on_job else None
    await permissions.check(tx, actor, place, command.permission, job)
    exempt = command.while_banned
    if exempt(invocation) if callable(exempt) else exempt:
        return
    if command.permission is Permission.AUTHOR and job is not None and await jobs.is_own(tx, actor, job):
        return  # nobody is kept from ending what is drawn for them
    everywhere = command.permission is not Permission.ANYBODY
    await checks.check_actor(tx, actor, place, now=ctx.clock.now(), everywhere=everywhere)


_Check: TypeAlias = Callable[[Tx], Awaitable[None]]


class _CheckedTransactions:
    """Transactions of a database; the first one begins with a check, and is undone when that raises."""

    def __init__(self, db: Transactions, check: _Check) -> None:
        self._db = db
        self._check = check
        self._passed = False

    @asynccontextmanager
    async def write(self, *, alone: bool = False) -> AsyncIterator[Tx]:
        async with self._db.write(alone=alone) as tx:
            await self._begin(tx)
            yield tx

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        async with self._db.read() as tx:
            await self._begin(tx)
            yield tx

    async def check(self) -> None:
        """Check now, unless a transaction has."""
        if not self._passed:
            async with self.read():
                pass

    async def _begin(self, tx: Tx) -> None:
        if not self._passed:
            await self._check(tx)
            self._passed = True
