"""The chat platforms that Easel speaks to: one line each. A platform's library is imported only when its token is set."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from bot.model.access import Access
from bot.ports import Surface
from bot.settings import Settings
from bot.studio import Studio


class Service(Protocol):
    """A platform as `easel serve` runs it."""

    name: str
    """The platform's name in addresses."""

    @property
    def surface(self) -> Surface:
        """Where delivery speaks."""

    async def run(self) -> None:
        """Serve until cancelled; returns early, after a loud line, when the platform will not take this bot."""


@dataclass(frozen=True, slots=True)
class Platform:
    """One line of the table: its name in settings and addresses, its title, and the module that builds it.

    ``tells_owner`` where the platform itself says whose the bot is, once it is connected.
    """

    name: str
    title: str
    module: str
    tells_owner: bool = False

    @property
    def setting(self) -> str:
        """The variable that holds its token."""
        return f"EASEL_{self.name.upper()}_TOKEN"

    def is_on(self, settings: Settings) -> bool:
        """Whether its token is set."""
        return getattr(settings, f"{self.name}_token") is not None

    def owners(self, settings: Settings) -> tuple[str, ...]:
        """The user ids of its owners, as the settings name them."""
        found: tuple[str, ...] = getattr(settings, f"{self.name}_owners")
        return found

    def access(self, settings: Settings) -> Access:
        """Who may come in."""
        return Access(getattr(settings, f"{self.name}_access"))

    def build(self, settings: Settings, studio: Studio) -> Service:
        """Import it and build its service; nothing is asked of the platform yet."""
        build: Callable[[Settings, Studio], Service] = import_module(self.module).build
        return build(settings, studio)

    async def check(self, settings: Settings) -> str:
        """Ask the platform who the bot is. Raises Unavailable."""
        check: Callable[[Settings], Coroutine[Any, Any, str]] = import_module(self.module).check
        return await check(settings)


PLATFORMS = (
    Platform("discord", "Discord", "adapters.discord.service", tells_owner=True),
    Platform("telegram", "Telegram", "adapters.telegram.service"),
)
