"""Errors as OpenAI's clients read them: a message, a type, the parameter and a code."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from adapters.web.errors import Unauthorized
from adapters.web.following import STOPPING
from bot.core.errors import BadInput, Conflict, Moderated, NotFound, OverQuota, Refusal

PREFIX = "/v1/"

_PARAMETERS: Mapping[str, str] = {
    "prompt": "prompt",
    "size": "size",
    "count": "n",
    "model": "model",
    "image": "image",
    "references": "image",
    "mask": "mask",
    "seed": "seed",
    "steps": "steps",
    "guidance": "guidance",
    "negative": "negative_prompt",
    "style": "style",
    "strength": "strength",
    "sampler": "sampler",
    "lora": "lora",
    "clip_skip": "clip_skip",
    "control": "control",
    "control_weight": "control_weight",
}
"""The parameter that a refusal is about, by the second part of its key."""

_UNKNOWN_MODEL = "refusal.model.unknown"


class BadParameter(BadInput):
    """A parameter is unknown, missing, or has a wrong value.

    Attributes:
        parameter: Its name.
        code: OpenAI's code, such as ``unknown_parameter``.
    """

    def __init__(self, parameter: str, code: str, problem: str) -> None:
        super().__init__("refusal.web.body", problem=problem)
        self.parameter = parameter
        self.code = code


class ContentRejected(BadInput):
    """Every picture was drawn and then rejected by moderation."""


def answer(refusal: Refusal, sentence: str, status: int) -> web.Response:
    """Return the answer to a refusal. OpenAI's clients expect status 404 for an unknown model."""
    status = 404 if refusal.key == _UNKNOWN_MODEL else status
    # These clients repeat a request after 409, 429 and 503. These refusals would be the same again, or the job goes on
    # and would be drawn twice.
    final = isinstance(refusal, Conflict | OverQuota) or refusal.key == STOPPING
    headers = {"x-should-retry": "false"} if final else {}
    return web.json_response(error_body(refusal, sentence, status), status=status, headers=headers)


def error_body(refusal: Refusal, sentence: str, status: int) -> dict[str, object]:
    """Return the body of an error."""
    kind, code = _kind(refusal, status)
    parameter = refusal.parameter if isinstance(refusal, BadParameter) else _parameter(refusal.key)
    return {"error": {"message": sentence, "type": kind, "param": parameter, "code": code}}


def _kind(refusal: Refusal, status: int) -> tuple[str, str]:
    """Return type and code. A refusal without a code of OpenAI's has its key as the code."""
    match refusal:
        case BadParameter():
            return "invalid_request_error", refusal.code
        case Moderated() | ContentRejected():
            return "image_generation_user_error", "moderation_blocked"
        case OverQuota():
            return "insufficient_quota", "insufficient_quota"
        case Unauthorized():
            return "invalid_request_error", "invalid_api_key"
        case Conflict():
            return "invalid_request_error", "idempotency_key_reused"
        case NotFound():
            return "invalid_request_error", "not_found"
    if refusal.key == _UNKNOWN_MODEL:
        return "invalid_request_error", "model_not_found"
    if status == 429:
        return "requests", "rate_limit_exceeded"
    return ("server_error" if status >= 500 else "invalid_request_error"), refusal.key


def _parameter(key: str) -> str | None:
    area, _, rest = key.partition(".")
    return _PARAMETERS.get(rest.partition(".")[0]) if area == "refusal" else None
