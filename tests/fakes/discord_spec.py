"""Checks bodies against Discord's own OpenAPI description, and against limits that it does not state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

EMBED_CHARS = 6000
"""All text of all embeds of one message together."""


class Invalid(Exception):
    """A body that the real API would refuse; each line names a place and its fault."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@cache
def _document() -> dict[str, Any]:
    path = Path(__file__).parent / "specs" / "discord-openapi.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    # The one exception: the description types ids as strings, but discord.py sends several as numbers (attachments,
    # allowed mentions, recipients), and the real API takes both.
    snowflake = document["components"]["schemas"]["SnowflakeType"]
    document["components"]["schemas"]["SnowflakeType"] = {"anyOf": [snowflake, {"type": "integer", "minimum": 0}]}
    return document


@cache
def _validator(method: str, path: str) -> Draft202012Validator:
    document = _document()
    content = document["paths"][path][method.lower()]["requestBody"]["content"]
    schema = content["application/json"]["schema"]
    return Draft202012Validator({"allOf": [schema], "components": document["components"]})


def check(method: str, path: str, body: Any) -> None:
    """Raise Invalid unless ``body`` fits what the description says of ``method path`` (a templated path)."""
    problems = [f"{e.json_path}: {e.message[:300]}" for e in _validator(method, path).iter_errors(body)]
    if problems:
        raise Invalid(problems)


def check_message(data: dict[str, Any], filenames: set[str], *, creates: bool) -> None:
    """Raise Invalid for what the API refuses in a message beyond its description.

    Args:
        data: The message's part of the body.
        filenames: Names of the attachments that the message has after this request.
        creates: Whether it makes a new message, which can't be empty.
    """
    problems = [
        *_embed_problems(data.get("embeds") or [], filenames),
        *_component_problems(data.get("components") or []),
    ]
    if creates and not (data.get("content") or data.get("embeds") or filenames or data.get("components")):
        problems.append("$: Cannot send an empty message (50006)")
    if problems:
        raise Invalid(problems)


def _embed_problems(embeds: list[dict[str, Any]], filenames: set[str]) -> Iterator[str]:
    total = 0
    for i, embed in enumerate(embeds):
        texts = [embed.get("title"), embed.get("description")]
        texts += [(embed.get("footer") or {}).get("text"), (embed.get("author") or {}).get("name")]
        for field in embed.get("fields") or []:
            if not str(field["name"]).strip() or not str(field["value"]).strip():
                yield f"$.embeds[{i}].fields: This field is required"
            texts += [field["name"], field["value"]]
        total += sum(len(t) for t in texts if t)
        url = str((embed.get("image") or {}).get("url", ""))
        if url.startswith("attachment://") and url.removeprefix("attachment://") not in filenames:
            yield f"$.embeds[{i}].image: {url} is not attached"
    if total > EMBED_CHARS:
        yield f"$.embeds: Embed size exceeds maximum size of {EMBED_CHARS}"


def _component_problems(rows: list[dict[str, Any]]) -> Iterator[str]:
    seen: set[str] = set()
    if len(rows) > 5:
        yield "$.components: Must be 5 or fewer in length"
    for i, row in enumerate(rows):
        buttons = row.get("components", [])
        if not 1 <= len(buttons) <= 5:
            yield f"$.components[{i}]: Must be between 1 and 5 in length"
        for j, button in enumerate(buttons):
            custom_id = button.get("custom_id")
            if custom_id in seen:
                yield f"$.components[{i}].components[{j}]: Component custom id cannot be duplicated"
            seen.add(str(custom_id))
            if not (button.get("label") or button.get("emoji")):
                yield f"$.components[{i}].components[{j}]: A label or emoji is required"
