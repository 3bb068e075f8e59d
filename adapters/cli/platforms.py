"""The table of platforms: a line each. A new platform is a folder in ``adapters`` and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line's help and its parser need the names alone
    from adapters.platform import Platform

TABLE: Mapping[str, str] = MappingProxyType(
    {
        "discord": "adapters.discord.platform",
        "telegram": "adapters.telegram.platform",
        "web": "adapters.web.platform",
    }
)
"""The module of each platform, by name. It holds the ``Platform`` as ``PLATFORM``, and imports no platform library."""


def names() -> tuple[str, ...]:
    """Return the platforms' names in the order of the table."""
    return tuple(TABLE)


def all_platforms() -> tuple[Platform[Any], ...]:
    """Import and return the platforms in the order of the table."""
    return tuple(import_module(module).PLATFORM for module in TABLE.values())
