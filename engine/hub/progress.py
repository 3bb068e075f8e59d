"""Log lines of a download: one for every tenth of it, or every 15 seconds."""

from __future__ import annotations

PART = 10
"""Percent between two lines."""

SECONDS = 15.0
"""Longest time between two lines."""

_GB, _MB = 1e9, 1e6


class DownloadProgress:
    """Decides when a line is due. Pure: the caller passes the time.

    Args:
        name: Name of the download.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._started: tuple[float, int] | None = None
        self._last: tuple[float, int, int] | None = None

    def line(self, done: int, total: int, now: float) -> str | None:
        """Return the line that is due, or None.

        Args:
            done: Bytes that are here.
            total: Bytes in all; 0 if unknown.
            now: Monotonic seconds.
        """
        if self._started is None or done < self._started[1]:
            # The first report, or the first one of another download.
            self._started, self._last = (now, done), None
        tenth = done * 100 // total // PART if total > 0 else 0
        if self._last is not None:
            when, last, at = self._last
            finished = 0 < total <= done and at < total
            if tenth <= last and now - when < SECONDS and not finished:
                return None
            if done == at:  # no new bytes
                return None
        self._last = (now, tenth, done)
        return f"downloading {self._name}: {self._words(done, total, now)}"

    def _words(self, done: int, total: int, now: float) -> str:
        if total <= 0:
            return size(done)
        words = f"{size(done)} of {size(total)} ({min(100, done * 100 // total)} %)"
        assert self._started is not None
        since, had = self._started
        if now - since < 1 or done <= had or done >= total:
            return words
        rate = (done - had) / (now - since)
        return f"{words}, {size(rate)}/s, {_duration((total - done) / rate)} left"


def size(number: float) -> str:
    """Return bytes for people: ``20.6 GB``, ``819 MB``, ``0.1 MB``."""
    if number >= _GB:
        return f"{number / _GB:.1f} GB"
    return f"{number / _MB:.0f} MB" if number >= 10 * _MB else f"{number / _MB:.1f} MB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
