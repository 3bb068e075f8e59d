"""Measured times: device seconds per picture by kind of work, and the service's overhead over the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable
from dataclasses import dataclass
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
    """Reference seconds per picture: the median of the last measurements of its kind (a ticket's ``batch_key``).

    They are the seconds of a slot of speed 1 (``SlotSpeeds``); with one slot, its device seconds.
    """

    def __init__(self) -> None:
        self._kinds = _Medians()
        self._together = _Medians()
        self._rates = _Medians()

    def measured(self, ticket: Ticket, seconds: float, together: int = 1) -> None:
        """One picture of this ticket took this many reference seconds, while ``together`` of them shared their steps."""
        self._kinds.add(ticket.batch_key, seconds)
        self._together.add((ticket.batch_key, together), seconds)
        if ticket.work:
            self._rates.add(ticket.model, seconds / ticket.work)
            self._rates.add(_ANY_MODEL, seconds / ticket.work)

    def seconds(self, ticket: Ticket, *, exact: bool = False) -> float | None:
        """Return the expected reference seconds of one picture; None when nothing comparable was measured.

        A kind that was never measured is estimated by its work (pixels times steps): at the rate of its model, or else
        at the rate of all models; not so with ``exact``.
        """
        known = self._kinds.get(ticket.batch_key)
        if known is not None or exact or not ticket.work:
            return known
        rate = self._rates.get(ticket.model) or self._rates.get(_ANY_MODEL)
        return None if rate is None else rate * ticket.work

    def seconds_together(self, ticket: Ticket, together: int) -> float | None:
        """Return the reference seconds of one picture of several that share their steps; None when not measured."""
        return self._together.get((ticket.batch_key, together))

    def cost(self, ticket: Ticket) -> float:
        """Return what one picture is charged before it is measured, in reference seconds; a guess without measurements."""
        seconds = self.seconds(ticket)
        return seconds if seconds is not None else max(1, ticket.work) * _UNMEASURED


class SlotSpeeds:
    """How fast each slot is: reference seconds of work that it does in a second.

    The first slot that draws is the anchor, with speed 1. Another slot's speed is the median of the last ratios between
    the anchor's time for a kind of work and its own. Where the anchor has not drawn the kind, the estimate of all slots
    stands for it. When the anchor is gone, another slot becomes the anchor and its speed stays as it is, so that the
    reference does not drift.
    """

    def __init__(self, estimate: DurationEstimate) -> None:
        """``estimate`` is told of every measured picture."""
        self._estimate = estimate
        self._by_anchor = DurationEstimate()
        self._ratios: dict[str, deque[float]] = {}
        self._speeds: dict[str, float] = {}
        self._anchor = ""

    def of(self, slot: str) -> float:
        """Return a slot's speed; 1 while nothing comparable was measured."""
        return self._speeds.get(slot, 1.0)

    def keep(self, ready: Collection[str]) -> None:
        """These slots can draw now: the anchor is one of them, where one of them has a measured speed."""
        if self._anchor and self._anchor not in ready:
            known = [slot for slot in self._speeds if slot in ready]
            if known:
                self._anchor = max(known, key=lambda slot: len(self._ratios.get(slot, ())))

    def measured(self, slot: str, ticket: Ticket, seconds: float, together: int = 1) -> float:
        """Note how long a slot took for one picture of this ticket.

        Args:
            slot: The slot.
            ticket: The picture's job.
            seconds: Device seconds of the picture.
            together: How many pictures shared its steps.

        Returns:
            The reference seconds of the picture.
        """
        if not self._anchor:
            self._anchor, self._speeds[slot] = slot, 1.0
        if slot != self._anchor and seconds > 0:
            expected = (
                self._by_anchor.seconds_together(ticket, together)
                or self._by_anchor.seconds(ticket, exact=True)
                or self._estimate.seconds(ticket, exact=True)
                or self._by_anchor.seconds(ticket)
            )
            if expected:
                ratios = self._ratios.setdefault(slot, deque(maxlen=KEPT))
                ratios.append(expected / seconds)
                self._speeds[slot] = median(ratios)
        reference = seconds * self.of(slot)
        if slot == self._anchor:
            self._by_anchor.measured(ticket, reference, together)
        self._estimate.measured(ticket, reference, together)
        return reference


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
    """Elapsed time as a multiple of device time while a slot has work. Times are in seconds of a monotonic clock.

    Storing, moderation, previews and model loads cost time that the device's seconds do not contain.
    """

    def __init__(self) -> None:
        self._ratios: deque[float] = deque(maxlen=KEPT_SPANS)
        self._tails: deque[float] = deque(maxlen=KEPT_TAILS)
        self._spans: dict[str, _Span] = {}

    def busy(self, now: float, slot: str = "") -> None:
        """The slot has work from now on, or still has some."""
        span = self._spans.setdefault(slot, _Span())
        if span.since is None:
            span.since = now

    def idle(self, slot: str = "") -> None:
        """The slot has no work: time until the next ``busy`` does not count."""
        if (span := self._spans.get(slot)) is not None:
            span.since = None

    def drawn(self, seconds: float, now: float, slot: str = "") -> None:
        """The slot has drawn a picture; it took this many device seconds."""
        span = self._spans.get(slot)
        if span is None or span.since is None:
            return
        span.elapsed += now - span.since
        span.since = now
        span.device += seconds
        span.pictures += 1
        if span.pictures >= SPAN:
            self._ratios.append(span.ratio())
            span.clear()

    def restart(self, now: float, slot: str = "") -> None:
        """Discard the slot's current span: it holds device time of pictures that were dropped."""
        if (span := self._spans.get(slot)) is not None:
            span.clear()
            if span.since is not None:
                span.since = now

    def stored(self, seconds: float) -> None:
        """The last picture of a job was stored this many seconds after it was drawn."""
        self._tails.append(seconds)

    def factor(self) -> float:
        """Return elapsed seconds per device second, at least 1; 1 while nothing was measured."""
        if self._ratios:
            return median(self._ratios)
        return median(span.ratio() for span in self._spans.values()) if self._spans else 1.0

    def tail(self) -> float:
        """Return the seconds from drawn to stored; 0 while nothing was measured."""
        return median(self._tails) if self._tails else 0.0


@dataclass(slots=True)
class _Span:
    """Pictures of one slot that are measured together; ``since``: up to when; None while the slot has no work."""

    since: float | None = None
    elapsed: float = 0.0
    device: float = 0.0
    pictures: int = 0

    def ratio(self) -> float:
        return max(1.0, self.elapsed / self.device) if self.device > 0 else 1.0

    def clear(self) -> None:
        self.elapsed = self.device = 0.0
        self.pictures = 0
