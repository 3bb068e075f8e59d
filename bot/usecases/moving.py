"""A place gets another id, as a Telegram group does that becomes a supergroup."""

from __future__ import annotations

import logging

from bot.store import moving
from bot.usecases.house import House

log = logging.getLogger(__name__)


async def moved(house: House, platform: str, old: str, new: str) -> None:
    """Let everything that holds under a guild's old id hold under its new one. Raises Unavailable."""
    async with house.db.write() as tx:
        await moving.move_place(tx, platform, old, new)
    log.info("%s: the place %s is %s from now on", platform, old, new)
