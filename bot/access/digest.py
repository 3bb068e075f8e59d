"""Tells owners who asks to come in: all that is new in one message, and at most one message every ten minutes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from bot.access import cards as present
from bot.access import store as access_rows
from bot.core.access import AccessMode, Owners
from bot.core.errors import Unavailable
from bot.core.events import EventBus, MessagesAdded
from bot.core.messages import Address
from bot.core.ports import Clock
from bot.storage import messages, options, people
from bot.storage.codec import dump_card
from bot.storage.database import Database, Tx

DIGEST_SECONDS = 600.0
"""Seconds between two digests."""

_LAST = "digest_at"
"""Option of the service: when owners were told last, in Unix seconds. Kept, so that a restart tells nobody sooner."""

_RETRY = 60.0
"""Seconds until the next try after the database could not be used."""

log = logging.getLogger(__name__)


class AccessDigest:
    """Writes the messages; delivery sends them. Whoever can't be reached loses nothing: ``easel waiting`` lists all."""

    def __init__(
        self,
        db: Database,
        owned: Owners,
        rules: Mapping[str, AccessMode],
        *,
        bus: EventBus,
        clock: Clock,
    ) -> None:
        """Args:
        db: Where the rows are.
        owned: Who is told.
        rules: Who may come in, by platform: owners are told only where they are to be asked.
        bus: Told when there are messages to send.
        clock: Time.
        """
        self._db = db
        self._owned = owned
        self._platforms = tuple(name for name, rule in rules.items() if rule is AccessMode.APPROVE)
        self._bus = bus
        self._clock = clock
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There may be a newcomer, or a new owner who can be told."""
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                pause = await self._tell()
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

    async def _tell(self) -> float | None:
        """Tell what is to be told now; returns after how many seconds to look again, None: when somebody asks."""
        everybody = self._owned.everybody()
        if not everybody or not self._platforms:
            return None
        async with self._db.read() as tx:
            if not await access_rows.open_requests(tx, self._platforms, untold=True):
                return None
            pause = await self._pause(tx)
        if pause > 0:
            return pause
        async with self._db.write() as tx:
            fresh = await access_rows.open_requests(tx, self._platforms, untold=True)
            knocks = [await access_rows.access_request(tx, newcomer) for newcomer in fresh[: present.MAX_SHOWN]]
            if not fresh:
                return None
            now = self._clock.now()
            for platform, user_id in everybody:
                locale = await people.owner_locale(tx, platform, user_id)
                card = present.requests_card(knocks, len(fresh), locale)
                address = Address(platform, chat=user_id, user=user_id, private=True)
                await messages.add_notice(tx, f"digest:{now:.3f}:{platform}:{user_id}", address, dump_card(card))
            await access_rows.mark_told(tx, [newcomer.id for newcomer in fresh], now=now)
            await options.put(tx, options.SERVICE, _LAST, now)
        self._bus.publish(MessagesAdded())
        log.info("owners are told that %d ask to come in", len(fresh))
        return None

    async def _pause(self, tx: Tx) -> float:
        last = await options.get(tx, options.SERVICE, _LAST)
        if not isinstance(last, int | float):
            return 0.0
        # A clock that was set back shall not keep owners waiting.
        since = self._clock.now() - last
        return max(0.0, DIGEST_SECONDS - since) if since >= 0 else 0.0
