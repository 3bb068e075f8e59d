"""Where a place's reports and refusals are posted: an option of the place, or of the whole service."""

from __future__ import annotations

import json
from collections.abc import Mapping

import aiosqlite

from bot.core.messages import Address
from bot.storage import options
from bot.storage.codec import dump_address, load_address

LOG = "log"
"""The option: an address, or ``NOWHERE``."""

NOWHERE = "off"
"""The value of a place that wants to be told nothing, not even what the owners would be."""


def value_of(address: Address) -> Mapping[str, object]:
    """Return an address as the option's value."""
    value: Mapping[str, object] = json.loads(dump_address(address))
    return value


async def find(tx: aiosqlite.Connection, place_id: int | None) -> Address | None:
    """Return where a place is told, or else the owners of everything; None is nowhere. None stands for direct messages."""
    value = (await options.read(tx, place_id)).binding(LOG)
    return None if value in (None, NOWHERE) else load_address(json.dumps(value))


async def is_off(tx: aiosqlite.Connection, place_id: int) -> bool:
    """Whether the place's own admins want to be told nothing."""
    return await options.get(tx, place_id, LOG) == NOWHERE
