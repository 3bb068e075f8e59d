"""Whether somebody may come in at all, or waits until an owner has answered."""

from __future__ import annotations

from bot.store.database import Tx
from bot.usecases.asking import Asking
from bot.usecases.house import House


async def check(tx: Tx, house: House, asking: Asking) -> bool:  # noqa: ARG001 - open to all so far
    """Return whether the request is held until an owner answers.

    Raises:
        NotAllowed: An owner has refused them, or they wait for an answer already.
    """
    return False
