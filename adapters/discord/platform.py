"""Discord as a platform of Easel. discord.py is imported by ``build`` and ``check``, never with this module."""

from __future__ import annotations

from collections.abc import AsyncIterator

from adapters.discord.settings import LIMITS, DiscordSettings
from adapters.platform import (
    CatalogueMessage,
    CheckContext,
    CheckResult,
    Platform,
    PlatformContext,
    PlatformService,
    check_token,
)


def _build(settings: DiscordSettings, context: PlatformContext) -> PlatformService:
    from adapters.discord.service import build  # noqa: PLC0415 - discord.py takes 42 MB of memory

    return build(settings, context.core, context.studio)


async def _check(settings: DiscordSettings, context: CheckContext) -> AsyncIterator[CheckResult]:
    link = ""

    async def identify() -> str:
        from adapters.discord.service import identify  # noqa: PLC0415 - see _build

        nonlocal link
        name, link = await identify(settings, context.core)
        return name

    yield await check_token(PLATFORM, settings, identify)
    if link:
        yield CheckResult("invite", True, CatalogueMessage("discord.check.invite", link=link))


PLATFORM = Platform(
    "discord", "Discord", DiscordSettings, "token", _build, _check, LIMITS, numeric_ids=True, tells_owner=True
)
