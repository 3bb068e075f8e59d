"""What Prometheus reads."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from bot.observability.metrics import Metrics
from engine.contract import Phase


def test_counters_and_what_is_read_when_asked() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    length, phase = 3, Phase.WARMING
    metrics.watch(lambda: length, lambda: phase)
    metrics.painted("demo", 0.4)
    metrics.jobs.labels("painted").inc()
    metrics.delivery_failures.labels("chat", "gone").inc()

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("easel_queue_length") == 3
    assert value("easel_engine_phase", phase="warming") == 1
    assert value("easel_engine_phase", phase="warm") == 0
    length, phase = 0, Phase.WARM
    assert value("easel_queue_length") == 0
    assert value("easel_engine_phase", phase="warming") == 0
    assert value("easel_engine_phase", phase="warm") == 1
    assert value("easel_jobs_total", outcome="painted") == 1
    assert value("easel_pictures_total", model="demo") == 1
    assert value("easel_picture_seconds_count", model="demo") == 1
    assert value("easel_delivery_failures_total", platform="chat", why="gone") == 1
    assert b"easel_engine_lost_total" in generate_latest(registry)


def test_two_services_do_not_share_counters() -> None:
    one, two = CollectorRegistry(), CollectorRegistry()
    Metrics(one).jobs.labels("failed").inc()
    Metrics(two)
    assert two.get_sample_value("easel_jobs_total", {"outcome": "failed"}) is None
