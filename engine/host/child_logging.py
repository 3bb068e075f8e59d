"""The log of the device's process: each record is a line on standard error that begins with its level."""

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
    """Return the level of a line as ``configure_logging`` writes it; DEBUG for every other line."""
    return _LEVELS.get(line.partition(":")[0], logging.DEBUG)


def configure_logging() -> None:
    """Write this process's warnings and its libraries' with their levels. Call it in the device's process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(levelname)s:%(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.captureWarnings(True)
    for library in ("diffusers.utils.logging", "transformers.utils.logging"):
        # Their own handlers leave the level out.
        library_logging = import_module(library)
        library_logging.disable_default_handler()
        library_logging.enable_propagation()
