"""Handlers of what there is: models, styles, LoRAs, the quota and the engine; the OpenAPI document and its page."""

from __future__ import annotations

import json
from collections.abc import Sequence

from aiohttp import web

from adapters.web.api_v1.answers import lora_answers, model_answer, quota_answer
from adapters.web.api_v1.docs_page import page_of
from adapters.web.api_v1.operations import GET, Operation, document
from adapters.web.api_v1.schemas import (
    EngineAnswer,
    LoraList,
    ModelList,
    QuotaAnswer,
    Schema,
    StyleAnswer,
    StyleList,
)
from adapters.web.identity import actor_of, place_of
from adapters.web.routes import Role, Route
from bot.studio import Studio


class CatalogueHandlers:
    """Handlers that change nothing."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def operations(self) -> list[Operation]:
        """Return the operations."""
        return [
            Operation(GET, "/api/v1/models", self.list_models, "List the models that you may use.", ModelList),
            Operation(GET, "/api/v1/styles", self.list_styles, "List the styles.", StyleList),
            Operation(GET, "/api/v1/loras", self.list_loras, "List the LoRAs.", LoraList),
            Operation(GET, "/api/v1/quota", self.read_quota, "Read what is left of your quota.", QuotaAnswer),
            Operation(
                GET, "/api/v1/engine", self.read_engine, "Read the state of the engine and the queue.", EngineAnswer
            ),
        ]

    async def list_models(self, request: web.Request) -> web.Response:
        """Return the models; the first is the one of requests that name none."""
        found = await self._studio.models_of(actor_of(request), place_of(request))
        return _json(ModelList(models=[model_answer(profile) for profile in found]))

    async def list_styles(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        """Return the styles."""
        found = self._studio.style_templates()
        return _json(StyleList(styles=[StyleAnswer(name=n, prompt=p, negative=q) for n, p, q in found]))

    async def list_loras(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        """Return the LoRAs."""
        return _json(LoraList(loras=lora_answers(self._studio.loras())))

    async def read_quota(self, request: web.Request) -> web.Response:
        """Return what is left."""
        actor, place = actor_of(request), place_of(request)
        card = await self._studio.quota_show(actor, place)
        return _json(quota_answer(await self._studio.quota(actor, place), card.status))

    async def read_engine(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        """Return the state of the engine and the queue."""
        state = self._studio.engine()
        return _json(
            EngineAnswer(
                phase=state.phase.value,
                device=state.device,
                precision=state.precision,
                waiting=self._studio.load().waiting,
            )
        )


def _json(answer: Schema) -> web.Response:
    return web.Response(text=answer.model_dump_json(), content_type="application/json")


class DocumentHandlers:
    """Handlers of the OpenAPI document and of the page that shows it. Both are made once."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        described = document(operations)
        self._document = json.dumps(described)
        self._page = page_of(described)

    def routes(self) -> list[Route]:
        """Return the routes. Everybody may read them: they say nothing about this Easel but its version."""
        return [
            Route("GET", "/api/v1/openapi.json", self.document, Role.ANYONE),
            Route("GET", "/api/v1/docs", self.page, Role.ANYONE),
        ]

    async def document(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        """Return the OpenAPI document."""
        return web.Response(text=self._document, content_type="application/json")

    async def page(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        """Return the page."""
        return web.Response(text=self._page, content_type="text/html")
