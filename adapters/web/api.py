"""The HTTP handlers: the page's JSON API, its files, the pages of export links, and the endpoints for operators."""

from __future__ import annotations

import asyncio
import re
from html import escape
from importlib.metadata import version
from typing import TypeVar

from aiohttp import hdrs, web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from adapters.web.account import account_json
from adapters.web.errors import RangeRefused
from adapters.web.identity import actor_of, identity_of, locale_of, place_of, ref_of, role_of
from adapters.web.render import card_json, connection_json, engine_json, fitted_json, lora_json, profile_json
from adapters.web.request_checks import MAX_JSON, MAX_MULTIPART, MAX_PICTURE, BodyReader, PressBody, digest
from adapters.web.routes import Role, Route
from adapters.web.sse import EventStreams
from adapters.web.static_files import StaticFiles
from bot.core.cards import ButtonPress, Card
from bot.core.errors import BadInput, NotFound
from bot.core.inspection import MAX_FILE
from bot.core.people import Actor
from bot.core.requests import MAX_LORAS
from bot.studio import Studio

MAX_PAGE = 48

MAX_FOLLOWED = 200
"""Most jobs in the list of unfinished jobs."""

MAX_ID = 2**63 - 1

READY_SECONDS = 4.0
"""Seconds until a check counts as failed; probes usually wait five."""


class Api:
    """Handlers that call Studio. Errors are raised as Refusals."""

    def __init__(self, studio: Studio, streams: EventStreams, bodies: BodyReader) -> None:
        self._studio = studio
        self._streams = streams
        self._bodies = bodies

    def routes(self) -> list[Route]:
        """Return the API's routes."""
        return [
            Route("GET", "/api/info", self.info, Role.MEMBER),
            Route("POST", "/api/draw", self.draw, Role.MEMBER),
            Route("POST", "/api/press", self.press, Role.MEMBER),
            Route("POST", "/api/parameters", self.parameters, Role.MEMBER),
            Route("GET", "/api/jobs/{job}", self.card, Role.MEMBER),
            Route("GET", "/api/jobs/{job}/events", self.events, Role.MEMBER, allow_head=False),
            Route("GET", "/api/jobs/{job}/preview/{index}", self.preview, Role.MEMBER, allow_head=False),
            Route("GET", "/api/unfinished", self.unfinished, Role.MEMBER),
            Route("GET", "/api/history", self.history, Role.MEMBER),
            Route("GET", "/api/quota", self.quota, Role.MEMBER),
            Route("GET", "/pictures/{job}/{index}.png", self.picture, Role.MEMBER),
        ]

    async def info(self, request: web.Request) -> web.Response:
        """Return what the form needs: models, limits, the engine's state, and the page's texts."""
        locale = locale_of(request)
        models = [profile_json(profile) for profile in self._studio.profiles()]
        return web.json_response(
            {
                "version": version("easel"),
                "lang": locale.replace("_", "-"),
                "model": models[0],
                "models": models,
                "styles": self._studio.styles(),
                "loras": [lora_json(lora) for lora in self._studio.loras()],
                "max_count": self._studio.max_count(actor_of(request)),
                "account": account_json(self._studio, request),
                "max_loras": MAX_LORAS,
                "max_picture": MAX_PICTURE,
                "max_file": MAX_FILE,
                "max_upload": MAX_MULTIPART - MAX_JSON,
                "edit_model": self._studio.edit_model(),
                "engine": engine_json(self._studio, locale),
                "texts": self._studio.texts("web.", locale),
            }
        )

    async def draw(self, request: web.Request) -> web.Response:
        """Admit a request; answers 201 with its card."""
        async with self._bodies.draw(request) as sent:
            actor = actor_of(request)
            ref = ref_of(actor, sent.fields.key, await sent.digest())
            admitted = await self._studio.draw(actor, place_of(request), sent.form(), ref)
        return web.json_response({"card": card_json(admitted.card)}, status=201)

    async def press(self, request: web.Request) -> web.Response:
        """Press a button: answers a new job's card, the updated card, a line to copy, a menu, or a notice."""
        body = await self._bodies.json(request, PressBody)
        what = ButtonPress.unpack(body.id)
        if what is None or what.action not in self._studio.commands.by_action:
            raise BadInput("refusal.web.button")
        actor = actor_of(request)
        ref = ref_of(actor, body.key, digest({"id": body.id}))
        pressed = await self._studio.press(actor, place_of(request), what, ref)
        # The page has a form of its own; of another one it gets the line.
        card = pressed.card if pressed.form is None else self._studio.typed_form(pressed.form, actor.locale)
        return web.json_response(
            {
                "new": card_json(await self._detailed(actor, pressed.new.card)) if pressed.new else None,
                "card": card_json(await self._detailed(actor, card)) if card else None,
                "menu": card_json(pressed.menu.card) if pressed.menu else None,
                "notice": pressed.notice,
            }
        )

    async def parameters(self, request: web.Request) -> web.Response:
        """Read a picture's parameters: answers values for the form, notes on what can't be applied, and the tool.

        Without parameters, ``tool`` is null and ``form`` empty.
        """
        actor = actor_of(request)
        async with self._bodies.file(request) as data:
            read = await self._studio.read_parameters(actor, data)
        if read is None:
            note = self._studio.text("parameters.none", actor.locale)
            return web.json_response({"form": {}, "notes": [note], "tool": None})
        return web.json_response({"form": fitted_json(read), "notes": list(read.notes), "tool": read.tool})

    async def _detailed(self, actor: Actor, card: Card) -> Card:
        """Return the card of the actor's own job with its details, and any other card as it is."""
        if card.job_id is None or card.details is not None or card.private:
            return card
        try:
            return await self._studio.card(actor, card.job_id)
        except NotFound:
            return card

    async def card(self, request: web.Request) -> web.Response:
        """Return a job's current card."""
        card = await self._studio.card(actor_of(request), number_of(request, "job"))
        return web.json_response({"card": card_json(card)})

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Stream a job's card now and after each change, with previews."""
        job = number_of(request, "job")
        cards = self._studio.watch(actor_of(request), job, previews=True)
        return await self._streams.send(request, cards)

    async def preview(self, request: web.Request) -> web.Response:
        """Return a picture's preview; 204 if there is none, or no longer one since the picture is finished."""
        seen = await self._studio.preview(actor_of(request), number_of(request, "job"), number_of(request, "index"))
        if seen is None:
            return web.Response(status=204)
        return web.Response(body=seen.data, content_type=seen.mime, headers={"Cache-Control": "private, no-store"})

    async def unfinished(self, request: web.Request) -> web.Response:
        """Return the owner's unfinished jobs: running ones first, then the oldest first."""
        cards = await self._studio.unfinished(actor_of(request), MAX_FOLLOWED)
        return web.json_response({"cards": [card_json(card) for card in cards]})

    async def history(self, request: web.Request) -> web.Response:
        """Return the owner's last jobs, newest first; ``q`` searches for jobs with pictures."""
        before = query_of(request, "before", None, MAX_ID)
        limit = query_of(request, "limit", 24, MAX_PAGE)
        # One more than shown, to know whether there are older ones.
        query = request.query.get("q", "").strip() or None
        cards = await self._studio.items(actor_of(request), before, limit + 1, query)
        return web.json_response({"cards": [card_json(card) for card in cards[:limit]], "older": len(cards) > limit})

    async def quota(self, request: web.Request) -> web.Response:
        """Return the remaining quota."""
        return web.json_response(
            {"card": card_json(await self._studio.quota_show(actor_of(request), place_of(request)))}
        )

    async def picture(self, request: web.Request) -> web.StreamResponse:
        """Return a picture's stored file, inline or as a download."""
        file = await self._studio.picture(actor_of(request), number_of(request, "job"), number_of(request, "index"))
        how = "attachment" if "download" in request.query else "inline"
        return web.FileResponse(
            file.path,
            headers={
                "Content-Type": file.mime,
                "Content-Disposition": f'{how}; filename="{file.name}"',
                # Revalidated each time (cheap, by ETag): another data folder has the same job ids.
                "Cache-Control": "private, no-cache",
            },
        )


def number_of(request: web.Request, name: str) -> int:
    """Return a number of the path. Raises NotFound if it is none."""
    number = _whole(request.match_info[name])
    if number is None:
        raise NotFound("refusal.web.not_found")
    return number


Default = TypeVar("Default", bound=int | None)


def query_of(request: web.Request, name: str, default: Default, most: int) -> int | Default:
    """Return a number of the query, 1 to ``most``, or the default. Raises BadInput."""
    text = request.query.get(name)
    if text is None:
        return default
    number = _whole(text)
    if number is None or not 1 <= number <= most:
        raise BadInput("refusal.web.body", problem=f"{name}: 1 … {most}")
    return number


def _whole(text: str) -> int | None:
    """Parse a whole number in SQLite's range; None if it is not one."""
    # Longer texts are rejected before int(), which raises for very long ones.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ID))):
        return None
    return number if (number := int(text)) <= MAX_ID else None


class PageHandlers:
    """Handlers for ``/``, ``/static``, ``/healthz``, ``/readyz`` and ``/metrics``."""

    def __init__(self, studio: Studio, registry: CollectorRegistry) -> None:
        self._studio = studio
        self._registry = registry
        self._files = StaticFiles()

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("GET", "/", self.page, Role.MEMBER),
            Route("GET", "/favicon.ico", self.icon, Role.ANYONE),
            Route("GET", "/static/{name}", self.static, Role.ANYONE),
            Route("GET", "/healthz", self.alive, Role.ANYONE),
            Route("GET", "/readyz", self.ready, Role.ANYONE),
            Route("GET", "/metrics", self.metrics, Role.OWNER),
        ]

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Return the page."""
        return self._files.answer(request, "index.html")

    async def static(self, request: web.Request) -> web.StreamResponse:
        """Return one of the page's scripts, styles or pictures. Raises NotFound."""
        return self._files.answer(request, request.match_info["name"])

    async def icon(self, request: web.Request) -> web.StreamResponse:
        """Return the icon, which browsers request here in any case."""
        return self._files.answer(request, "icon.svg")

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
        if role_of(identity_of(request)) is Role.OWNER:
            found["problems"] = list(problems)
            if devices := self._studio.device_problems():
                found["devices"] = devices
            if connections := self._studio.connections:
                found["connections"] = {name: connection_json(one) for name, one in connections.items()}
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

    def routes(self) -> list[Route]:
        """Return the routes. GET does not use up the link, the form's POST does."""
        return [
            Route("GET", "/exports/{token}", self.page, Role.ANYONE),
            Route("POST", "/exports/{token}", self.fetch, Role.ANYONE),
        ]

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
