"""The HTTP handlers of inspection: what a picture's file says of itself, and this Easel's root certificate."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from adapters.web.identity import actor_of, identity_of, role_of
from adapters.web.render import Json, facts_json, fitted_json
from adapters.web.request_checks import BodyReader
from adapters.web.routes import Role, Route
from bot.core.errors import NotFound
from bot.core.inspection import MAX_FILE
from bot.studio import InspectionAnswer, Studio

VIEW = "/#inspect"
"""Where the page shows what files say."""


class InspectionHandlers:
    """Handlers of inspection. Errors are raised as Refusals."""

    def __init__(self, studio: Studio, bodies: BodyReader) -> None:
        self._studio = studio
        self._bodies = bodies

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("GET", "/inspect", self.view, Role.MEMBER),
            Route("POST", "/api/inspect", self.inspect, Role.MEMBER),
            Route("GET", "/provenance/root.pem", self.root, Role.ANYONE),
        ]

    async def view(self, request: web.Request) -> web.Response:
        """Lead to the page's view; its language stays."""
        # As it was sent: decoded, it could hold the end of a header's line.
        sent = request.rel_url.raw_query_string
        query = f"?{sent}" if sent else ""
        return web.Response(status=302, headers={"Location": f"/{query}{VIEW.removeprefix('/')}"})

    async def inspect(self, request: web.Request) -> web.Response:
        """Say what a file says of itself: a multipart body with the field ``file``, of at most MAX_FILE bytes.

        ``own`` is null for those who may not know; ``form`` and ``tool`` are as ``/api/parameters`` answers them.
        """
        actor = replace(actor_of(request), is_admin=role_of(identity_of(request)) >= Role.ADMIN)
        async with self._bodies.file(request, MAX_FILE) as data:
            answer = await self._studio.inspect(actor, data)
        return web.json_response(inspection_json(answer))

    async def root(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        """Return the root certificate. Raises NotFound."""
        found = await self._studio.root_certificate()
        if found is None:
            raise NotFound("refusal.web.root")
        return web.Response(
            body=found,
            content_type="application/x-pem-file",
            headers={"Content-Disposition": 'attachment; filename="root.pem"', "Cache-Control": "no-cache"},
        )


def inspection_json(answer: InspectionAnswer) -> Json:
    """Return what a file says as JSON, in words and as values."""
    words, form = answer.words, answer.form
    return {
        "status": words.status,
        "marked": answer.found.is_marked,
        "faulty": answer.found.is_faulty,
        "seal": answer.found.seal.state.value,
        "own": None if answer.own is None else answer.own.value,
        "verified": facts_json(words.verified),
        "claimed": facts_json(words.claimed),
        "recipe": facts_json(words.recipe),
        "prompt": words.prompt,
        "problems": list(words.problems),
        "about": list(words.notes),
        "tool": None if form is None else form.tool,
        "form": {} if form is None else fitted_json(form),
        "notes": [] if form is None else list(form.notes),
    }
