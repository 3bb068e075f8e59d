"""Connections to the platforms, as the operator's endpoints tell of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ConnectionState(StrEnum):
    """Whether a platform is connected; REFUSED where it refuses this bot."""

    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class PlatformConnection:
    """One platform's connection.

    Attributes:
        state: Its state.
        since: Since when it is in that state, in Unix seconds.
        problem: Why it is not connected, a sentence for the operator; empty where it is.
    """

    state: ConnectionState
    since: float
    problem: str = ""
