"""Limits of what one person may have open at the same time, so that nobody takes the places of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from adapters.web.errors import TooManyRequests
from bot.core.people import Actor

MOST_STREAMS = 24
"""Most open streams of one person, of each kind: a tab of the page has one."""

WAIT_SECONDS = 10.0
"""Seconds after which a client may try again."""


class PersonLimit:
    """Counts what each account has open. Owners have no limit: without sign-in, all of this machine is one of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def hold(self, actor: Actor) -> Iterator[None]:
        """Count one more while the block runs. Raises TooManyRequests if the account has the most open."""
        if actor.is_owner:
            yield
            return
        account = actor.platform, actor.user_id
        if self._open[account] >= self._most:
            raise TooManyRequests("refusal.web.open", n=self._most, wait=WAIT_SECONDS)
        self._open[account] += 1
        try:
            yield
        finally:
            self._open[account] -= 1
            if not self._open[account]:
                del self._open[account]
