"""Logging: lines for people or as JSON, with every known secret redacted, and bursts cut off. Prompts are never logged."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TextIO
from urllib.parse import quote, unquote, urlsplit

from pydantic import SecretStr
from pythonjsonlogger.json import JsonFormatter

from bot.observability.log_context import ContextFilter, suffix_of
from bot.settings import EnvSettings, LogFormat, Settings

REDACTED = "[secret]"
"""Replaces a secret in a log line."""

MIN_SECRET_LENGTH = 6
"""Shorter secrets are not redacted: they would cut words apart, and they protect nothing."""

BURST = 20
"""Most lines of one kind in BURST_SECONDS."""

BURST_SECONDS = 60.0

_MESSAGE_CHARS = 200

_VERBOSE = ("PIL", "aiogram", "aiosqlite", "discord")
"""Libraries that log their arguments at DEBUG: rows, messages, and the prompts in them."""

_CONSOLE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_JSON = "%(asctime)s %(levelname)s %(name)s %(message)s"


class _ConsoleFormatter(logging.Formatter):
    """Ends each message with the job and the request that it is about."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return super().formatMessage(record) + suffix_of(record)


class RedactingFormatter(logging.Formatter):
    """Redacts the secrets in another formatter's lines: in messages, arguments, exceptions, stacks and extra fields."""

    def __init__(self, inner: logging.Formatter, secrets: Iterable[str]) -> None:
        super().__init__()
        self._inner = inner
        # The longest first, so that nothing remains of a secret that contains another. Libraries log URLs quoted, and
        # JSON escapes quotes and backslashes.
        forms = {
            form
            for secret in secrets
            if len(secret) >= MIN_SECRET_LENGTH
            for form in (secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1])
        }
        self._secrets = sorted(forms, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Return the formatted line without secrets."""
        line = self._inner.format(record)
        for secret in self._secrets:
            line = line.replace(secret, REDACTED)
        return line


class BurstLimitHandler(logging.StreamHandler[TextIO]):
    """Writes at most BURST warnings or errors of one kind in BURST_SECONDS: a fault must not fill the disk.

    Lines are of one kind if logger, level, message without arguments, and class of exception are equal. One line says
    when lines begin to be left out, and another how many were.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._bursts: dict[_LineKind, _Burst] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, unless too many of its kind were written lately."""
        now = self._clock()
        self._end_bursts(now)
        if record.levelno < logging.WARNING:
            super().emit(record)
            return
        burst = self._bursts.setdefault(_LineKind.of(record), _Burst(now))
        burst.count += 1
        if burst.count > BURST:
            return
        super().emit(record)
        if burst.count == BURST:
            left = BURST_SECONDS - (now - burst.since)
            self._write(record.name, record.levelno, f"more lines like the last one are left out for {left:.0f} s")

    def _end_bursts(self, now: float) -> None:
        """Forget bursts that are over, and write how many of their lines were left out."""
        for kind in [kind for kind, burst in self._bursts.items() if now - burst.since >= BURST_SECONDS]:
            left_out = self._bursts.pop(kind).count - BURST
            if left_out > 0:
                message = f"{left_out} lines like this one were left out: {kind.message}"
                self._write(kind.logger, kind.level, message)

    def _write(self, logger: str, level: int, message: str) -> None:
        super().emit(logging.LogRecord(logger, level, "", 0, message, None, None))


@dataclass(slots=True)
class _Burst:
    since: float
    count: int = 0


class _LineKind(NamedTuple):
    logger: str
    level: int
    message: str
    error: str

    @classmethod
    def of(cls, record: logging.LogRecord) -> _LineKind:
        error = type(record.exc_info[1]).__name__ if record.exc_info else ""
        # asyncio writes numbers of sockets and tasks into the lines after the first.
        message = str(record.msg).split("\n", 1)[0][:_MESSAGE_CHARS]
        return cls(record.name, record.levelno, message, error)


def secrets_of(settings: EnvSettings) -> tuple[str, ...]:
    """Return every secret in the settings: tokens, and the passwords in proxy addresses."""
    return tuple(_secrets(settings))


def _secrets(settings: EnvSettings) -> Iterator[str]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            yield value.get_secret_value()
        elif isinstance(value, str) and "://" in value and (password := urlsplit(value).password):
            yield from (password, unquote(password))


def configure(settings: Settings, more_secrets: Iterable[str] = (), stream: TextIO | None = None) -> logging.Handler:
    """Send all log lines to one stream, in the format and from the level that the settings have.

    Args:
        settings: Format, level, and secrets to redact.
        more_secrets: Other secrets, such as the value of ``HF_TOKEN``.
        stream: Where lines go; standard error by default.

    Returns:
        The root logger's only handler.
    """
    inner = JsonFormatter(_JSON) if settings.log_format is LogFormat.JSON else _ConsoleFormatter(_CONSOLE)
    handler = BurstLimitHandler(stream or sys.stderr)
    handler.addFilter(ContextFilter())
    handler.setFormatter(RedactingFormatter(inner, (*secrets_of(settings), *more_secrets)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for name in _VERBOSE:
        logging.getLogger(name).setLevel(max(logging.INFO, root.level))
    # It tells at each start that it has started.
    logging.getLogger("mcp").setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)
    return handler
