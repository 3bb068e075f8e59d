"""What every platform brings: its settings, its service, its checks for `easel doctor`, and its limits.

A platform is a folder ``adapters/<name>`` whose module ``platform`` holds a ``Platform``, and a line in the table of
``adapters/cli/platforms.py``. Modules ``platform`` and ``settings`` import no platform library: the library is imported
by ``build`` and ``check``, once the platform is switched on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from bot.core.access import AccessMode
from bot.core.errors import Unavailable
from bot.core.ports import Surface
from bot.settings import EnvSettings, OwnerIds, Settings
from bot.studio import Studio


@dataclass(frozen=True, slots=True, init=False)
class CatalogueMessage:
    """A sentence of the catalogue with the values of its fields, in no language yet."""

    key: str
    params: Mapping[str, str | int | float]

    def __init__(self, key: str, **params: str | int | float) -> None:
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "params", params)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of `easel doctor`.

    Attributes:
        name: The thing that was checked.
        ok: Whether it is well.
        found: The state that was found.
        advice: What to do if it is not well; None where ``found`` says it.
    """

    name: str
    ok: bool
    found: CatalogueMessage
    advice: CatalogueMessage | None = None


class PlatformSettings(EnvSettings, ABC):
    """A platform's own settings; its ``env_prefix`` is ``EASEL_<NAME>_``."""

    @property
    @abstractmethod
    def enabled(self) -> bool:
        """Whether `easel serve` runs the platform."""

    @property
    def local_url(self) -> str:
        """Address of the platform's own server for programs on this machine, without a slash at its end; empty for none."""
        return ""

    @property
    def public_link(self) -> str:
        """Address of pages that everybody can open by a link; empty where the platform has none."""
        return ""


class ChatSettings(PlatformSettings):
    """Settings of a platform where a bot with a token talks to people; subclasses describe the fields."""

    token: SecretStr | None
    owners: OwnerIds
    access: AccessMode
    proxy: str | None

    @property
    def enabled(self) -> bool:
        """Whether its token is set."""
        return self.token is not None

    def proxy_url(self, core: Settings) -> str | None:
        """Return the address of the platform's proxy, else of everybody's. ``socks5h`` is curl's spelling of socks5.

        The proxy resolves names either way.
        """
        url = self.proxy or core.proxy
        return None if url is None else url.replace("socks5h://", "socks5://", 1)


@dataclass(frozen=True, slots=True)
class PlatformLimits:
    """Limits of one platform.

    Attributes:
        max_count: Most pictures in one request.
    """

    max_count: int = 4


@dataclass(frozen=True, slots=True)
class PlatformContext:
    """What the composition root hands to a platform's service.

    Attributes:
        core: The settings that no single platform owns.
        studio: What people can do.
        registry: The metrics.
    """

    core: Settings
    studio: Studio
    registry: CollectorRegistry


@dataclass(frozen=True, slots=True)
class CheckContext:
    """What `easel doctor` hands to a platform's checks.

    Attributes:
        core: The settings that no single platform owns.
        holder: Returns process id and host of the service that holds the data folder; None where none runs.
    """

    core: Settings
    holder: Callable[[], str | None]


class PlatformService(ABC):
    """A platform as `easel serve` runs it.

    Attributes:
        name: The platform's name in addresses.
        surface: Where delivery sends cards; None on a platform that fetches them.
    """

    name: str
    surface: Surface | None = None

    @property
    def notices(self) -> Sequence[CatalogueMessage]:
        """Sentences for the operator, once the platform has started."""
        return ()

    async def start(self) -> None:  # noqa: B027 - most platforms have nothing to do here
        """Take what another process may hold, before the model is loaded. Raises BadInput where it can't be had."""

    @abstractmethod
    async def run(self) -> None:
        """Serve until cancelled. Returns early, after a critical log line, when the settings can't work."""

    async def stop(self) -> None:  # noqa: B027 - see start
        """Release what ``start`` has taken."""


S = TypeVar("S", bound=PlatformSettings)


@dataclass(frozen=True, slots=True)
class Platform(Generic[S]):
    """A platform's description.

    Attributes:
        name: Its name in addresses and on the command line, in lower case.
        title: Its proper name.
        settings: Class of its settings.
        switch: Field of the settings that switches it on.
        build: Returns its service; no network access before ``start``.
        check: Yields its lines of `easel doctor`.
        limits: Its limits.
        numeric_ids: Whether its ids are whole numbers.
        tells_owner: Whether the platform itself tells who owns the bot, once it is connected.
        off_notice: Key of what `easel serve` says while it is off. Empty: it is listed as on or off with the others.
    """

    name: str
    title: str
    settings: type[S]
    switch: str
    build: Callable[[S, PlatformContext], PlatformService]
    check: Callable[[S, CheckContext], AsyncIterator[CheckResult]]
    limits: PlatformLimits = PlatformLimits()
    numeric_ids: bool = False
    tells_owner: bool = False
    off_notice: str = ""

    @property
    def variable(self) -> str:
        """The variable that switches it on."""
        return self.settings.variable(self.switch)

    def configured(self, settings: S) -> ConfiguredPlatform:
        """Return the platform with its settings."""
        return ConfiguredPlatform(self, settings)


@dataclass(frozen=True, slots=True)
class ConfiguredPlatform:
    """A platform with its settings."""

    platform: Platform[Any]
    settings: PlatformSettings

    @property
    def name(self) -> str:
        """The platform's name."""
        return self.platform.name

    @property
    def enabled(self) -> bool:
        """Whether `easel serve` runs the platform."""
        return self.settings.enabled

    def build(self, context: PlatformContext) -> PlatformService:
        """Return the platform's service."""
        return self.platform.build(self.settings, context)

    def check(self, context: CheckContext) -> AsyncIterator[CheckResult]:
        """Yield the platform's lines of `easel doctor`."""
        return self.platform.check(self.settings, context)


async def check_token(
    platform: Platform[Any], settings: ChatSettings, identify: Callable[[], Awaitable[str]]
) -> CheckResult:
    """Check a chat platform's token.

    Args:
        platform: The platform.
        settings: Its settings.
        identify: Asks the platform for the bot's name; raises Unavailable. Not called where no token is set.
    """
    if not settings.enabled:
        return CheckResult(platform.name, True, CatalogueMessage("cli.doctor.token.off", setting=platform.variable))
    try:
        name = await identify()
    except Unavailable as error:
        # The platform's sentence says what to do as well.
        return CheckResult(platform.name, False, CatalogueMessage(error.key, **error.params))
    return CheckResult(platform.name, True, CatalogueMessage("cli.doctor.token.ok", name=name))
