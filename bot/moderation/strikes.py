"""Who is refused again and again has to wait: each time longer, and forgotten with time."""

from __future__ import annotations

from dataclasses import dataclass

FREE = 2
"""So many refusals in a row cost nothing: everybody tries another word."""

FIRST_WAIT, LONGEST_WAIT = 60.0, 3600.0
"""Seconds to wait after the one that follows them; twice as long after each further one, and no longer than an hour."""

FADES = 900.0
"""Seconds after which one refusal is forgotten."""


@dataclass(frozen=True, slots=True)
class Strikes:
    """How often somebody was refused, and when last (Unix seconds)."""

    count: int
    last_at: float


def added(before: Strikes | None, now: float) -> Strikes:
    """Return the strikes after another refusal: what was before has faded meanwhile."""
    if before is None:
        return Strikes(1, now)
    faded = int(max(0.0, now - before.last_at) // FADES)
    return Strikes(max(0, before.count - faded) + 1, now)


def wait(strikes: Strikes | None, now: float) -> float:
    """Return how many seconds somebody has to wait until they may ask again; 0 when they may now."""
    if strikes is None or strikes.count <= FREE:
        return 0.0
    seconds = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(strikes.count - FREE - 1, 30))
    # A refusal in the future is of a clock that was set back since: nobody waits for that.
    return max(0.0, strikes.last_at + seconds - now) if strikes.last_at <= now else 0.0
