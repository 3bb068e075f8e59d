"""A moderator that finds of each picture what a test says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.contract import SafetyVerdict


class FakeModerator:
    """Obeys ``bot.core.ports.Moderator``: one verdict after the other, and the last one from then on."""

    def __init__(self, verdicts: Iterable[SafetyVerdict]) -> None:
        self._verdicts: Iterator[SafetyVerdict] = iter(verdicts)
        self._last = SafetyVerdict.SAFE
        self.seen: list[bytes] = []

    async def judge(self, data: bytes) -> SafetyVerdict:
        self.seen.append(data)
        self._last = next(self._verdicts, self._last)
        return self._last
