"""The HTTP handlers of the feed: a person's jobs page by page, thumbnails, and the pictures that jobs start from."""

from __future__ import annotations

import re
from typing import Annotated

from aiohttp import web
from pydantic import Field

from adapters.web.api import MAX_ID, MAX_PAGE, number_of, query_of
from adapters.web.feed_streams import FeedStreams
from adapters.web.identity import actor_of
from adapters.web.person_limits import PersonLimit
from adapters.web.render import card_json, moment
from adapters.web.request_checks import Body, BodyReader, Key
from adapters.web.routes import Role, Route
from adapters.web.zip_stream import send_zip
from bot.core.errors import BadInput, NotFound, Unavailable
from bot.studio import THUMBNAIL_SIDES, Studio

KIND = re.compile(r"[a-z]{0,16}", re.ASCII)
"""A kind of jobs; empty for all."""

IMMUTABLE = "private, max-age=31536000, immutable"
"""``Cache-Control`` of what has another address when it changes: a browser keeps it for a year, a shared cache does not."""


MOST_ZIPS = 8
"""Most ZIPs that are sent at the same time; the disk serves everything else too."""

MOST_OWN_ZIPS = 2
"""Most ZIPs that are sent to one person at the same time: a slow client takes long for one."""

ZIP_WAIT_SECONDS = 10.0
"""Seconds after which a client may ask for a ZIP again where too many are sent."""

ZIP_NAME = "easel-pictures.zip"


class DeleteBody(Body):
    """Jobs to delete."""

    key: Key
    jobs: Annotated[list[Annotated[int, Field(ge=1, le=MAX_ID)]], Field(min_length=1, max_length=200)]


class UndoBody(Body):
    """The token of a deletion."""

    undo: Annotated[str, Field(max_length=64)]


class ZipBody(Body):
    """Pictures, each as its job and its index."""

    pictures: Annotated[
        list[Annotated[list[Annotated[int, Field(ge=0, le=MAX_ID)]], Field(min_length=2, max_length=2)]],
        Field(min_length=1, max_length=500),
    ]


class FeedHandlers:
    """Handlers of the feed. Errors are raised as Refusals."""

    def __init__(self, studio: Studio, streams: FeedStreams, bodies: BodyReader) -> None:
        self._studio = studio
        self._streams = streams
        self._bodies = bodies
        self._zips = 0
        self._own_zips = PersonLimit(MOST_OWN_ZIPS)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("GET", "/api/events", self._streams.stream, Role.MEMBER, allow_head=False),
            Route("GET", "/api/feed", self.feed, Role.MEMBER),
            Route("POST", "/api/delete", self.delete, Role.MEMBER),
            Route("POST", "/api/undo", self.undo, Role.MEMBER),
            Route("POST", "/api/zip", self.zip, Role.MEMBER),
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
        if not KIND.fullmatch(kind):
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

    async def delete(self, request: web.Request) -> web.Response:
        """Delete jobs: they are gone at once, and come back with the answer's ``undo`` for as long as it says."""
        body = await self._bodies.json(request, DeleteBody)
        deletion = await self._studio.delete_jobs(actor_of(request), body.jobs, body.key)
        return web.json_response({"undo": deletion.token, "until": moment(deletion.until)})

    async def undo(self, request: web.Request) -> web.Response:
        """Undo a deletion; answers the cards of its jobs."""
        body = await self._bodies.json(request, UndoBody)
        actor = actor_of(request)
        cards = [await self._studio.card(actor, job) for job in await self._studio.undo_deletion(actor, body.undo)]
        return web.json_response({"cards": [card_json(card) for card in cards]})

    async def zip(self, request: web.Request) -> web.StreamResponse:
        """Return the files of pictures with how they were drawn, as a ZIP that is made while it is sent."""
        body = await self._bodies.json(request, ZipBody)
        wanted = [(job, index) for job, index in body.pictures]
        actor = actor_of(request)
        pictures = await self._studio.pictures_of(actor, wanted)
        if self._zips >= MOST_ZIPS:
            raise Unavailable("unavailable.web.zips", wait=ZIP_WAIT_SECONDS)
        self._zips += 1
        try:
            with self._own_zips.hold(actor):
                return await send_zip(request, ZIP_NAME, pictures)
        finally:
            self._zips -= 1

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
