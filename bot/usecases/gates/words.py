"""Whether the words of a request may be drawn in this place."""

from __future__ import annotations

from bot.model.requests import DrawRequest
from bot.store.database import Tx
from bot.usecases.asking import Asking
from bot.usecases.house import House


async def check(tx: Tx, house: House, asking: Asking, request: DrawRequest) -> DrawRequest:  # noqa: ARG001 - all may so far
    """Return the request, with a note where the place only warns. Raises BadInput where it refuses."""
    return request
