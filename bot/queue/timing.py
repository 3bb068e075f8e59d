"""Measured times: device seconds per picture by kind of work, and the service's overhead over the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from statistics import median

from bot.core.ports import Ticket

KEPT = 15
"""Measurements kept for each kind: enough to ignore an outlier, few enough to follow a change of device."""

KINDS = 256
"""Kinds (model, size, steps, guidance) that are remembered; the least recently measured one is forgotten first."""

_ANY_MODEL = "*"
"""Stands for all models together; no profile has this name."""

_UNMEASURED = 1e-6
"""Seconds for one pixel in one step before anything was measured; then only ratios matter."""

SPAN = 4
"""Pictures that are measured together, since those of one batch may come at the same moment."""

KEPT_SPANS = 9
"""Spans that are remembered. Their median ignores a rare one with a full disk or a restart in it."""

KEPT_TAILS = 15
"""Pictures whose time from drawn to stored is remembered."""


class DurationEstimate:
    """Device seconds per picture: the median of the last measurements of its kind (a ticket's ``batch_key``)."""

    def __init__(self) -> None:
        self._kinds = _Medians()
        self._rates = _Medians()

    def measured(self, ticket: Ticket, seconds: float) -> None:
        """One picture of this ticket took this many device seconds."""
        self._kinds.add(ticket.batch_key, seconds)
        if ticket.work:
            self._rates.add(ticket.model, seconds / ticket.work)
            self._rates.add(_ANY_MODEL, seconds / ticket.work)

    def seconds(self, ticket: Ticket) -> float | None:
        """Return the expected device seconds of one picture; None when nothing comparable was measured.

        A kind that was never measured is estimated by its work (pixels times steps): at the rate of its model, or else
        at the rate of all models.
        """
        known = self._kinds.get(ticket.batch_key)
        if known is not None or not ticket.work:
            return known
        rate = self._rates.get(ticket.model) or self._rates.get(_ANY_MODEL)
        return None if rate is None else rate * ticket.work

    def cost(self, ticket: Ticket) -> float:
        """Return what one picture is charged before it is measured, in device seconds; a guess without measurements."""
        seconds = self.seconds(ticket)
        return seconds if seconds is not None else max(1, ticket.work) * _UNMEASURED


class _Medians:
    """The median of the last measurements of each kind; reading one takes O(1)."""

    def __init__(self) -> None:
        self._values: dict[Hashable, deque[float]] = {}
        self._medians: dict[Hashable, float] = {}

    def add(self, kind: Hashable, value: float) -> None:
        values = self._values.pop(kind, None) or deque(maxlen=KEPT)
        values.append(value)
        self._values[kind] = values
        self._medians[kind] = median(values)
        if len(self._values) > KINDS:
            oldest = next(iter(self._values))
            del self._values[oldest], self._medians[oldest]

    def get(self, kind: Hashable) -> float | None:
        return self._medians.get(kind)


class Overhead:
    """Elapsed time as a multiple of device time while the device has work. Times are in seconds of a monotonic clock.

    Storing, moderation, previews and model loads cost time that the device's seconds do not contain.
    """

    def __init__(self) -> None:
        self._ratios: deque[float] = deque(maxlen=KEPT_SPANS)
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
        """A picture is drawn; it took this many device seconds."""
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
        """Discard the current span: it holds device time of pictures that were dropped."""
        self._clear()
        if self._since is not None:
            self._since = now

    def stored(self, seconds: float) -> None:
        """The last picture of a job was stored this many seconds after it was drawn."""
        self._tails.append(seconds)

    def factor(self) -> float:
        """Return elapsed seconds per device second, at least 1; 1 while nothing was measured."""
        return median(self._ratios) if self._ratios else self._ratio()

    def tail(self) -> float:
        """Return the seconds from drawn to stored; 0 while nothing was measured."""
        return median(self._tails) if self._tails else 0.0

    def _clear(self) -> None:
        self._elapsed = self._device = 0.0
        self._pictures = 0

    def _ratio(self) -> float:
        return max(1.0, self._elapsed / self._device) if self._device > 0 else 1.0
