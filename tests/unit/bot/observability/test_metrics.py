"""What Prometheus reads."""

from __future__ import annotations

import contextlib
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from bot.core.errors import BadInput
from bot.observability.metrics import EtaOutcome, EtaResult, Metrics
from tests.fakes.engine import FakeEngine


async def test_counters_and_gauges(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    queue, engine = [1, 2, 3], FakeEngine(auto_warm=False)
    metrics.watch(queue, [4], engine, tmp_path)
    metrics.painted("demo", 0.4)
    metrics.jobs.labels("painted").inc()
    metrics.delivery_failures.labels("chat", "gone").inc()

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    metrics.begun(3)
    metrics.begun(-1)
    assert value("easel_queue_length") == 3
    assert value("easel_jobs_running") == 1
    assert (value("easel_job_wait_seconds_count"), value("easel_job_wait_seconds_sum")) == (2, 3)
    assert (value("easel_disk_free_bytes") or 0) > 0
    assert value("easel_engine_restarts_total") == 0
    assert value("easel_engine_phase", phase="starting") == 1
    assert value("easel_engine_phase", phase="warm") == 0
    queue.clear()
    await engine.recover()
    assert value("easel_queue_length") == 0
    assert value("easel_engine_phase", phase="starting") == 0
    assert value("easel_engine_phase", phase="warm") == 1
    assert value("easel_jobs_total", outcome="painted") == 1
    assert value("easel_pictures_total", model="demo") == 1
    assert value("easel_image_duration_seconds_count", model="demo") == 1
    assert value("easel_delivery_failures_total", platform="chat", why="gone") == 1
    assert b"easel_engine_lost_total" in generate_latest(registry)


def test_commands_are_counted_by_their_outcome_and_timed() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for error in (None, None, BadInput("refusal.prompt.empty"), KeyError("a bug")):
        with contextlib.suppress(BadInput, KeyError), metrics.command("chat", "quota set"):
            if error is not None:
                raise error

    def count(outcome: str) -> float | None:
        labels = {"platform": "chat", "command": "quota set", "outcome": outcome}
        return registry.get_sample_value("easel_commands_total", labels)

    assert [count(outcome) for outcome in ("ok", "refused", "error")] == [2, 1, 1]
    assert registry.get_sample_value("easel_command_duration_seconds_count", {"command": "quota set"}) == 4


def test_two_services_do_not_share_counters() -> None:
    one, two = CollectorRegistry(), CollectorRegistry()
    Metrics(one).jobs.labels("failed").inc()
    Metrics(two)
    assert two.get_sample_value("easel_jobs_total", {"outcome": "failed"}) is None


def test_renamed_metrics_are_exported_under_both_names() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.painted("demo", 0.4)
    for outcome, ratio in ((EtaOutcome.WITHIN, 1.0), (EtaOutcome.LATE, 3.0), (EtaOutcome.LATE, 4.0)):
        metrics.predicted(EtaResult(outcome, ratio))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    for name in ("easel_image_duration_seconds", "easel_picture_seconds"):
        assert (value(f"{name}_count", model="demo"), value(f"{name}_sum", model="demo")) == (1, 0.4)
    for name in ("easel_eta_error_ratio", "easel_promise_error_ratio"):
        assert (value(f"{name}_count"), value(f"{name}_sum")) == (3, 8.0)
    assert [value("easel_eta_predictions_total", outcome=o) for o in ("within", "late", "early")] == [1, 2, None]
    assert [value("easel_promises_total", kept=o) for o in ("true", "late", "early")] == [1, 2, None]
