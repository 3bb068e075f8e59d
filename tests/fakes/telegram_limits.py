"""The Telegram stand-in's limits: sizes as the Bot API documents them, and flood control per chat."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

CAPTION = 1024
TEXT = 4096
ANSWER = 200
CALLBACK_BYTES = 64
PHOTO_BYTES = 10 * 1024 * 1024
DOCUMENT_BYTES = 50 * 1024 * 1024
HANDED_OUT = 20 * 1024 * 1024
"""Most bytes of a file that a bot may fetch."""
PHOTO_SIDES = 10_000
"""Width and height of a photo together, in pixels."""
PHOTO_RATIO = 20
ALBUM = range(2, 11)
RESULTS = 50
DELETED_WITHIN = 48 * 3600
"""Seconds for which a message can be deleted."""


def length(text: str) -> int:
    """UTF-16 code units, the strictest way to count that Telegram uses."""
    return len(text.encode("utf-16-le")) // 2


@dataclass
class Flood:
    """About one message a second in a chat, twenty a minute in a group and thirty a second over all; edits count too.

    Attributes:
        gap: Shortest time between two messages in one chat, in seconds.
        per_minute: Messages in one group within ``minute`` seconds.
        minute: Length of that window.
        overall: Messages in all chats within ``gap``.
        clock: Seconds; only differences count.
    """

    gap: float = 1.0
    per_minute: int = 20
    minute: float = 60.0
    overall: int = 30
    clock: Callable[[], float] = time.monotonic
    _sent: dict[int, deque[float]] = field(default_factory=dict)
    _all: deque[float] = field(default_factory=deque)

    def admit(self, chat_id: int, messages: int, *, group: bool) -> int | None:
        """Count messages; or return the whole seconds to wait, and count nothing."""
        now = self.clock()
        sent = self._sent.setdefault(chat_id, deque())
        while sent and sent[0] <= now - self.minute:
            sent.popleft()
        wait = 0.0
        if sent:
            wait = sent[-1] + self.gap - now
        if group and len(sent) + messages > self.per_minute and sent:
            wait = max(wait, sent[min(messages, len(sent)) - 1] + self.minute - now)
        while self._all and self._all[0] <= now - self.gap:
            self._all.popleft()
        if self._all and len(self._all) + messages > self.overall:
            wait = max(wait, self._all[min(messages, len(self._all)) - 1] + self.gap - now)
        if wait > 0:
            return math.ceil(wait)
        sent.extend([now] * messages)
        self._all.extend([now] * messages)
        return None
