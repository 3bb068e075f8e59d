"""How long a picture takes: the median of what was measured last for pictures of its kind."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from statistics import median

from bot.core.ports import Ticket

KEPT = 15
"""Measurements kept for each kind: enough to forget one odd value, few enough to follow a change of device."""

KINDS = 256
"""Kinds (model, size, steps, guidance) that are remembered; beyond, the one that was seen longest ago is forgotten."""

_ANY = "*"
"""Stands for every model together; no profile has this name."""

_GUESS = 1e-6
"""Seconds for one pixel in one step before anything was measured: only how they compare matters then."""


class DurationEstimate:
    """Seconds per picture by kind, which is a ticket's ``batch_key``; kinds that nobody has drawn yet by their work."""

    def __init__(self) -> None:
        self._kinds = _Medians()
        self._rates = _Medians()

    def measured(self, ticket: Ticket, seconds: float) -> None:
        """One picture of this ticket's took so long."""
        self._kinds.add(ticket.batch_key, seconds)
        if ticket.work:
            self._rates.add(ticket.model, seconds / ticket.work)
            self._rates.add(_ANY, seconds / ticket.work)

    def seconds(self, ticket: Ticket) -> float | None:
        """Seconds for one picture; None when nothing was measured that could be compared with it.

        Of a kind that was never measured: by its pixels times steps, as the model's others took (or, where there are
        none, every model's).
        """
        known = self._kinds.get(ticket.batch_key)
        if known is not None or not ticket.work:
            return known
        rate = self._rates.get(ticket.model) or self._rates.get(_ANY)
        return None if rate is None else rate * ticket.work

    def cost(self, ticket: Ticket) -> float:
        """What one picture is charged until it was measured, in seconds; a guess when nothing was measured yet."""
        seconds = self.seconds(ticket)
        return seconds if seconds is not None else max(1, ticket.work) * _GUESS


class _Medians:
    """The median of the last measurements of each kind; reading one takes O(1)."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, deque[float]] = {}
        self._medians: dict[Hashable, float] = {}

    def add(self, kind: Hashable, value: float) -> None:
        kept = self._kept.pop(kind, None) or deque(maxlen=KEPT)
        kept.append(value)
        self._kept[kind] = kept
        self._medians[kind] = median(kept)
        if len(self._kept) > KINDS:
            oldest = next(iter(self._kept))
            del self._kept[oldest], self._medians[oldest]

    def get(self, kind: Hashable) -> float | None:
        return self._medians.get(kind)
