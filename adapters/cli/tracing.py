"""Whether traces are sent: the operator has asked for it, and the packages are there."""

from __future__ import annotations

import importlib.util
import logging
import os

from bot.core.errors import BadInput
from bot.observability.tracing import Traces
from bot.settings import Settings

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""OpenTelemetry's own variable: where traces go."""

_PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")

log = logging.getLogger(__name__)


def traces(settings: Settings) -> Traces:
    """Return what traces requests: OpenTelemetry where it was asked for, else nothing. Imports: call it in a thread.

    Raises:
        BadInput: ``EASEL_OTEL`` is set, and the packages are missing.
    """
    if not settings.otel and not os.environ.get(ENDPOINT):
        return Traces()
    if not all(map(_is_installed, _PACKAGES)):
        if settings.otel:
            raise BadInput("cli.otel.missing")
        # The variable may be meant for other programs.
        log.warning("%s is set, and Easel sends no traces: pip install 'easel[otel]'", ENDPOINT)
        return Traces()
    from bot.observability.otel import over_otlp  # noqa: PLC0415 - the packages are optional

    return over_otlp()


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
