"""What every module of this folder says: how far it is, and why it can't go on."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[int, int], None]
"""Takes the bytes that are here and the bytes in all. May be called on any thread, at most about twice a second."""


class FetchError(Exception):
    """The files can't be had; the message is one sentence. ``passing``: they may be had later, as things are."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


class DiskFull(FetchError):
    """The disk is too small, or became full."""

    def __init__(self, message: str) -> None:
        super().__init__(message, passing=False)


class FetchCancelled(Exception):
    """Somebody asked for the download to be broken off; what has come stays."""
