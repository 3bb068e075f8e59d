"""Hands out one's own data by a link that works once."""

from __future__ import annotations

import re

from aiohttp import web

from bot.model.errors import NotFound
from bot.studio import Studio

_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}", re.ASCII)


class Exports:
    """The handler for ``/exports/<token>``: whoever has the link is whoever asked for it."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def routes(self) -> list[web.RouteDef]:
        """Its address. A look at the headers alone (HEAD) must not use the link up."""
        return [web.get("/exports/{token}", self.fetch, allow_head=False)]

    async def fetch(self, request: web.Request) -> web.StreamResponse:
        """The file, once. Raises NotFound."""
        token = request.match_info["token"]
        if not _TOKEN.fullmatch(token):
            raise NotFound("refusal.export.link")
        file = await self._studio.export(token)
        return web.FileResponse(
            file.path,
            headers={
                "Content-Type": file.mime,
                "Content-Disposition": f'attachment; filename="{file.name}"',
                "Cache-Control": "private, no-store",
            },
        )
