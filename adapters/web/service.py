"""The web server as one part of the service: listens, and ends what is open when it stops."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CollectorRegistry

from adapters.web.api import Api
from adapters.web.exports import Exports
from adapters.web.faults import MAX_BODY, Faults
from adapters.web.guard import EVERYWHERE, Guard, add_headers
from adapters.web.live import Streams
from adapters.web.pages import Pages
from bot.settings import Settings
from bot.studio import Studio

CLOSE_SECONDS = 2.0
"""How long answers under way may still take at a stop."""


def application(settings: Settings, studio: Studio, registry: CollectorRegistry) -> web.Application:
    """Return the aiohttp application: guarded, with every fault as a sentence."""
    app = web.Application(client_max_size=MAX_BODY, middlewares=[Faults(studio).middleware, Guard(settings).middleware])
    streams = Streams()
    app.add_routes([*Pages(studio, registry).routes(), *Api(studio, streams).routes(), *Exports(studio).routes()])
    app.on_response_prepare.append(add_headers)

    async def close(app: web.Application) -> None:  # noqa: ARG001 - aiohttp's signature
        streams.close()

    app.on_shutdown.append(close)
    return app


class WebService:
    """The page as the composition root runs it."""

    def __init__(self, settings: Settings, studio: Studio, registry: CollectorRegistry) -> None:
        self._host, self._port = settings.web_host, settings.web_port
        self._runner = web.AppRunner(
            application(settings, studio, registry), access_log=None, shutdown_timeout=CLOSE_SECONDS
        )

    async def start(self) -> str:
        """Listen; returns the address that people open. Raises OSError when the port can't be had."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        host = "127.0.0.1" if self._host in EVERYWHERE else self._host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}/"

    async def stop(self) -> None:
        """Stop listening and end what is open, within 3 s."""
        await self._runner.cleanup()


def build(settings: Settings, studio: Studio, registry: CollectorRegistry) -> WebService:
    """Return the page for these settings; nothing listens until ``start``."""
    return WebService(settings, studio, registry)
