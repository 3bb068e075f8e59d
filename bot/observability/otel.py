"""Traces by OpenTelemetry (extra ``otel``), sent by OTLP. The SDK reads ``OTEL_*`` variables by itself."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from bot.core.errors import Refusal
from bot.observability.tracing import Attributes, Traces

MOST_JOBS = 5000
"""Most jobs whose spans are kept; the oldest are ended."""

FLUSH_MS = 3000
"""Milliseconds that a stop waits for what was not sent."""

JOB = "easel.job"


@dataclass(slots=True)
class _JobSpans:
    """The span of a job, and that of the part that it is in; None between parts and after the end."""

    job: Span
    part: Span | None = None


class OtelTraces(Traces):
    """Traces of one service."""

    def __init__(self, provider: TracerProvider) -> None:
        """Args:
        provider: Where spans go. It belongs to this object: no other library's spans are sent.
        """
        self._provider = provider
        self._tracer = provider.get_tracer("easel", version("easel"))
        self._propagator = TraceContextTextMapPropagator()
        self._jobs: OrderedDict[int, _JobSpans] = OrderedDict()

    def request(self, name: str, headers: Mapping[str, str]) -> AbstractContextManager[object]:
        """See ``Traces``; the headers are W3C's ``traceparent`` and ``tracestate``."""
        # A copy in small letters: HTTP's names have no case, and the propagator's do.
        carrier = {key.lower(): value for key, value in headers.items()}
        return self._block(name, {}, self._propagator.extract(carrier), SpanKind.SERVER)

    def span(self, name: str, attributes: Attributes) -> AbstractContextManager[object]:
        """See ``Traces``."""
        return self._block(name, attributes)

    def queued(self, job_id: int) -> None:
        """See ``Traces``."""
        spans = self._jobs.get(job_id)
        if spans is None or not spans.job.is_recording():
            spans = self._remember(job_id, _JobSpans(self._tracer.start_span("job", attributes={JOB: job_id})))
        self._next_part(spans, "queue")

    def begun(self, job_id: int, attributes: Attributes) -> None:
        """See ``Traces``."""
        spans = self._jobs.get(job_id)
        if spans is None:
            return
        spans.job.set_attributes(dict(attributes))
        self._next_part(spans, "draw")

    def part(self, job_id: int, name: str, attributes: Attributes) -> AbstractContextManager[object]:
        """See ``Traces``. A job from before the start of the service has a trace of its own."""
        spans = self._jobs.get(job_id)
        context = Context() if spans is None else set_span_in_context(spans.job)
        return self._block(name, {JOB: job_id, **attributes}, context)

    def ended(self, job_id: int, outcome: str) -> None:
        """See ``Traces``."""
        if (spans := self._jobs.get(job_id)) is not None:
            self._next_part(spans)
            spans.job.set_attribute("easel.outcome", outcome)
            if outcome == "failed":
                spans.job.set_status(Status(StatusCode.ERROR))
            spans.job.end()

    def close(self) -> None:
        """See ``Traces``."""
        for spans in self._jobs.values():
            self._next_part(spans)
            spans.job.end()
        self._provider.force_flush(FLUSH_MS)
        self._provider.shutdown()

    def _remember(self, job_id: int, spans: _JobSpans) -> _JobSpans:
        self._jobs[job_id] = spans
        self._jobs.move_to_end(job_id)
        while len(self._jobs) > MOST_JOBS:
            _, oldest = self._jobs.popitem(last=False)
            self._next_part(oldest)
            oldest.job.end()
        return spans

    def _next_part(self, spans: _JobSpans, name: str = "") -> None:
        """End the part that a job is in, and begin the next one, if there is one."""
        if spans.part is not None:
            spans.part.end()
        spans.part = self._tracer.start_span(name, set_span_in_context(spans.job)) if name else None

    @contextmanager
    def _block(
        self, name: str, attributes: Attributes, context: Context | None = None, kind: SpanKind = SpanKind.INTERNAL
    ) -> Iterator[None]:
        with self._tracer.start_as_current_span(
            name, context, kind, attributes=dict(attributes), record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except Refusal as refusal:
                # The key alone: what the sentence quotes was written by people.
                span.set_attribute("easel.refusal", refusal.key)
                raise
            except Exception as error:
                span.set_attribute(ERROR_TYPE, type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
                raise


def over_otlp() -> OtelTraces:
    """Return traces that are sent over HTTP to ``OTEL_EXPORTER_OTLP_ENDPOINT``, else to this machine's port 4318."""
    # The exporter alone needs the network.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - see above

    named = os.environ.get("OTEL_SERVICE_NAME", "easel")
    provider = TracerProvider(
        resource=Resource.create({"service.name": named, "service.version": version("easel")}), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OtelTraces(provider)
