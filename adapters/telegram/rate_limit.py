"""Telegram's rate limits, enforced on our side: per chat, per group and minute, and over all chats."""

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


@dataclass(slots=True)
class _Turn:
    messages: int
    until: float
    """When the turn is given up, since the chat has not come back for it."""


class RateLimiter:
    """One message a second in a chat, twenty a minute in a group, thirty a second over all chats; edits included.

    Chats that the overall limit puts off are let through in the order in which they came.

    Source: https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this

    Args:
        gap: Shortest time between two messages in a chat, in seconds. A little above Telegram's limit, which counts
            arrivals.
        per_minute: Messages in one group within a minute.
        reserve: How many of those are reserved for messages other than progress.
        overall: Messages in all chats within ``second``.
        second: Length of that window, in seconds; a little above one, as ``gap``.
        clock: Seconds; only differences count.
    """

    def __init__(
        self,
        *,
        gap: float = 1.05,
        per_minute: int = 20,
        reserve: int = 8,
        overall: int = 30,
        second: float = 1.05,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.gap = gap
        self._per_minute = per_minute
        self._reserve = reserve
        self._overall = overall
        self._second = second
        self._clock = clock
        self._chats: dict[int, _Chat] = {}
        self._sent: deque[float] = deque()  # of all chats, within the last second
        self._running = 0
        self._turns: dict[int, _Turn] = {}  # the chats that wait for the overall limit, in their order

    def scarce(self, chat_id: int) -> bool:
        """Whether progress updates should be skipped here, to keep the limits for finished jobs and first cards."""
        now = self._clock()
        if any(turn.until > now for turn in self._turns.values()):
            return True
        return chat_id < 0 and len(self._chat(chat_id).sent) >= self._per_minute - self._reserve

    @contextmanager
    def slot(self, chat_id: int, messages: int = 1) -> Iterator[None]:
        """Reserve the chat while a call runs.

        Raises:
            RetryLater: The rate limit forbids the call now.
        """
        wait = self.wait(chat_id, messages)
        if wait > 0:
            raise RetryLater(wait)
        chat = self._chat(chat_id)
        self._turns.pop(chat_id, None)
        chat.running += 1
        self._running += messages
        try:
            yield
        finally:
            chat.running -= 1
            self._running -= messages
            now = self._clock()
            chat.sent.extend([now] * messages)
            chat.free_at = max(chat.free_at, now + self.gap)
            self._sent.extend([now] * messages)

    def wait(self, chat_id: int, messages: int = 1) -> float:
        """Return the seconds after which a call to the chat may be made; 0 for now. It keeps the chat's turn."""
        now, chat = self._clock(), self._chat(chat_id)
        wait = self._wait_in_chat(chat, messages, now, group=chat_id < 0)
        return wait if wait > 0 else self._wait_overall(chat_id, messages, now)

    def hold(self, chat_id: int, seconds: float) -> None:
        """Allow no call to this chat for some seconds, as Telegram asked."""
        chat = self._chat(chat_id)
        chat.free_at = max(chat.free_at, self._clock() + seconds)

    def held(self, chat_id: int) -> bool:
        """Whether Telegram has asked to leave this chat alone."""
        return self._chat(chat_id).free_at > self._clock() + self.gap

    def _wait_in_chat(self, chat: _Chat, messages: int, now: float, *, group: bool) -> float:
        if chat.running:
            return self.gap
        wait = chat.free_at - now
        if group and chat.sent:
            over = len(chat.sent) + messages - self._per_minute
            if over > 0:
                wait = max(wait, chat.sent[min(over, len(chat.sent)) - 1] + _MINUTE - now)
        return wait

    def _wait_overall(self, chat_id: int, messages: int, now: float) -> float:
        while self._sent and self._sent[0] <= now - self._second:
            self._sent.popleft()
        self._turns = {key: turn for key, turn in self._turns.items() if turn.until > now or key == chat_id}
        turn = self._turns.get(chat_id)
        ahead = 0
        for key, earlier in self._turns.items():
            if key == chat_id:
                break
            ahead += earlier.messages
        busy = len(self._sent) + self._running
        over = busy + ahead + messages - self._overall
        if over <= 0 or (not busy and not ahead):
            return 0.0
        rounds, place = divmod(over - 1, self._overall)
        # A call that runs still is counted from its end, which is not known: at the earliest now.
        leaves = self._sent[place] if place < len(self._sent) else now
        wait = leaves + self._second * (1 + rounds) - now
        if turn is None:
            turn = self._turns[chat_id] = _Turn(messages, 0.0)
        turn.messages, turn.until = messages, now + wait + self._second
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
