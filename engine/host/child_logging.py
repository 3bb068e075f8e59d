"""The log of the device's process: each record is a line on standard error that begins with its level.

A line about recipes names them (``Recipe.log_name``): ``WARNING:engine.diffusion.executor:[12:0@3f2a 12:1@3f2a] A step of
2 failed``. The parent takes them out of the line again.
"""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import dataclass
from importlib import import_module

from engine.log_context import current_recipes

_LINE = re.compile(
    r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL):(?P<logger>[\w.]+):(?:\[(?P<recipes>[\w:@. -]+)\])? (?P<rest>.*)"
)


class _OneLine(logging.Formatter):
    """Writes a record with its traceback in one line, and the recipes that it is about."""

    def format(self, record: logging.LogRecord) -> str:
        recipes = current_recipes()
        about = f"[{' '.join(recipes)}]" if recipes else ""
        message = " ".join(super().format(record).split())
        return f"{record.levelname}:{record.name}:{about} {message}"


@dataclass(frozen=True, slots=True)
class ChildLine:
    """A line of a child's standard error.

    Attributes:
        level: Its level; DEBUG for what libraries print.
        text: The line without the recipes.
        recipes: ``Recipe.log_name`` of those that it is about.
    """

    level: int
    text: str
    recipes: tuple[str, ...] = ()


def parse_line(line: str) -> ChildLine:
    """Return what a line says, as ``configure_logging`` writes it; every other line is one of level DEBUG."""
    found = _LINE.fullmatch(line)
    if found is None:
        return ChildLine(logging.DEBUG, line)
    level: int = getattr(logging, found["level"])
    text = f"{found['level']}:{found['logger']}: {found['rest']}"
    return ChildLine(level, text, tuple((found["recipes"] or "").split()))


def configure_logging(level: str = "WARNING") -> None:
    """Write this process's lines and its libraries' warnings with their levels. Call it in the device's process.

    Args:
        level: Lowest level of the engine's own lines.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("engine").setLevel(level)
    logging.captureWarnings(True)
    for library in ("diffusers.utils.logging", "transformers.utils.logging"):
        # Their own handlers leave the level out.
        library_logging = import_module(library)
        library_logging.disable_default_handler()
        library_logging.enable_propagation()
