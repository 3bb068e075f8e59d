"""The web server as one part of the service: listens, and ends what is open when it stops."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from yarl import URL

from adapters.platform import Message, PlatformService
from adapters.web.access import Access, token_of
from adapters.web.api import Api
from adapters.web.exports import Exports
from adapters.web.faults import Faults
from adapters.web.guard import EVERYWHERE, Guard, add_headers
from adapters.web.identity import PLATFORM
from adapters.web.listener import Listener, mark_busy
from adapters.web.live import Streams
from adapters.web.pages import Pages
from adapters.web.quiet import logger
from adapters.web.settings import WebSettings
from bot.core.errors import BadInput
from bot.settings import Settings
from bot.studio import Studio

CLOSE_SECONDS = 2.0
"""How long answers under way may still take at a stop."""

LINGER_SECONDS = 2.0
"""How long what is left of a refused body is still read and thrown away."""


def connection_options() -> dict[str, Any]:
    """Return the arguments of aiohttp's RequestHandler for each connection."""
    return {
        "access_log": None,
        "logger": logger(),
        # Bodies are read as they are sent: an unpacked one may be thousands of times as large.
        "auto_decompress": False,
        # What is left of a refused body is read so long, so that the client sees the refusal.
        "lingering_time": LINGER_SECONDS,
    }


def application(settings: WebSettings, studio: Studio, registry: CollectorRegistry, token: str = "") -> web.Application:
    """Return the aiohttp application: guarded, with every fault as a sentence.

    Args:
        settings: Names and address of the page.
        studio: What people can do.
        registry: What ``/metrics`` shows.
        token: What lets others than this machine in; empty where there is none.
    """
    access = Access(settings, Guard(settings), token)
    app = web.Application(middlewares=[mark_busy, Faults(studio).middleware, access.middleware])
    streams = Streams()
    app.add_routes([*Pages(studio, registry, access).routes(), *Api(studio, streams).routes()])
    app.add_routes(Exports(studio).routes())
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

    name = PLATFORM

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
    def notices(self) -> tuple[Message, ...]:
        """The page's address, and a warning with the link where other machines can reach it."""
        page = Message("cli.serve.page", url=self.url)
        if self.link is None:
            return (page,)
        return page, Message("cli.serve.open", where=self._settings.address, link=self.link)

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
