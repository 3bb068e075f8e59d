"""Prometheus metrics: queue, jobs, device seconds, engine, delivery, commands, and predicted waits."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from bot.core.errors import Refusal
from bot.core.ports import SlotReport
from bot.observability.tracing import Traces
from engine.contract import READY, Engine, Phase

_SECONDS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)

_COMMAND_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

_RATIOS = (0.25, 0.5, 0.75, 0.9, 1.1, 1.25, 1.5, 2, 3, 5)


class EtaOutcome(StrEnum):
    """When pictures came, compared with the predicted range."""

    WITHIN = "within"
    EARLY = "early"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class EtaResult:
    """How a prediction turned out.

    Attributes:
        outcome: When the pictures came, compared with the predicted range.
        ratio: The actual wait as a multiple of the expected wait.
    """

    outcome: EtaOutcome
    ratio: float


@dataclass(frozen=True, slots=True)
class ActivityTotals:
    """What has ended since the service started.

    Attributes:
        pictures: Pictures that were drawn.
        failed: Jobs that failed.
        cancelled: Jobs that were cancelled.
        within: Predicted waits that ended within their range.
        early: Those that ended before it.
        late: Those that ended after it.
        busy: Seconds of the device.
    """

    pictures: int = 0
    failed: int = 0
    cancelled: int = 0
    within: int = 0
    early: int = 0
    late: int = 0
    busy: float = 0.0


def _sum(metric: Counter | Histogram, suffix: str = "_total", **labels: str) -> float:
    """Return the sum of a metric's samples whose name has the suffix and that have these labels."""
    return sum(
        sample.value
        for family in metric.collect()
        for sample in family.samples
        if sample.name.endswith(suffix) and labels.items() <= sample.labels.items()
    )


class Metrics:
    """The metrics of one service, and its traces."""

    def __init__(self, registry: CollectorRegistry, traces: Traces | None = None) -> None:
        """Args:
        registry: Where the metrics are registered.
        traces: Where traces go; nothing is traced where it is not given.
        """
        self._registry = registry
        self.traces = traces or Traces()
        self.jobs = Counter("easel_jobs", "Jobs that ended, by outcome.", ["outcome"], registry=registry)
        self.webhooks = Counter(
            "easel_webhooks", "Webhooks that were sent, by outcome.", ["outcome"], registry=registry
        )
        self.outbound_refused = Counter(
            "easel_outbound_refused", "Requests to other servers that were refused.", ["use"], registry=registry
        )
        self.signatures = Counter(
            "easel_signatures", "Files that were to be signed, by outcome.", ["outcome"], registry=registry
        )
        self.pictures = Counter("easel_pictures", "Pictures painted, by model.", ["model"], registry=registry)
        self._image_seconds = Histogram(
            "easel_image_duration_seconds",
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
        self._commands = Counter(
            "easel_commands",
            "Commands and presses, by platform, command and outcome: ok, refused or error.",
            ["platform", "command", "outcome"],
            registry=registry,
        )
        self._command_seconds = Histogram(
            "easel_command_duration_seconds",
            "Seconds from a command or press to its result, by command.",
            ["command"],
            buckets=_COMMAND_SECONDS,
            registry=registry,
        )
        self._predictions = Counter(
            "easel_eta_predictions",
            "Predicted waits that have ended, by outcome: within the range, early or late.",
            ["outcome"],
            registry=registry,
        )
        self._prediction_error = Histogram(
            "easel_eta_error_ratio",
            "Actual wait as a multiple of the expected wait.",
            buckets=_RATIOS,
            registry=registry,
        )
        self.web_refused = Counter(
            "easel_web_refused",
            "Requests to the page and its APIs that were refused, by reason.",
            ["reason"],
            registry=registry,
        )
        self._web_requests = Counter(
            "easel_web_requests",
            "Requests to the page and its APIs, by route and status.",
            ["route", "status"],
            registry=registry,
        )
        self._web_seconds = Histogram(
            "easel_web_request_duration_seconds",
            "Seconds from a request to the page or its APIs to the beginning of its answer, by route.",
            ["route"],
            buckets=_COMMAND_SECONDS,
            registry=registry,
        )
        self._wait_seconds = Histogram(
            "easel_job_wait_seconds",
            "Seconds from a request to its first picture's way to the engine.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._old = _OldNames(registry)

    def totals(self) -> ActivityTotals:
        """Return what has ended since the service started."""
        return ActivityTotals(
            pictures=int(_sum(self.pictures)),
            failed=int(_sum(self.jobs, outcome="failed")),
            cancelled=int(_sum(self.jobs, outcome="cancelled")),
            within=int(_sum(self._predictions, outcome=EtaOutcome.WITHIN.value)),
            early=int(_sum(self._predictions, outcome=EtaOutcome.EARLY.value)),
            late=int(_sum(self._predictions, outcome=EtaOutcome.LATE.value)),
            busy=_sum(self._image_seconds, "_sum"),
        )

    @contextmanager
    def command(self, platform: str, name: str) -> Iterator[None]:
        """Count and time what the block does for a command or press; ``name`` is the registry's, never what people wrote."""
        begun, outcome = time.perf_counter(), "error"
        try:
            yield
            outcome = "ok"
        except Refusal:
            outcome = "refused"
            raise
        finally:
            self._commands.labels(platform, name, outcome).inc()
            self._command_seconds.labels(name).observe(time.perf_counter() - begun)

    def web_answered(self, route: str, status: int, seconds: float) -> None:
        """A request to the page was answered."""
        self._web_requests.labels(route, str(status)).inc()
        self._web_seconds.labels(route).observe(seconds)

    def signed(self, outcome: str) -> None:
        """A file was signed, or could not be."""
        self.signatures.labels(outcome).inc()

    def begun(self, waited: float) -> None:
        """A job is drawn after it has waited this many seconds."""
        self._wait_seconds.observe(max(0.0, waited))

    def predicted(self, result: EtaResult) -> None:
        """A predicted wait has ended."""
        self._predictions.labels(result.outcome.value).inc()
        self._prediction_error.observe(result.ratio)
        self._old.predicted(result)

    def painted(self, model: str, seconds: float) -> None:
        """A picture was drawn in this many device seconds."""
        self.pictures.labels(model).inc()
        self._image_seconds.labels(model).observe(seconds)
        self._old.seconds.labels(model).observe(seconds)

    def watch(
        self,
        queue: Sized,
        active: Sized,
        engine: Engine,
        folder: Path,
        *,
        paused: Callable[[], bool] = lambda: False,
        slots: Callable[[], Sequence[SlotReport]] = tuple,
    ) -> None:
        """Export the state of the service, read at each scrape.

        Args:
            queue: The jobs that wait.
            active: The jobs that are being drawn.
            engine: The engine.
            folder: A folder of the disk with the data.
            paused: Whether an owner has paused drawing.
            slots: Returns the engine's slots.
        """
        self._registry.register(_Gauges(queue, active, engine, folder, paused=paused, slots=slots))


class _OldNames:
    """Metrics under the names that they had before; they go with the next release."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.seconds = Histogram(
            "easel_picture_seconds",
            "Old name of easel_image_duration_seconds.",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._promises = Counter(
            "easel_promises", "Old name of easel_eta_predictions_total.", ["kept"], registry=registry
        )
        self._promise_error = Histogram(
            "easel_promise_error_ratio", "Old name of easel_eta_error_ratio.", buckets=_RATIOS, registry=registry
        )

    def predicted(self, result: EtaResult) -> None:
        """A predicted wait has ended."""
        self._promises.labels("true" if result.outcome is EtaOutcome.WITHIN else result.outcome.value).inc()
        self._promise_error.observe(result.ratio)


class _Gauges(Collector):
    """Gauges that are read at each scrape. The phase is one of several, so that no old phase stays set."""

    def __init__(
        self,
        queue: Sized,
        active: Sized,
        engine: Engine,
        folder: Path,
        *,
        paused: Callable[[], bool],
        slots: Callable[[], Sequence[SlotReport]],
    ) -> None:
        self._queue = queue
        self._active = active
        self._engine = engine
        self._folder = folder
        self._paused = paused
        self._slots = slots

    def collect(self) -> list[Metric]:
        """Return all families as they are now."""
        state = self._engine.state()
        phases = GaugeMetricFamily("easel_engine_phase", "1 for the engine's phase, 0 for others.", labels=["phase"])
        for phase in Phase:
            phases.add_metric([phase.value], float(phase is state.phase))
        found: list[Metric] = [
            GaugeMetricFamily("easel_queue_length", "Jobs that wait.", value=len(self._queue)),
            GaugeMetricFamily(
                "easel_queue_paused", "1 while an owner has paused drawing.", value=float(self._paused())
            ),
            GaugeMetricFamily("easel_jobs_running", "Jobs that are being drawn.", value=len(self._active)),
            phases,
            GaugeMetricFamily("easel_engine_memory_bytes", "Memory of the device in use.", value=state.memory),
            CounterMetricFamily(
                "easel_engine_restarts", "Starts of the engine's process after one died.", value=state.restarts
            ),
        ]
        found += self._of_slots()
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError:
            return found  # the folder is made with the first picture, and /readyz tells of a disk that is gone
        return [*found, GaugeMetricFamily("easel_disk_free_bytes", "Free space of the disk with the data.", value=free)]

    def _of_slots(self) -> Sequence[Metric]:
        ready = GaugeMetricFamily("easel_slot_ready", "1 while a slot of the engine can draw.", labels=["slot"])
        pictures = GaugeMetricFamily("easel_slot_pictures", "Pictures that a slot has.", labels=["slot"])
        speed = GaugeMetricFamily(
            "easel_slot_speed_ratio", "Speed of a slot, compared with the one that drew first.", labels=["slot"]
        )
        for slot in self._slots():
            ready.add_metric([slot.id], float(slot.state.phase in READY))
            pictures.add_metric([slot.id], slot.pictures)
            speed.add_metric([slot.id], slot.speed)
        return ready, pictures, speed
