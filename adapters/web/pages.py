"""The page itself, and what operators and their tools ask for."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from adapters.web.access import Access
from bot.core.errors import NotFound
from bot.studio import Studio

READY_SECONDS = 4.0
"""Probes wait five seconds as a rule; whatever has not answered by then is not ready."""

STATIC = Path(__file__).parent / "static"


class Pages:
    """Handlers for ``/``, ``/static``, ``/healthz``, ``/readyz`` and ``/metrics``."""

    def __init__(self, studio: Studio, registry: CollectorRegistry, access: Access) -> None:
        self._studio = studio
        self._access = access
        self._registry = registry
        # Those that are there at the start, by name: no path is ever made of what a browser asks for.
        self._files = {path.name: path for path in STATIC.iterdir()}

    def routes(self) -> list[web.RouteDef]:
        """Every address."""
        return [
            web.get("/", self.page),
            web.get("/favicon.ico", self.icon),
            web.get("/static/{name}", self.static),
            web.get("/healthz", self.alive),
            web.get("/readyz", self.ready),
            web.get("/metrics", self.metrics),
        ]

    async def page(self, request: web.Request) -> web.StreamResponse:  # noqa: ARG002 - aiohttp's signature
        """The page."""
        return web.FileResponse(STATIC / "index.html")

    async def static(self, request: web.Request) -> web.StreamResponse:
        """The page's scripts, styles and pictures. Raises NotFound."""
        file = self._files.get(request.match_info["name"])
        if file is None:
            raise NotFound("refusal.web.not_found")
        return web.FileResponse(file)

    async def icon(self, request: web.Request) -> web.StreamResponse:  # noqa: ARG002 - aiohttp's signature
        """Browsers ask for it here whatever the page says."""
        return web.FileResponse(STATIC / "icon.svg")

    async def alive(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        """200 while the process is up."""
        return web.Response(text="ok")

    async def ready(self, request: web.Request) -> web.Response:
        """200 when the engine is warm and the database can be written, 503 otherwise; the reasons for the owner alone."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                problems = await self._studio.healthy()
        except TimeoutError:
            problems = (self._studio.text("health.slow", "en", seconds=f"{READY_SECONDS:g}"),)
        found: dict[str, object] = {"ready": not problems}
        if self._access.trusts(request):
            found["problems"] = list(problems)
        return web.json_response(found, status=503 if problems else 200)

    async def metrics(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        """Prometheus's text format."""
        # On the loop: a few milliseconds, where threads may all be busy with pictures and files.
        text = generate_latest(self._registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})
