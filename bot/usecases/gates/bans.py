"""Whether somebody is shut out, here or everywhere."""

from __future__ import annotations

from bot.store.database import Tx
from bot.usecases.asking import Asking


async def check(tx: Tx, asking: Asking) -> None:
    """Raise NotAllowed, with when it ends, for who is banned."""
