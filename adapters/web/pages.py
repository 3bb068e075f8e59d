"""The page's files, the pages of export links, and the endpoints for operators and their tools."""

from __future__ import annotations

import asyncio
import re
from html import escape
from pathlib import Path

from aiohttp import hdrs, web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from adapters.web.access import AccessControl
from adapters.web.errors import RangeRefused
from adapters.web.identity import locale_of
from bot.core.errors import NotFound
from bot.studio import Studio

READY_SECONDS = 4.0
"""Seconds until a check counts as failed; probes usually wait five."""

STATIC = Path(__file__).parent / "static"


class PageHandlers:
    """Handlers for ``/``, ``/static``, ``/healthz``, ``/readyz`` and ``/metrics``."""

    def __init__(self, studio: Studio, registry: CollectorRegistry, access: AccessControl) -> None:
        self._studio = studio
        self._access = access
        self._registry = registry
        # The files at the start, by name: no path is ever built from a request.
        self._files = {path.name: path for path in STATIC.iterdir()}

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/", self.page),
            web.get("/favicon.ico", self.icon),
            web.get("/static/{name}", self.static),
            web.get("/healthz", self.alive),
            web.get("/readyz", self.ready),
            web.get("/metrics", self.metrics),
        ]

    async def page(self, request: web.Request) -> web.StreamResponse:  # noqa: ARG002 - aiohttp's signature
        """Return the page."""
        return web.FileResponse(STATIC / "index.html")

    async def static(self, request: web.Request) -> web.StreamResponse:
        """Return one of the page's scripts, styles or pictures. Raises NotFound."""
        file = self._files.get(request.match_info["name"])
        if file is None:
            raise NotFound("refusal.web.not_found")
        return web.FileResponse(file)

    async def icon(self, request: web.Request) -> web.StreamResponse:  # noqa: ARG002 - aiohttp's signature
        """Return the icon, which browsers request here in any case."""
        return web.FileResponse(STATIC / "icon.svg")

    async def alive(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        """Answer 200 while the process is up."""
        return web.Response(text="ok")

    async def ready(self, request: web.Request) -> web.Response:
        """Answer 200 if the engine is warm and the database writable, else 503; only the owner gets the reasons."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                problems = await self._studio.problems()
        except TimeoutError:
            problems = (self._studio.text("health.slow", "en", seconds=f"{READY_SECONDS:g}"),)
        found: dict[str, object] = {"ready": not problems}
        if self._access.trusts(request):
            found["problems"] = list(problems)
        return web.json_response(found, status=503 if problems else 200)

    async def metrics(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        """Return the metrics in Prometheus's text format."""
        # On the event loop: it takes a few milliseconds, and all threads may be busy.
        text = generate_latest(self._registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}", re.ASCII)

_PARTIAL = (
    hdrs.RANGE,
    hdrs.IF_RANGE,
    hdrs.IF_MATCH,
    hdrs.IF_NONE_MATCH,
    hdrs.IF_MODIFIED_SINCE,
    hdrs.IF_UNMODIFIED_SINCE,
)
"""Headers of partial or conditional requests: the file is sent once, as a whole."""

# Plain markup, for link previews and browsers without scripts.
_PAGE = """<!doctype html>
<html lang="{lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<link rel="stylesheet" href="/static/export.css">
</head>
<body>
<main>
<h1>{title}</h1>
<p>{about}</p>
<form method="post"><button type="submit">{button}</button></form>
</main>
</body>
</html>
"""


class ExportHandlers:
    """Handlers for ``/exports/<token>``: the link alone gives access."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def routes(self) -> list[web.RouteDef]:
        """Return the routes. GET does not use up the link, the form's POST does."""
        return [web.get("/exports/{token}", self.page), web.post("/exports/{token}", self.fetch)]

    async def page(self, request: web.Request) -> web.Response:
        """Return a page with a download button. Raises NotFound, and Unavailable while the file is being made."""
        await self._studio.export_ready(_token(request))
        locale = locale_of(request)
        names = ("title", "about", "button")
        words = {name: escape(self._studio.text(f"export.page.{name}", locale)) for name in names}
        return web.Response(
            text=_PAGE.format(lang=locale.replace("_", "-"), **words),
            content_type="text/html",
            # With no-referrer, browsers send the form's POST without its origin.
            headers={"Cache-Control": "private, no-store", "Referrer-Policy": "same-origin"},
        )

    async def fetch(self, request: web.Request) -> web.StreamResponse:
        """Return the file, once. Raises NotFound, Unavailable while it is being made, and RangeRefused for a part."""
        token = _token(request)
        if any(name in request.headers for name in _PARTIAL):
            raise RangeRefused("refusal.export.whole")
        file = await self._studio.export(token)
        return web.FileResponse(
            file.path,
            headers={
                "Content-Type": file.mime,
                "Content-Disposition": f'attachment; filename="{file.name}"',
                "Cache-Control": "private, no-store",
            },
        )


def _token(request: web.Request) -> str:
    token = request.match_info["token"]
    if not _TOKEN.fullmatch(token):
        raise NotFound("refusal.export.link")
    return token
