"""The page as a platform of Easel. aiohttp is imported by ``build``, never with this module."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

from adapters.platform import CatalogueMessage, CheckContext, CheckResult, Platform, PlatformContext, PlatformService
from adapters.web.settings import LIMITS, TOKEN_FILE, WebSettings
from bot.core.errors import BadInput


def _build(settings: WebSettings, context: PlatformContext) -> PlatformService:
    from adapters.web.service import build  # noqa: PLC0415 - aiohttp is not needed where the page is off

    return build(settings, context.core, context.studio, context.registry)


async def _check(settings: WebSettings, context: CheckContext) -> AsyncIterator[CheckResult]:
    yield await asyncio.to_thread(_check_port, settings, context)
    if settings.enabled:
        try:
            settings.check_bind()
        except BadInput as error:
            yield CheckResult("page", False, CatalogueMessage(error.key, **error.params))
            return
    if settings.enabled and settings.exposed:
        kept = settings.variable("token") if settings.token is not None else str(context.core.data_dir / TOKEN_FILE)
        yield CheckResult("page", True, CatalogueMessage("cli.doctor.page.open", where=settings.address, kept=kept))


def _check_port(settings: WebSettings, context: CheckContext) -> CheckResult:
    """Check that the port is free, or held by the Easel of this data folder."""
    if not settings.enabled:
        return CheckResult("port", True, CatalogueMessage("cli.doctor.port.off"))
    where = settings.address
    if problem := port_problem(settings.host, settings.port):
        if (holder := context.holder()) is not None:
            return CheckResult("port", True, CatalogueMessage("cli.doctor.port.own", where=where, holder=holder))
        found = CatalogueMessage("cli.doctor.port.taken", where=where, problem=problem)
        return CheckResult("port", False, found, CatalogueMessage("cli.doctor.port.do"))
    return CheckResult("port", True, CatalogueMessage("cli.doctor.port.free", where=where))


def port_problem(host: str, number: int) -> str:
    """Return why the address can't be bound; empty if it can."""
    try:
        found = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                if os.name == "posix":
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    return ""


PLATFORM = Platform("web", "Page", WebSettings, "port", _build, _check, LIMITS, off_notice="cli.serve.page_off")
