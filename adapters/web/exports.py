"""Hands out one's own data by a link that works once: the link opens a small page, and its button fetches the file."""

from __future__ import annotations

import re
from html import escape

from aiohttp import hdrs, web

from adapters.web.faults import RangeRefused
from adapters.web.identity import locale_of
from bot.core.errors import NotFound
from bot.studio import Studio

_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}", re.ASCII)

_PARTIAL = (
    hdrs.RANGE,
    hdrs.IF_RANGE,
    hdrs.IF_MATCH,
    hdrs.IF_NONE_MATCH,
    hdrs.IF_MODIFIED_SINCE,
    hdrs.IF_UNMODIFIED_SINCE,
)
"""Headers that ask for less than the whole file: it is given once."""

# Plain markup: previews of links, and browsers without scripts, read it too.
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


class Exports:
    """The handlers for ``/exports/<token>``: the link alone gives access."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def routes(self) -> list[web.RouteDef]:
        """Its address: a look uses nothing up, the form's POST does."""
        return [web.get("/exports/{token}", self.page), web.post("/exports/{token}", self.fetch)]

    async def page(self, request: web.Request) -> web.Response:
        """A page with a button that fetches the file. Raises NotFound, and Unavailable while it is being made."""
        await self._studio.export_ready(_token(request))
        locale = locale_of(request)
        names = ("title", "about", "button")
        words = {name: escape(self._studio.text(f"export.page.{name}", locale)) for name in names}
        return web.Response(
            text=_PAGE.format(lang=locale.replace("_", "-"), **words),
            content_type="text/html",
            # With no referrer at all, browsers send the form's POST without its origin.
            headers={"Cache-Control": "private, no-store", "Referrer-Policy": "same-origin"},
        )

    async def fetch(self, request: web.Request) -> web.StreamResponse:
        """The file, once. Raises NotFound, Unavailable while it is being made, and RangeRefused for a part of it."""
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
