"""Drawing the same recipe again: when it is promised to give the same picture, and what is said where it is not."""

from __future__ import annotations

from typing import Protocol

NOTE = "note.again"
"""Note of a request that repeats another job's: every pixel is meant to be the same."""

OTHER_REVISION = "other_revision"
OTHER_SETUP = "other_setup"
OTHER_PRECISION = "other_precision"
OTHER_DEVICE = "other_device"

CODES = (OTHER_REVISION, OTHER_SETUP, OTHER_PRECISION, OTHER_DEVICE)
"""Notes of a picture that was drawn again otherwise than the first time."""


class DrawSetup(Protocol):
    """How a picture was drawn; empty where nobody said."""

    @property
    def revision(self) -> str:
        """Commit of the model's files."""

    @property
    def setup(self) -> str:
        """Digest of how its model was put together."""

    @property
    def precision(self) -> str:
        """Number format."""

    @property
    def device(self) -> str:
        """Kind of device."""


def changes(then: DrawSetup, now: DrawSetup) -> tuple[str, ...]:
    """Return what is not as it was then. What was not written down then (by an older Easel) counts as the same."""
    found = []
    # A model of no hub has no revision, so one that has changed places there is another.
    if then.precision and then.revision != now.revision:
        found.append(OTHER_REVISION)
    pairs = (
        (OTHER_SETUP, then.setup, now.setup),
        (OTHER_PRECISION, then.precision, now.precision),
        (OTHER_DEVICE, then.device, now.device),
    )
    found += [code for code, was, is_now in pairs if was and was != is_now]
    return tuple(found)
