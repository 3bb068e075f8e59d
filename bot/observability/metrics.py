"""What the operator's Prometheus reads: queue, jobs, seconds, engine, delivery."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from engine.contract import Phase

_SECONDS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)

_SHARES = (0.25, 0.5, 0.75, 0.9, 1.1, 1.25, 1.5, 2, 3, 5)


class Kept(StrEnum):
    """How a promised time came out: within its range, before it, or after it."""

    TRUE = "true"
    EARLY = "early"
    LATE = "late"


class Metrics:
    """Counters of one service in the registry that it is given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.jobs = Counter("easel_jobs", "Jobs that ended, by outcome.", ["outcome"], registry=registry)
        self.pictures = Counter("easel_pictures", "Pictures painted, by model.", ["model"], registry=registry)
        self.seconds = Histogram(
            "easel_picture_seconds",
            "Seconds of the device for one picture.",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.lost = Counter("easel_engine_lost", "Batches that the engine lost.", registry=registry)
        self.delivery_failures = Counter(
            "easel_delivery_failures",
            "Cards that could not be shown, by platform and why.",
            ["platform", "why"],
            registry=registry,
        )
        self.promises = Counter("easel_promises", "Promised times that came out, by how.", ["kept"], registry=registry)
        self.promise_error = Histogram(
            "easel_promise_error_ratio",
            "Time that it took, as a share of the time that was promised.",
            buckets=_SHARES,
            registry=registry,
        )

    def promised(self, kept: Kept, share: float) -> None:
        """The time that somebody was promised has come out."""
        self.promises.labels(kept.value).inc()
        self.promise_error.observe(share)

    def painted(self, model: str, seconds: float) -> None:
        """One picture was painted in so many seconds."""
        self.pictures.labels(model).inc()
        self.seconds.labels(model).observe(seconds)

    def watch(self, queue_length: Callable[[], int], phase: Callable[[], Phase]) -> None:
        """Read the queue's length and the engine's phase whenever somebody asks."""
        self._registry.register(_Now(queue_length, phase))


class _Now(Collector):
    """Gauges that are read when asked for; the phase is one of several, so that a change leaves no old value behind."""

    def __init__(self, queue_length: Callable[[], int], phase: Callable[[], Phase]) -> None:
        self._queue_length = queue_length
        self._phase = phase

    def collect(self) -> list[GaugeMetricFamily]:
        """Return both families as they are now."""
        now = self._phase()
        phases = GaugeMetricFamily("easel_engine_phase", "1 for the engine's phase, 0 for others.", labels=["phase"])
        for phase in Phase:
            phases.add_metric([phase.value], float(phase is now))
        return [GaugeMetricFamily("easel_queue_length", "Jobs that wait.", value=self._queue_length()), phases]
