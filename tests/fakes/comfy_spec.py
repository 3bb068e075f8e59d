"""Checks requests, answers and messages against Easel's description of a ComfyUI server."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator


class Invalid(AssertionError):
    """A body that a real server would not take, or would not send; it names a place and its fault."""


@cache
def _document() -> dict[str, Any]:
    path = Path(__file__).parent / "specs" / "comfyui-api.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


@cache
def _validator(part: str, name: str) -> Draft202012Validator:
    document = _document()
    return Draft202012Validator({"allOf": [document[part][name]], "$defs": document["$defs"]})


def check(part: str, name: str, body: Any) -> Any:
    """Return the body.

    Args:
        part: ``requests``, ``answers`` or ``messages``.
        name: A route such as ``POST /prompt``, or the type of a message.
        body: What was sent.

    Raises:
        Invalid: It does not fit the description.
        KeyError: The description has no such part.
    """
    problems = [f"{error.json_path}: {error.message[:300]}" for error in _validator(part, name).iter_errors(body)]
    if problems:
        raise Invalid(f"{part} {name}: {'; '.join(problems)}")
    return body
