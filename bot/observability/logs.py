"""Log lines for people or for machines, with every known secret struck out. Prompts are never logged."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TextIO
from urllib.parse import quote, unquote, urlsplit

from pydantic import SecretStr
from pythonjsonlogger.json import JsonFormatter

from bot.settings import EnvSettings, LogFormat, Settings

STRUCK = "[secret]"
"""What stands in a log line in place of a secret."""

SHORTEST = 6
"""Shorter secrets are not struck out: they would tear words apart, and they guard nothing."""

BURST = 20
"""Most lines of one kind in a window."""

WINDOW = 60.0
"""Seconds."""

_KIND_CHARS = 200

_WORDY = ("PIL", "aiogram", "aiosqlite", "discord")
"""Libraries that log at DEBUG what they were given: rows, messages, and the prompts in them."""

_CONSOLE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_JSON = "%(asctime)s %(levelname)s %(name)s %(message)s"


class Redacting(logging.Formatter):
    """Formats by another formatter and strikes the secrets from what comes out: from messages, arguments, exceptions
    and their causes, stacks and extra fields alike.
    """

    def __init__(self, inner: logging.Formatter, secrets: Iterable[str]) -> None:
        super().__init__()
        self._inner = inner
        # The longest first, so that one secret inside another leaves no rest. Libraries log URLs quoted, and JSON
        # escapes quotes and backslashes.
        forms = {
            form
            for secret in secrets
            if len(secret) >= SHORTEST
            for form in (secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1])
        }
        self._secrets = sorted(forms, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Return the finished line without secrets."""
        line = self._inner.format(record)
        for secret in self._secrets:
            line = line.replace(secret, STRUCK)
        return line


class Bounded(logging.StreamHandler[TextIO]):
    """Writes lines, but of one kind of warning or error at most BURST in WINDOW seconds: a fault must not fill the disk.

    Lines are of one kind where logger, level, message without its values, and class of exception are the same. What is left
    out is said: once when it begins, and as a number when it ends.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._kinds: dict[tuple[str, int, str, str], _Kind] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, unless too many like it came of late."""
        now = self._clock()
        self._end(now)
        if record.levelno < logging.WARNING:
            super().emit(record)
            return
        kind = self._kinds.setdefault(_kind_of(record), _Kind(now))
        kind.count += 1
        if kind.count > BURST:
            return
        super().emit(record)
        if kind.count == BURST:
            self._say(record, f"more lines like the last one are left out for {WINDOW - (now - kind.since):.0f} s")

    def _end(self, now: float) -> None:
        """Forget kinds whose window is over, and say how many of their lines were left out."""
        for key in [key for key, kind in self._kinds.items() if now - kind.since >= WINDOW]:
            left_out = self._kinds.pop(key).count - BURST
            if left_out > 0:
                name, level, message, _ = key
                record = logging.LogRecord(name, level, "", 0, "", None, None)
                self._say(record, f"{left_out} lines like this one were left out: {message}")

    def _say(self, like: logging.LogRecord, message: str) -> None:
        super().emit(logging.LogRecord(like.name, like.levelno, "", 0, message, None, None))


@dataclass(slots=True)
class _Kind:
    since: float
    count: int = 0


def _kind_of(record: logging.LogRecord) -> tuple[str, int, str, str]:
    error = type(record.exc_info[1]).__name__ if record.exc_info else ""
    # asyncio puts numbers of sockets and tasks into the lines behind the first.
    return record.name, record.levelno, str(record.msg).split("\n", 1)[0][:_KIND_CHARS], error


def secrets_of(settings: EnvSettings) -> tuple[str, ...]:
    """Every secret that the settings hold: tokens, and the passwords inside addresses of proxies."""
    return tuple(_secrets(settings))


def _secrets(settings: EnvSettings) -> Iterator[str]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            yield value.get_secret_value()
        elif isinstance(value, str) and "://" in value and (password := urlsplit(value).password):
            yield from (password, unquote(password))


def set_up(settings: Settings, more_secrets: Iterable[str] = (), stream: TextIO | None = None) -> logging.Handler:
    """Send all log lines to one stream in the form that the settings ask for.

    Args:
        settings: Form, level, and the secrets to strike out.
        more_secrets: Further ones, such as the value of ``HF_TOKEN``.
        stream: Where lines go; standard error when not given.

    Returns:
        The root logger's only handler.
    """
    inner = JsonFormatter(_JSON) if settings.log_format is LogFormat.JSON else logging.Formatter(_CONSOLE)
    handler = Bounded(stream or sys.stderr)
    handler.setFormatter(Redacting(inner, (*secrets_of(settings), *more_secrets)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for name in _WORDY:
        logging.getLogger(name).setLevel(max(logging.INFO, root.level))
    logging.captureWarnings(True)
    return handler
