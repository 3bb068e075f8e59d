"""One trace is one request with its job: admission, queue, draw, store; off and free unless it was asked for."""

from __future__ import annotations

import asyncio
import gzip
import http.server
import importlib.util
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from adapters.cli import tracing
from bot.core.errors import BadInput
from bot.observability import otel
from bot.observability.otel import OtelTraces
from bot.observability.tracing import Traces
from bot.settings import Settings
from engine.contract import OutOfMemory
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness, settings_of

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


class Recorded:
    """Traces that stay in memory."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.traces = OtelTraces(provider)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> ReadableSpan:
        (found,) = (span for span in self.spans if span.name == name)
        return found

    def parent(self, name: str) -> str:
        span = self.named(name)
        assert span.parent is not None
        found = {one.context.span_id: one.name for one in self.spans if one.context is not None}
        return found.get(span.parent.span_id, "")


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
async def app(tmp_path: Path, recorded: Recorded) -> AsyncIterator[WebHarness]:
    gate = StepGate()
    gate.open()
    harness = WebHarness(tmp_path, FakeEngine(pause=gate), gate, settings_of())
    harness.traces = recorded.traces
    async with harness.opened() as one:
        yield one


async def test_a_request_is_one_trace_without_a_word_of_its_prompt(app: WebHarness, recorded: Recorded) -> None:
    body = {"key": app.key(), "prompt": "a secret prompt", "negative": "a secret dislike", "count": "2"}
    headers = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01", "X-Request-Id": "a-request-id"}
    async with app.client.post("/api/draw", json=body, headers=headers) as response:
        job = (await response.json())["card"]["job_id"]
    await app.final(job)
    await app.until(lambda: any(span.name == "job" for span in recorded.spans))
    assert [recorded.parent(name) for name in ("admission", "job", "queue", "draw")] == [
        "POST /api/draw",
        "admission",
        "job",
        "job",
    ]
    stored = [span for span in recorded.spans if span.name == "store"]
    assert len(stored) == 2
    for span in recorded.spans:
        assert span.context is not None
        assert f"{span.context.trace_id:032x}" == TRACE_ID
        assert span.end_time is not None
        assert "secret" not in span.to_json()
    attributes = recorded.named("job").attributes
    assert attributes is not None
    assert dict(attributes) == {
        "easel.job": job,
        "easel.model": "demo",
        "easel.pictures": 2,
        "easel.slot": "0",
        "easel.outcome": "painted",
    }
    queue, draw = recorded.named("queue"), recorded.named("draw")
    assert queue.end_time is not None
    assert draw.start_time is not None
    assert queue.end_time <= draw.start_time


async def test_a_refusal_names_its_key_and_readings_are_not_traced(app: WebHarness, recorded: Recorded) -> None:
    await app.get("/api/history")
    status, _ = await app.post("/api/draw", {"key": app.key(), "prompt": "x", "model": "a-secret-model"})
    assert status == 400
    attributes = recorded.named("admission").attributes
    assert attributes is not None
    assert attributes["easel.refusal"] == "refusal.model.unknown"
    assert {span.name for span in recorded.spans} == {"admission", "POST /api/draw"}
    assert not any("a-secret-model" in span.to_json() for span in recorded.spans)


async def test_failed_and_cancelled_jobs_and_those_that_wait_again(app: WebHarness, recorded: Recorded) -> None:
    app.engine._fail = lambda _: OutOfMemory("no room")
    await app.drawn()
    (failed,) = (span for span in recorded.spans if span.name == "job")
    assert (failed.attributes or {})["easel.outcome"] == "failed"
    assert not failed.status.is_ok
    app.engine._fail = lambda _: None
    app.gate.shut()
    card = await app.ask()
    await app.until(lambda: app.gate.reached)
    await app.engine.lose()
    await app.engine.recover()
    await app.until(lambda: sum(span.name == "draw" for span in recorded.spans) == 2)
    await app.press(f"easel:cancel:{card['job_id']}")
    app.gate.open()
    await app.until(lambda: sum(span.name == "job" for span in recorded.spans) == 2)
    jobs = [span.attributes or {} for span in recorded.spans if span.name == "job"]
    assert [one["easel.outcome"] for one in jobs] == ["failed", "cancelled"]


def test_jobs_that_never_end_are_bounded(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel, "MOST_JOBS", 2)
    for job in range(4):
        recorded.traces.queued(job)
    assert [span.name for span in recorded.spans] == ["queue", "job"] * 2
    # One of before the start of the service, or of those that were forgotten, has a trace of its own.
    recorded.traces.begun(77, {})
    recorded.traces.ended(77, "painted")
    with recorded.traces.part(77, "deliver", {"easel.platform": "chat"}):
        pass
    assert recorded.named("deliver").parent is None
    recorded.traces.close()
    assert sum(span.name == "job" for span in recorded.spans) == 4


async def test_an_error_of_our_own_is_named_by_its_class(recorded: Recorded) -> None:
    with pytest.raises(RuntimeError), recorded.traces.span("admission", {}):
        raise RuntimeError("a secret word")
    span = recorded.named("admission")
    assert (span.attributes or {})["error.type"] == "RuntimeError"
    assert "secret" not in span.to_json()


@pytest.fixture
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """An OTLP receiver on the loopback: its address, and what it was sent."""
    received: list[ExportTraceServiceRequest] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                data = gzip.decompress(data)
            assert self.path == "/v1/traces"
            received.append(ExportTraceServiceRequest.FromString(data))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("by", ["setting", "variable"])
async def test_spans_reach_a_collector(
    by: str, collector: tuple[str, list[ExportTraceServiceRequest]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, received = collector
    variable = {"setting": "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "variable": tracing.ENDPOINT}[by]
    monkeypatch.setenv(variable, address + ("/v1/traces" if by == "setting" else ""))
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=club")
    traces = await asyncio.to_thread(tracing.traces, Settings(_env_file=None, otel=by == "setting"))
    with traces.span("admission", {"easel.platform": "chat"}):
        pass
    await asyncio.to_thread(traces.close)
    (request,) = received
    (spans,) = request.resource_spans
    resource = {one.key: one.value.string_value for one in spans.resource.attributes}
    assert (resource["service.name"], resource["deployment.environment"]) == ("easel", "club")
    assert [span.name for scope in spans.scope_spans for span in scope.spans] == ["admission"]


def test_nothing_is_traced_and_imported_unless_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tracing.ENDPOINT, raising=False)
    off = tracing.traces(Settings(_env_file=None))
    assert type(off) is Traces
    assert off.span("a", {}) is off.part(1, "b", {}) is off.request("c", {})


def test_without_the_packages(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BadInput) as refused:
        tracing.traces(Settings(_env_file=None, otel=True))
    assert refused.value.key == "cli.otel.missing"
    monkeypatch.setenv(tracing.ENDPOINT, "http://127.0.0.1:4318")
    assert type(tracing.traces(Settings(_env_file=None))) is Traces
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
