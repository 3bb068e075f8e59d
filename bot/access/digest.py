"""The digest for owners about new access requests: one message for all, at most every ten minutes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from bot.access import cards as access_cards
from bot.access.store import newcomers as access_rows
from bot.core.access import AccessMode, Owners
from bot.core.errors import Unavailable
from bot.core.events import EventBus, MessagesAdded
from bot.core.messages import Address
from bot.core.ports import Clock
from bot.storage import messages, people
from bot.storage.database import Database, Tx
from bot.storage.sql import dump_card

DIGEST_SECONDS = 600.0
"""Seconds between two digests."""

_LAST_DIGEST = "digest_at"
"""Option of the service: when the last digest was written, in Unix seconds. It outlives a restart."""

_RETRY = 60.0
"""Seconds until the next try after an error."""

log = logging.getLogger(__name__)


class AccessDigest:
    """A worker that writes the digests; delivery sends them. ``owner waiting`` lists the same requests."""

    def __init__(
        self,
        db: Database,
        owners: Owners,
        modes: Mapping[str, AccessMode],
        *,
        bus: EventBus,
        clock: Clock,
    ) -> None:
        """Args:
        db: The database.
        owners: The owners that get the digest.
        modes: Who may draw, by platform. Only platforms in mode APPROVE count.
        bus: Receives MessagesAdded after each digest.
        clock: The current time.
        """
        self._db = db
        self._owners = owners
        self._platforms = tuple(name for name, mode in modes.items() if mode is AccessMode.APPROVE)
        self._bus = bus
        self._clock = clock
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Check for newcomers soon; there may be one, or a new owner."""
        self._wake.set()

    async def run(self) -> None:
        """Write digests until cancelled."""
        while True:
            try:
                pause = await self._write_digest()
            except Unavailable as e:
                log.warning("owners can't be told who asks to come in (%s); again in %g s", e.key, _RETRY)
                pause = _RETRY
            except Exception:
                log.exception("owners can't be told who asks to come in; again in %g s", _RETRY)
                pause = _RETRY
            if pause is None:
                await self._wake.wait()
                self._wake.clear()
            else:
                await self._clock.sleep(pause)

    async def _write_digest(self) -> float | None:
        """Write a digest if one is due; returns the seconds until the next try, None: wait for ``wake``."""
        everybody = self._owners.everybody()
        if not everybody or not self._platforms:
            return None
        async with self._db.read() as tx:
            if not await access_rows.open_requests(tx, self._platforms, untold=True):
                return None
            pause = await self._pause(tx)
        if pause > 0:
            return pause
        async with self._db.write() as tx:
            newcomers = await access_rows.open_requests(tx, self._platforms, untold=True)
            requests = [
                await access_rows.access_request(tx, newcomer) for newcomer in newcomers[: access_cards.MAX_SHOWN]
            ]
            if not newcomers:
                return None
            now = self._clock.now()
            for platform, user_id in everybody:
                locale = await people.owner_locale(tx, platform, user_id)
                card = access_cards.requests_card(requests, len(newcomers), locale)
                address = Address(platform, chat=user_id, user=user_id, private=True)
                await messages.add_notice(tx, f"digest:{now:.3f}:{platform}:{user_id}", address, dump_card(card))
            await access_rows.mark_told(tx, [newcomer.id for newcomer in newcomers], now=now)
            await people.put_option(tx, people.SERVICE, _LAST_DIGEST, now)
        self._bus.publish(MessagesAdded())
        log.info("owners are told that %d ask to come in", len(newcomers))
        return None

    async def _pause(self, tx: Tx) -> float:
        last = await people.get_option(tx, people.SERVICE, _LAST_DIGEST)
        if not isinstance(last, int | float):
            return 0.0
        # A digest in the future predates a clock that was set back: no pause.
        since = self._clock.now() - last
        return max(0.0, DIGEST_SECONDS - since) if since >= 0 else 0.0
