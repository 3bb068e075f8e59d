"""A place gets another id, as a Telegram group does that becomes a supergroup."""

from __future__ import annotations

import logging

from bot.context import AppContext
from bot.places import store

log = logging.getLogger(__name__)


async def moved(ctx: AppContext, platform: str, old: str, new: str) -> None:
    """Let everything that holds under a guild's old id hold under its new one. Raises Unavailable."""
    async with ctx.db.write() as tx:
        await store.move_place(tx, platform, old, new)
    log.info("%s: the place %s is %s from now on", platform, old, new)
