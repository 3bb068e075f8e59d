"""Traces of requests: what each part of a job's way takes. Off unless the operator has asked for them (``otel``)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

Attributes = Mapping[str, str | int | float | bool]

_NOTHING = nullcontext()


class Traces:
    """Traces nothing. ``bot.observability.otel.OtelTraces`` does.

    A trace is one request with its job: ``admission``, then below ``job`` the parts ``queue``, ``draw``, ``store`` and
    ``deliver``. No attribute has anything that people wrote.
    """

    def request(self, name: str, headers: Mapping[str, str]) -> AbstractContextManager[object]:  # noqa: ARG002 - nothing is traced
        """Trace the block as an HTTP request, below the trace that its headers name.

        Args:
            name: Method and route.
            headers: The request's headers.
        """
        return _NOTHING

    def span(self, name: str, attributes: Attributes) -> AbstractContextManager[object]:  # noqa: ARG002 - nothing is traced
        """Trace the block below what is being traced."""
        return _NOTHING

    def queued(self, job_id: int) -> None:
        """A job waits from now on, for the first time or again."""

    def begun(self, job_id: int, attributes: Attributes) -> None:
        """The engine has a job from now on; nothing happens if it had it before."""

    def part(self, job_id: int, name: str, attributes: Attributes) -> AbstractContextManager[object]:  # noqa: ARG002 - nothing is traced
        """Trace the block as a part of a job, which may have ended."""
        return _NOTHING

    def ended(self, job_id: int, outcome: str) -> None:
        """A job has ended: ``painted``, ``failed`` or ``cancelled``."""

    def close(self) -> None:
        """Send what was not sent. Blocks for some seconds at most."""
