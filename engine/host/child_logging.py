"""How loud a line is that the device's process writes on standard error: its logging says so, the rest is chatter."""

from __future__ import annotations

import logging
import sys
from importlib import import_module

_LEVELS = {"WARNING": logging.WARNING, "ERROR": logging.ERROR, "CRITICAL": logging.CRITICAL}


class _OneLine(logging.Formatter):
    """Writes a record with its traceback in one line."""

    def format(self, record: logging.LogRecord) -> str:
        return " ".join(super().format(record).split())


def level_of(line: str) -> int:
    """Return the level that a line begins with, as ``speak`` writes it; DEBUG for every other line."""
    return _LEVELS.get(line.partition(":")[0], logging.DEBUG)


def speak() -> None:
    """Write what this process and its libraries warn of with its level in front. Call it in the device's process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(levelname)s:%(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.captureWarnings(True)
    for library in ("diffusers.utils.logging", "transformers.utils.logging"):
        # Their own handlers leave the level out.
        words = import_module(library)
        words.disable_default_handler()
        words.enable_propagation()
