"""Telegram's rate limits per chat, enforced on our side."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bot.core.ports import RetryLater

_MINUTE = 60.0
_REMEMBERED = 1024


@dataclass
class _Chat:
    sent: deque[float] = field(default_factory=deque)
    free_at: float = 0.0
    running: int = 0


class RateLimiter:
    """One message a second in a chat and twenty a minute in a group, edits included.

    Source: https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this

    Args:
        gap: Shortest time between two messages in a chat, in seconds. A little above Telegram's limit, which counts
            arrivals.
        per_minute: Messages in one group within a minute.
        reserve: How many of those are reserved for messages other than progress.
        clock: Seconds; only differences count.
    """

    def __init__(
        self,
        gap: float = 1.05,
        per_minute: int = 20,
        reserve: int = 8,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.gap = gap
        self._per_minute = per_minute
        self._reserve = reserve
        self._clock = clock
        self._chats: dict[int, _Chat] = {}

    def scarce(self, chat_id: int) -> bool:
        """Whether progress updates should be skipped here, to keep the rest of the minute for finished jobs."""
        return chat_id < 0 and len(self._chat(chat_id).sent) >= self._per_minute - self._reserve

    @contextmanager
    def slot(self, chat_id: int, messages: int = 1) -> Iterator[None]:
        """Reserve the chat while a call runs.

        Raises:
            RetryLater: The rate limit forbids the call now.
        """
        chat = self._chat(chat_id)
        wait = self._wait(chat, messages, group=chat_id < 0)
        if wait > 0:
            raise RetryLater(wait)
        chat.running += 1
        try:
            yield
        finally:
            chat.running -= 1
            now = self._clock()
            chat.sent.extend([now] * messages)
            chat.free_at = max(chat.free_at, now + self.gap)

    def hold(self, chat_id: int, seconds: float) -> None:
        """Allow no call to this chat for some seconds, as Telegram asked."""
        chat = self._chat(chat_id)
        chat.free_at = max(chat.free_at, self._clock() + seconds)

    def _wait(self, chat: _Chat, messages: int, *, group: bool) -> float:
        now = self._clock()
        if chat.running:
            return self.gap
        wait = chat.free_at - now
        if group and chat.sent:
            over = len(chat.sent) + messages - self._per_minute
            if over > 0:
                wait = max(wait, chat.sent[min(over, len(chat.sent)) - 1] + _MINUTE - now)
        return wait

    def _chat(self, chat_id: int) -> _Chat:
        now = self._clock()
        if len(self._chats) > _REMEMBERED:
            self._chats = {key: c for key, c in self._chats.items() if c.running or c.free_at > now or _recent(c, now)}
        chat = self._chats.setdefault(chat_id, _Chat())
        while chat.sent and chat.sent[0] <= now - _MINUTE:
            chat.sent.popleft()
        return chat


def _recent(chat: _Chat, now: float) -> bool:
    return bool(chat.sent) and chat.sent[-1] > now - _MINUTE
