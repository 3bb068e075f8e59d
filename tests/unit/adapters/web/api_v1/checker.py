"""Checks answers against the OpenAPI document that the API itself gives."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

from tests.unit.adapters.web.harness import Json, WebHarness


class Documented:
    """Calls an API and checks each answer against its document."""

    def __init__(self, app: WebHarness, document: Json) -> None:
        self._app = app
        self.document = document
        self.called: set[tuple[str, str]] = set()

    @classmethod
    async def of(cls, app: WebHarness) -> Documented:
        """Fetch the document and return the checker."""
        status, document = await app.get("/api/v1/openapi.json")
        assert status == 200
        return cls(app, document)

    async def call(self, method: str, path: str, template: str = "", **how: Any) -> tuple[int, Json]:
        """Send a request; returns status and JSON (empty where there is none)."""
        entry = self.document["paths"][template or path][method.lower()]
        self.called.add((method, template or path))
        async with self._app.client.request(method, f"/{path.lstrip('/')}", **how) as response:
            body: Json = await response.json() if response.content_type == "application/json" else {}
        described = entry["responses"].get(str(response.status), entry["responses"]["default"])
        content = described.get("content", {}).get("application/json")
        if content is None:
            assert not body
        else:
            schema = {**content["schema"], "components": self.document["components"]}
            Draft202012Validator(schema).validate(body)
        return response.status, body
