"""A moderator whose verdicts a test sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.contract import SafetyVerdict


class FakeModerator:
    """Implements ``bot.core.ports.Moderator``: returns the verdicts in order, then the last one again."""

    def __init__(self, verdicts: Iterable[SafetyVerdict]) -> None:
        self._verdicts: Iterator[SafetyVerdict] = iter(verdicts)
        self._last = SafetyVerdict.SAFE
        self.seen: list[bytes] = []

    async def judge(self, data: bytes) -> SafetyVerdict:
        self.seen.append(data)
        self._last = next(self._verdicts, self._last)
        return self._last
