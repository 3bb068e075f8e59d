"""The web server as a part of the service: its application, its listener and its log."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiohttp import web
from aiohttp.http import HttpProcessingError
from prometheus_client import CollectorRegistry
from yarl import URL

from adapters.platform import CatalogueMessage, PlatformService
from adapters.web.access import AccessControl, token_of
from adapters.web.api import Api
from adapters.web.errors import ErrorMiddleware
from adapters.web.guard import EVERYWHERE, Guard, add_headers
from adapters.web.identity import NAME
from adapters.web.listener import Listener, mark_busy
from adapters.web.pages import ExportHandlers, PageHandlers
from adapters.web.settings import WebSettings
from adapters.web.sse import EventStreams
from bot.core.errors import BadInput
from bot.settings import Settings
from bot.studio import Studio

CLOSE_SECONDS = 2.0
"""Seconds that open answers may still take at a stop."""

LINGER_SECONDS = 2.0
"""Seconds for which the rest of a refused body is read and discarded."""


def connection_options() -> dict[str, Any]:
    """Return the arguments of aiohttp's RequestHandler for each connection."""
    return {
        "access_log": None,
        "logger": server_logger(),
        # Bodies are read as sent: a decompressed one may be thousands of times larger.
        "auto_decompress": False,
        # The rest of a refused body is read for a while, so that the client sees the refusal.
        "lingering_time": LINGER_SECONDS,
    }


def application(settings: WebSettings, studio: Studio, registry: CollectorRegistry, token: str = "") -> web.Application:
    """Return the aiohttp application with its access control and error handling.

    Args:
        settings: The page's settings.
        studio: The core.
        registry: The metrics of ``/metrics``.
        token: The token that lets other machines in; empty if there is none.
    """
    access = AccessControl(settings, Guard(settings), token)
    app = web.Application(middlewares=[mark_busy, ErrorMiddleware(studio).middleware, access.middleware])
    streams = EventStreams()
    app.add_routes([*PageHandlers(studio, registry, access).routes(), *Api(studio, streams).routes()])
    app.add_routes(ExportHandlers(studio).routes())
    app.on_response_prepare.append(add_headers)

    async def close(app: web.Application) -> None:  # noqa: ARG001 - aiohttp's signature
        streams.close()

    app.on_shutdown.append(close)
    return app


class WebService(PlatformService):
    """The page as `easel serve` runs it.

    Attributes:
        url: The address that people on this machine open; empty before ``start``.
        link: The address that lets people on other machines in; None where they can't reach the page.
    """

    name = NAME

    def __init__(self, settings: WebSettings, core: Settings, studio: Studio, registry: CollectorRegistry) -> None:
        self._settings = settings
        self._core = core
        self._studio = studio
        self._registry = registry
        self._runner: web.AppRunner | None = None
        self._listener: Listener | None = None
        self.url = ""
        self.link: str | None = None

    async def start(self) -> None:
        """Listen, and answer requests from now on.

        Raises:
            BadInput: The port can't be had, or the token's file can't be used.
        """
        settings = self._settings
        token = await asyncio.to_thread(token_of, settings, self._core.data_dir)
        self._runner = web.AppRunner(
            application(settings, self._studio, self._registry, token), access_log=None, shutdown_timeout=CLOSE_SECONDS
        )
        await self._runner.setup()
        assert self._runner.server is not None
        self._listener = Listener(self._runner.server, **connection_options())
        try:
            await self._listener.start(settings.host, settings.port)
        except OSError as error:
            reason = error.strerror or str(error)
            raise BadInput("cli.port.in_use", host=settings.host, port=str(settings.port), reason=reason) from None
        host = "127.0.0.1" if settings.host in EVERYWHERE else settings.host
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/"
        if settings.exposed:
            self.link = str(URL(settings.public_url or self.url).with_query(token=token))

    @property
    def notices(self) -> tuple[CatalogueMessage, ...]:
        """The page's address, and a warning with the link where other machines can reach it."""
        page = CatalogueMessage("cli.serve.page", url=self.url)
        if self.link is None:
            return (page,)
        return page, CatalogueMessage("cli.serve.open", where=self._settings.address, link=self.link)

    async def run(self) -> None:
        """Wait until cancelled; ``start`` and ``stop`` decide when requests are answered."""
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Stop listening and end open requests, within 3 s."""
        if self._listener is not None:
            await self._listener.stop()
        if self._runner is not None:
            await self._runner.cleanup()


def build(settings: WebSettings, core: Settings, studio: Studio, registry: CollectorRegistry) -> WebService:
    """Build the service; nothing listens before ``start``."""
    return WebService(settings, core, studio, registry)


LOGGER = "adapters.web.protocol"


class _Quiet(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the traceback of a malformed request, which quotes it, with the error's class."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.INFO, "INFO"
            record.msg, record.args = "a malformed request was refused: %s", (type(error).__name__,)
        return True


def server_logger() -> logging.Logger:
    """Return the logger that aiohttp's request handlers are given."""
    found = logging.getLogger(LOGGER)
    if not any(isinstance(one, _Quiet) for one in found.filters):
        found.addFilter(_Quiet())
    return found
