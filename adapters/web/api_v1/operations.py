"""Operations of the API: each is a route and its entry in the OpenAPI document, so that neither lacks the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from aiohttp import hdrs
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from adapters.web.api_v1.schemas import RefusedAnswer, Schema
from adapters.web.routes import Handler, Role, Route

_REF = "#/components/schemas/{model}"
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the path, the query or the headers; ``schema`` is its JSON schema."""

    name: str
    place: str
    about: str
    schema: Mapping[str, object]

    def described(self) -> dict[str, object]:
        """Return its entry in the document."""
        return {
            "name": self.name,
            "in": self.place,
            "required": self.place == "path",
            "description": self.about,
            "schema": dict(self.schema),
        }


@dataclass(frozen=True, slots=True)
class Operation:
    """A method and a path.

    Attributes:
        method: ``GET``, ``POST`` or ``DELETE``.
        path: With ``{name}`` for its variable parts.
        handler: What answers.
        summary: One sentence.
        answer: What a success holds; None where it is no JSON.
        content: The type of a success that is no JSON; empty where it has no body.
        status: The status of a success.
        body: What the request holds; None for nothing.
        parameters: Its parameters.
        about: More about it.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answer: type[Schema] | None = None
    content: str = ""
    status: int = 200
    body: type[Schema] | None = None
    parameters: tuple[Parameter, ...] = ()
    about: str = ""

    @property
    def route(self) -> Route:
        """Its route."""
        streams = self.content == "text/event-stream"
        return Route(self.method, self.path, self.handler, Role.MEMBER, allow_head=not streams)


def document(operations: Sequence[Operation]) -> dict[str, object]:
    """Return the OpenAPI document (3.1) of these operations."""
    used: dict[tuple[type[Schema], JsonSchemaMode], None] = {(RefusedAnswer, "serialization"): None}
    for one in operations:
        if one.body is not None:
            used[one.body, "validation"] = None
        if one.answer is not None:
            used[one.answer, "serialization"] = None
    schemas, definitions = models_json_schema(list(used), ref_template=_REF)
    paths: dict[str, dict[str, object]] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _entry(one, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Easel",
            "version": version("easel"),
            "description": "Draws pictures. Keys: `easel key create`, sent as `Authorization: Bearer easel-...`.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _entry(one: Operation, schemas: Mapping[tuple[type, JsonSchemaMode], object]) -> dict[str, object]:
    success: dict[str, object] = {"description": one.summary}
    if one.answer is not None:
        success["content"] = {_JSON: {"schema": schemas[one.answer, "serialization"]}}
    elif one.content:
        success["content"] = {one.content: {"schema": {"type": "string"}}}
    refused = {
        "description": "It was refused; the key says why.",
        "content": {_JSON: {"schema": schemas[RefusedAnswer, "serialization"]}},
    }
    entry: dict[str, object] = {
        "operationId": one.handler.__name__.strip("_"),
        "summary": one.summary,
        "parameters": [parameter.described() for parameter in one.parameters],
        "responses": {str(one.status): success, "default": refused},
    }
    if one.about:
        entry["description"] = one.about
    if one.body is not None:
        entry["requestBody"] = {
            "required": True,
            "content": {_JSON: {"schema": schemas[one.body, "validation"]}},
        }
    return entry


WHOLE: Mapping[str, object] = {"type": "integer", "minimum": 0}
JOB = Parameter("job", "path", "The job.", WHOLE)
INDEX = Parameter("index", "path", "The picture, from 0.", WHOLE)
WAIT = Parameter(
    "wait", "query", "Seconds, up to 60, for which the answer waits until the job has ended.", {"type": "number"}
)
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "header",
    "Names the request: the same key is one job, and with another body it is refused with status 409.",
    {"type": "string", "minLength": 1, "maxLength": 255},
)

GET, POST, DELETE = hdrs.METH_GET, hdrs.METH_POST, hdrs.METH_DELETE
