"""How much longer the service takes than the device: storing, moderation, previews and model loads cost time too."""

from __future__ import annotations

from collections import deque
from statistics import median

SPAN = 4
"""Pictures that are measured together: those of one batch may come at the same moment."""

KEPT = 9
"""Spans that are remembered. Their median ignores a rare one with a full disk or a restart in it."""

KEPT_TAILS = 15
"""Pictures whose time from drawn to stored is remembered."""


class Overhead:
    """Elapsed time as a multiple of device time while the device has work. Times are in seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._ratios: deque[float] = deque(maxlen=KEPT)
        self._tails: deque[float] = deque(maxlen=KEPT_TAILS)
        self._since: float | None = None
        self._elapsed = self._device = 0.0
        self._pictures = 0

    def busy(self, now: float) -> None:
        """The device has work from now on, or still has some."""
        if self._since is None:
            self._since = now

    def idle(self) -> None:
        """The device has no work: time until the next ``busy`` does not count."""
        self._since = None

    def drawn(self, seconds: float, now: float) -> None:
        """A picture has come that took so many device seconds."""
        if self._since is None:
            return
        self._elapsed += now - self._since
        self._since = now
        self._device += seconds
        self._pictures += 1
        if self._pictures >= SPAN:
            self._ratios.append(self._ratio())
            self._clear()

    def restart(self, now: float) -> None:
        """Forget the span that is not complete: it holds device time that no picture accounts for."""
        self._clear()
        if self._since is not None:
            self._since = now

    def stored(self, seconds: float) -> None:
        """The last picture of a job was stored so long after it was drawn."""
        self._tails.append(seconds)

    def factor(self) -> float:
        """Elapsed seconds for one device second, at least 1; 1 while nothing was measured."""
        return median(self._ratios) if self._ratios else self._ratio()

    def tail(self) -> float:
        """Seconds from drawn to stored; 0 while nothing was measured."""
        return median(self._tails) if self._tails else 0.0

    def _clear(self) -> None:
        self._elapsed = self._device = 0.0
        self._pictures = 0

    def _ratio(self) -> float:
        return max(1.0, self._elapsed / self._device) if self._device > 0 else 1.0
