"""The HTTP handlers for admins of a server or group: what holds there, the last changes, and a pause of drawing."""

from __future__ import annotations

import uuid
from typing import Literal

from aiohttp import web

from adapters.web.identity import admin_of, ref_of
from adapters.web.render import card_json
from adapters.web.request_checks import Body, BodyReader
from adapters.web.routes import Role, Route
from bot.commands.model import Invocation
from bot.core.cards import Card
from bot.studio import Studio


class PlaceStateBody(Body):
    """Whether the place may draw."""

    state: Literal["pause", "resume"]


class PlaceHandlers:
    """Handlers that act on the place whose admin has asked for a link there."""

    def __init__(self, studio: Studio, bodies: BodyReader) -> None:
        self._studio = studio
        self._bodies = bodies

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("GET", "/api/place", self.show, Role.ADMIN),
            Route("POST", "/api/place/state", self.set_state, Role.ADMIN),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """Return the place's name, what holds there and its last changes, as in the chat."""
        _, place = admin_of(request)
        limits, changes = await self._run(request, "easel limits"), await self._run(request, "easel changes")
        return web.json_response(
            {
                "name": place.name,
                "platform": place.platform,
                "limits": card_json(limits),
                "changes": card_json(changes),
            }
        )

    async def set_state(self, request: web.Request) -> web.Response:
        """Pause drawing in the place, or let it go on."""
        body = await self._bodies.json(request, PlaceStateBody)
        return web.json_response({"card": card_json(await self._run(request, f"easel {body.state}"))})

    async def _run(self, request: web.Request, name: str) -> Card:
        actor, place = admin_of(request)
        ref = ref_of(actor, str(uuid.uuid4()), "")
        return await self._studio.command(Invocation(actor, place, self._studio.commands.by_name[name], ref))
