"""Runs typed verbs: rights first, then the one function behind each verb."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from bot.access import commands as access_commands
from bot.accounts import commands as accounts_commands
from bot.admin import commands as admin_commands
from bot.commands import permissions
from bot.commands.model import Invocation, Permission
from bot.context import AppContext
from bot.core.cards import Card
from bot.history import commands as history_commands
from bot.moderation import bans
from bot.moderation import commands as moderation_commands
from bot.privacy import commands as privacy_commands
from bot.quotas import commands as quota_commands

Handler: TypeAlias = Callable[[AppContext, Invocation], Awaitable[Card]]

HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        **quota_commands.HANDLERS,
        **admin_commands.HANDLERS,
        **access_commands.HANDLERS,
        **moderation_commands.HANDLERS,
        **privacy_commands.HANDLERS,
        **history_commands.HANDLERS,
        **accounts_commands.HANDLERS,
    }
)
"""By the verb's name; every verb has one."""


ALWAYS = frozenset({"export", "forget", "unlink", "claim"})
"""Verbs that a ban does not take away: what is stored of somebody is theirs, and a claim makes them an owner."""


async def run(ctx: AppContext, call: Invocation) -> Card:
    """Do what a verb asks for. Raises Refusal."""
    async with ctx.db.read() as tx:
        await permissions.check(tx, call.actor, call.place, call.verb.who)
        if call.verb.name not in ALWAYS:
            everywhere = call.verb.who is not Permission.ANYBODY
            await bans.check_actor(tx, call.actor, call.place, now=ctx.clock.now(), everywhere=everywhere)
    return await HANDLERS[call.verb.name](ctx, call)
