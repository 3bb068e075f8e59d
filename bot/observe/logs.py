"""Log lines for people or for machines, with every known secret struck out. Prompts are never logged."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO
from urllib.parse import quote, unquote, urlsplit

from pydantic import SecretStr
from pythonjsonlogger.json import JsonFormatter

from bot.settings import LogFormat, Settings

STRUCK = "[secret]"
"""What stands in a log line in place of a secret."""

SHORTEST = 6
"""Shorter secrets are not struck out: they would tear words apart, and they guard nothing."""

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


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Every secret that the settings hold: tokens, and the passwords inside addresses of proxies."""
    return tuple(_secrets(settings))


def _secrets(settings: Settings) -> Iterator[str]:
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
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Redacting(inner, (*secrets_of(settings), *more_secrets)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for name in _WORDY:
        logging.getLogger(name).setLevel(max(logging.INFO, root.level))
    logging.captureWarnings(True)
    return handler
