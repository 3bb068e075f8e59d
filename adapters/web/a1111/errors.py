"""Errors of A1111's API: ``detail`` holds the sentence, as FastAPI and A1111 write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiohttp import hdrs, web

from bot.core.errors import BadInput, Refusal

PREFIX = "/sdapi/"
"""Addresses whose errors have this form."""

_FIELDS: Mapping[str, str] = {
    "clip_skip": "override_settings",
    "control": "alwayson_scripts",
    "count": "batch_size",
    "guidance": "cfg_scale",
    "image": "init_images",
    "lora": "prompt",
    "mask": "mask",
    "model": "override_settings",
    "negative": "negative_prompt",
    "prompt": "prompt",
    "references": "init_images",
    "sampler": "sampler_name",
    "seed": "seed",
    "size": "width",
    "steps": "steps",
    "strength": "denoising_strength",
    "style": "styles",
    "words": "prompt",
}
"""A1111's fields by the part of a refusal's key that says what it is about."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """A wrong field, as pydantic describes it."""

    type: str
    loc: tuple[str | int, ...]
    msg: str
    input: object = None


class InvalidBody(BadInput):
    """The body has wrong fields; each is a FieldProblem."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        first = problems[0]
        super().__init__("refusal.web.body", problem=f"{'.'.join(str(part) for part in first.loc[1:])}: {first.msg}")
        self.problems = problems


def error_form(refusal: Refusal, sentence: str, status: int) -> web.Response:
    """Return a refusal as A1111's clients read it. What is wrong with a body has status 422."""
    detail: object = sentence
    if status == 400:
        status, detail = 422, [_entry(problem) for problem in _problems(refusal, sentence)]
    answer = web.json_response({"error": type(refusal).__name__, "detail": detail, "errors": sentence}, status=status)
    if status == 401:
        answer.headers[hdrs.WWW_AUTHENTICATE] = 'Basic realm="Easel: any user, an API key as the password"'
    return answer


def _problems(refusal: Refusal, sentence: str) -> Sequence[FieldProblem]:
    if isinstance(refusal, InvalidBody):
        return refusal.problems
    parts = refusal.key.split(".")
    field = _FIELDS.get(parts[1]) if len(parts) > 1 else None
    return [FieldProblem("value_error", ("body",) if field is None else ("body", field), sentence)]


def _entry(problem: FieldProblem) -> dict[str, object]:
    return {"type": problem.type, "loc": list(problem.loc), "msg": problem.msg, "input": problem.input}
