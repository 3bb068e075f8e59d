"""A moderator that finds of each picture what a test says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.contract import Verdict


class FakeModerator:
    """Obeys ``bot.ports.Moderator``: one verdict after the other, and the last one from then on."""

    def __init__(self, verdicts: Iterable[Verdict]) -> None:
        self._verdicts: Iterator[Verdict] = iter(verdicts)
        self._last = Verdict.SAFE
        self.seen: list[bytes] = []

    async def look(self, data: bytes) -> Verdict:
        self.seen.append(data)
        self._last = next(self._verdicts, self._last)
        return self._last
