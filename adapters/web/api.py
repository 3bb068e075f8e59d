"""The page's JSON API: draw, press, look at a job, look back."""

from __future__ import annotations

import asyncio
import base64
from importlib.metadata import version
from typing import Annotated, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.web.faults import MAX_BODY, limit_of
from adapters.web.identity import PLACE, actor_of, locale_of, ref_of
from adapters.web.live import Streams
from adapters.web.render import card_json, engine_json, profile_json, shown
from bot.model.actions import Press
from bot.model.errors import BadInput, NotFound
from bot.model.requests import DrawForm
from bot.studio import Studio

MAX_COUNT = 16
"""Most pictures in one request on the page."""

MAX_PICTURE = 32 * 2**20
"""Bytes of a picture to start from that the page sends: in base64 it fits the largest body."""

MAX_PAGE = 48
_MAX_ID = 2**63 - 1

Form = TypeVar("Form", bound=BaseModel)
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{8,64}$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class DrawBody(_Body):
    """A request as it was typed; ``key`` names it, so that a request sent twice is one job.

    ``image`` is the file of a picture to start from in base64, ``mask`` that of what to draw anew in it.
    """

    key: Key
    prompt: str
    size: str | None = None
    count: str | None = None
    seed: str | None = None
    steps: str | None = None
    guidance: str | None = None
    negative: str | None = None
    model: str | None = None
    style: str | None = None
    strength: str | None = None
    image: str | None = Field(default=None, repr=False)
    mask: str | None = Field(default=None, repr=False)


class PressBody(_Body):
    """A button of a card."""

    key: Key
    id: str


class Api:
    """Handlers over Studio; what is wrong is raised as a Refusal."""

    def __init__(self, studio: Studio, streams: Streams) -> None:
        self._studio = studio
        self._streams = streams

    def routes(self) -> list[web.RouteDef]:
        """Every address of the API."""
        return [
            web.get("/api/info", self.info),
            web.post("/api/draw", self.draw),
            web.post("/api/press", self.press),
            web.get("/api/jobs/{job}", self.card),
            web.get("/api/jobs/{job}/events", self.events, allow_head=False),
            web.get("/api/jobs/{job}/preview/{index}", self.preview, allow_head=False),
            web.get("/api/history", self.history),
            web.get("/api/quota", self.quota),
            web.get("/pictures/{job}/{index}.png", self.picture),
        ]

    async def info(self, request: web.Request) -> web.Response:
        """What the form needs: models, limits, the engine's state, and the page's texts."""
        locale = locale_of(request)
        models = [profile_json(profile) for profile in self._studio.profiles()]
        return web.json_response(
            {
                "version": version("easel"),
                "lang": locale.replace("_", "-"),
                "model": models[0],
                "models": models,
                "max_count": MAX_COUNT,
                "max_picture": MAX_PICTURE,
                "engine": engine_json(self._studio, locale),
                "texts": self._studio.texts("web.", locale),
            }
        )

    async def draw(self, request: web.Request) -> web.Response:
        """Admit a request; 201 with its card."""
        body = await _body(request, DrawBody)
        form = _form(body) if body.image is None and body.mask is None else await asyncio.to_thread(_form, body)
        admitted = await self._studio.draw(actor_of(request), PLACE, form, ref_of(body.key))
        return web.json_response({"card": card_json(admitted.card)}, status=201)

    async def press(self, request: web.Request) -> web.Response:
        """A button: a new job's card, the same card looking different, or a sentence."""
        body = await _body(request, PressBody)
        what = Press.unpack(body.id)
        if what is None:
            raise BadInput("refusal.web.button")
        pressed = await self._studio.press(actor_of(request), PLACE, what, ref_of(body.key))
        return web.json_response(
            {
                "new": card_json(pressed.new.card) if pressed.new else None,
                "card": card_json(pressed.card) if pressed.card else None,
                "notice": pressed.notice,
            }
        )

    async def card(self, request: web.Request) -> web.Response:
        """A job's card as it is now."""
        card = await self._studio.card(actor_of(request), _number(request, "job"))
        return web.json_response({"card": card_json(card)})

    async def events(self, request: web.Request) -> web.StreamResponse:
        """A job's card now and after each change; whoever follows it looks at its previews."""
        cards = self._studio.watch(actor_of(request), _number(request, "job"), previews=True)
        return await self._streams.send(request, cards)

    async def preview(self, request: web.Request) -> web.Response:
        """How a picture looks so far; 204 where nothing is known (any more): the picture itself may have come meanwhile."""
        seen = await self._studio.preview(actor_of(request), _number(request, "job"), _number(request, "index"))
        if seen is None:
            return web.Response(status=204)
        return web.Response(body=seen.data, content_type=seen.mime, headers={"Cache-Control": "private, no-store"})

    async def history(self, request: web.Request) -> web.Response:
        """One's own last jobs, newest first; with ``q``, those with pictures that a search finds."""
        before = _query(request, "before", None, _MAX_ID)
        limit = _query(request, "limit", 24, MAX_PAGE)
        assert limit is not None
        # One more than is shown tells whether there are older ones.
        query = request.query.get("q", "").strip() or None
        cards = await self._studio.items(actor_of(request), before, limit + 1, query)
        return web.json_response({"cards": [card_json(card) for card in cards[:limit]], "older": len(cards) > limit})

    async def quota(self, request: web.Request) -> web.Response:
        """What is left."""
        return web.json_response({"card": card_json(await self._studio.quota_show(actor_of(request), PLACE))})

    async def picture(self, request: web.Request) -> web.StreamResponse:
        """A picture's file, as it is kept: to look at, or to download under its own name."""
        file = await self._studio.picture(actor_of(request), _number(request, "job"), _number(request, "index"))
        how = "attachment" if "download" in request.query else "inline"
        return web.FileResponse(
            file.path,
            headers={
                "Content-Type": file.mime,
                "Content-Disposition": f'{how}; filename="{file.name}"',
                # Asked for anew each time (cheap, by ETag): another data folder counts its jobs from 1 again.
                "Cache-Control": "private, no-cache",
            },
        )


def _form(body: DrawBody) -> DrawForm:
    fields = body.model_dump(exclude={"key", "image", "mask"})
    return DrawForm(**fields, image=_file("image", body.image), mask=_file("mask", body.mask))


def _file(name: str, text: str | None) -> bytes | None:
    if text is None:
        return None
    # What browsers make of a file or a canvas begins with its kind, which nobody believes anyway.
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise BadInput("refusal.web.body", problem=f"{name}: base64") from None


async def _body(request: web.Request, form: type[Form]) -> Form:
    if request.content_type != "application/json":
        raise BadInput("refusal.web.body", problem="Content-Type: application/json")
    try:
        # Cloned, since a limit is the whole application's otherwise.
        sent = await request.clone(client_max_size=limit_of(request)).read()
        # Pictures take long to read: for a thread, where there are any.
        return (
            form.model_validate_json(sent)
            if len(sent) <= MAX_BODY
            else await asyncio.to_thread(form.model_validate_json, sent)
        )
    except web.RequestPayloadError as error:
        raise BadInput("refusal.web.body", problem=shown(str(error))) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        # A field that nobody knows may have any name, of any length.
        problem = f"{shown(where)}: {first['msg']}" if where else first["msg"]
        raise BadInput("refusal.web.body", problem=problem.rstrip(".")) from None


def _number(request: web.Request, name: str) -> int:
    number = _whole(request.match_info[name])
    if number is None:
        raise NotFound("refusal.web.not_found")
    return number


def _query(request: web.Request, name: str, default: int | None, most: int) -> int | None:
    text = request.query.get(name)
    if text is None:
        return default
    number = _whole(text)
    if number is None or not 1 <= number <= most:
        raise BadInput("refusal.web.body", problem=f"{name}: 1 … {most}")
    return number


def _whole(text: str) -> int | None:
    """Read a whole number that SQLite can hold; None when it is none."""
    # Nothing longer is read: Python itself refuses very long ones.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_ID))):
        return None
    return number if (number := int(text)) <= _MAX_ID else None
