"""What the owners have the whole service do."""

from __future__ import annotations

from enum import StrEnum


class ServiceState(StrEnum):
    """RUN: as usual. DRAIN: nothing new is taken on, what waits is drawn. PAUSE: requests wait, nothing new is begun."""

    RUN = "run"
    DRAIN = "drain"
    PAUSE = "pause"
