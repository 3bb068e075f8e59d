"""The HTTP handlers of the feed: a person's jobs page by page, thumbnails, and the pictures that jobs start from."""

from __future__ import annotations

import re

from aiohttp import web

from adapters.web.api import MAX_ID, MAX_PAGE, number_of, query_of
from adapters.web.feed_streams import FeedStreams
from adapters.web.identity import actor_of
from adapters.web.render import card_json
from adapters.web.routes import Role, Route
from bot.core.errors import BadInput, NotFound
from bot.studio import THUMBNAIL_SIDES, Studio

KIND = re.compile(r"[a-z]{0,16}", re.ASCII)
"""A kind of jobs; empty for all."""

IMMUTABLE = "private, max-age=31536000, immutable"
"""``Cache-Control`` of what has another address when it changes: a browser keeps it for a year, a shared cache does not."""


class FeedHandlers:
    """Handlers of the feed. Errors are raised as Refusals."""

    def __init__(self, studio: Studio, streams: FeedStreams) -> None:
        self._studio = studio
        self._streams = streams

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("GET", "/api/feed", self.feed, Role.MEMBER),
            Route("GET", "/jobs/{job}/{source}.png", self.source, Role.MEMBER),
            Route("GET", "/thumbs/{digest}-{side}.webp", self.thumbnail, Role.MEMBER),
        ]

    async def feed(self, request: web.Request) -> web.Response:
        """Return the person's jobs, newest first, unfinished ones included.

        ``q`` searches, ``kind`` and ``starred=1`` filter, ``before`` and ``limit`` turn pages. A stream that begins with
        ``/api/events?after=`` and the answer's ``at`` misses nothing that has changed since.
        """
        before = query_of(request, "before", None, MAX_ID)
        limit = query_of(request, "limit", 24, MAX_PAGE)
        kind = request.query.get("kind", "")
        if limit is None or not KIND.fullmatch(kind):
            raise BadInput("refusal.web.body", problem="kind")
        actor = actor_of(request)
        at = await self._streams.mark(actor)
        page = await self._studio.feed(
            actor,
            before=before,
            limit=limit,
            query=request.query.get("q", "").strip() or None,
            kind=kind,
            starred=request.query.get("starred") == "1",
        )
        return web.json_response({"cards": [card_json(card) for card in page.cards], "older": page.older, "at": at})

    async def source(self, request: web.Request) -> web.StreamResponse:
        """Return a picture that a job starts from or refers to: ``start``, ``mask``, or the number of a reference."""
        name = request.match_info["source"]
        path = await self._studio.source_file(actor_of(request), number_of(request, "job"), name)
        return web.FileResponse(path, headers={"Content-Type": "image/png", "Cache-Control": "private, no-cache"})

    async def thumbnail(self, request: web.Request) -> web.StreamResponse:
        """Return the thumbnail of one of the person's own pictures. Another picture has another address."""
        side = number_of(request, "side")
        if side not in THUMBNAIL_SIDES:
            raise NotFound("refusal.web.not_found")
        path = await self._studio.thumbnail(actor_of(request), request.match_info["digest"], side)
        return web.FileResponse(path, headers={"Content-Type": "image/webp", "Cache-Control": IMMUTABLE})
