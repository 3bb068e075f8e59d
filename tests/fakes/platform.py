"""A minimal platform without a network, for tests of the table of platforms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from adapters.platform import (
    CatalogueMessage,
    ChatSettings,
    CheckContext,
    CheckResult,
    Platform,
    PlatformContext,
    PlatformLimits,
    PlatformService,
    check_token,
)
from bot.core.access import AccessMode
from bot.settings import OwnerIds


class CarrierSettings(ChatSettings):
    """``EASEL_CARRIER_*``."""

    model_config = SettingsConfigDict(env_prefix="EASEL_CARRIER_")

    token: SecretStr | None = Field(None, description="Ring of the pigeon; pigeons are off without it.")
    owners: OwnerIds = Field((), description="Ids of the owners' pigeons, separated by commas.")
    access: AccessMode = Field(AccessMode.LIST, description="Whose pigeons are let in.")
    proxy: str | None = Field(None, description="Relay on the way.")
    lofts: int = Field(1, ge=1, description="How many lofts there are.")


class CarrierService(PlatformService):
    """Serves nobody until it is cancelled."""

    name = "carrier"

    def __init__(self, settings: CarrierSettings, context: PlatformContext) -> None:
        self.settings = settings
        self.context = context
        self.calls: list[str] = []

    async def start(self) -> None:
        """Record the call."""
        self.calls.append("start")

    async def run(self) -> None:
        """Record the call and wait."""
        self.calls.append("run")
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Record the call."""
        self.calls.append("stop")


async def _check(settings: CarrierSettings, context: CheckContext) -> AsyncIterator[CheckResult]:
    async def identify() -> str:
        return "@pigeon"

    yield await check_token(PLATFORM, settings, identify)
    yield CheckResult("lofts", settings.lofts > 1, CatalogueMessage("cli.serve.page", url=f"loft {settings.lofts}"))


PLATFORM = Platform(
    "carrier", "Carrier pigeons", CarrierSettings, "token", CarrierService, _check, PlatformLimits(max_count=2)
)
