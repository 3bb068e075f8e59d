"""Progress callbacks and errors of downloads."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[int, int], None]
"""Receives the bytes that are here and the bytes in all; on any thread, at most about twice a second."""


class FetchError(Exception):
    """Files can't be fetched; the message is one sentence. ``passing``: a later try may succeed without any change."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


class DiskFull(FetchError):
    """The disk is too small, or became full."""

    def __init__(self, message: str) -> None:
        super().__init__(message, passing=False)


class FetchCancelled(Exception):
    """The download was cancelled; the bytes that are here stay."""
