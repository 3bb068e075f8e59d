"""Telegram as a platform of Easel. aiogram is imported by ``build`` and ``check``, never with this module."""

from __future__ import annotations

from collections.abc import AsyncIterator

from adapters.platform import CheckContext, CheckResult, Platform, PlatformContext, PlatformService, check_token
from adapters.telegram.settings import LIMITS, TelegramSettings


def _build(settings: TelegramSettings, context: PlatformContext) -> PlatformService:
    from adapters.telegram.service import build  # noqa: PLC0415 - aiogram takes 165 MB of memory

    return build(settings, context.core, context.studio)


async def _check(settings: TelegramSettings, context: CheckContext) -> AsyncIterator[CheckResult]:
    async def identify() -> str:
        from adapters.telegram.client import identify  # noqa: PLC0415 - see _build

        return await identify(settings, context.core)

    yield await check_token(PLATFORM, settings, identify)


PLATFORM = Platform("telegram", "Telegram", TelegramSettings, "token", _build, _check, LIMITS, numeric_ids=True)
