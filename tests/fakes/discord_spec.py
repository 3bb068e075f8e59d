"""Checks bodies against Discord's own OpenAPI description, and against limits that it does not state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

EMBED_CHARS = 6000
"""All text of all embeds of one message together."""
LAYOUT_COMPONENTS, LAYOUT_CHARS = 40, 4000
"""Components, and all text of them, of one message with the flag IS_COMPONENTS_V2."""
IS_COMPONENTS_V2 = 1 << 15
ACTION_ROW, BUTTON, TEXT_DISPLAY, THUMBNAIL, MEDIA_GALLERY, FILE = 1, 2, 10, 11, 12, 13


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
    if problems := _problems(method, path, json.dumps(body)):
        raise Invalid(list(problems))


@lru_cache(maxsize=64)
def _problems(method: str, path: str, body: str) -> tuple[str, ...]:
    """Return the problems of a body in JSON. Kept: every client registers the same commands, which take long to check."""
    errors = _validator(method, path).iter_errors(json.loads(body))
    return tuple(f"{e.json_path}: {e.message[:300]}" for e in errors)


def check_message(data: dict[str, Any], filenames: set[str], *, creates: bool, v2: bool = False) -> None:
    """Raise Invalid for what the API refuses in a message beyond its description.

    Args:
        data: The message's part of the body, with what the message keeps of before.
        filenames: Names of the attachments that the message has after this request.
        creates: Whether it makes a new message, which can't be empty.
        v2: Whether it has the flag IS_COMPONENTS_V2, now or since an earlier request.
    """
    components = data.get("components") or []
    problems = [*_embed_problems(data.get("embeds") or [], filenames)]
    if v2:
        problems += _layout_problems(data, components, filenames)
    else:
        problems += _row_problems(components)
    if creates and not (data.get("content") or data.get("embeds") or filenames or components):
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


def nested(components: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All components of a message, outer ones first, in the order of reading."""
    for component in components:
        yield component
        inner = [*component.get("components", []), *filter(None, [component.get("accessory")])]
        yield from nested(inner)


def _layout_problems(data: dict[str, Any], components: list[dict[str, Any]], filenames: set[str]) -> Iterator[str]:
    for old in ("content", "embeds", "poll", "sticker_ids"):
        if data.get(old):
            yield f"$.{old}: can't be used with IS_COMPONENTS_V2 (MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2)"
    every = list(nested(components))
    if not every:
        yield "$.components: Cannot send an empty message (50006)"
    if len(every) > LAYOUT_COMPONENTS:
        yield f"$.components: {len(every)} components; at most {LAYOUT_COMPONENTS} in a message"
    characters = sum(len(c["content"]) for c in every if c["type"] == TEXT_DISPLAY)
    if characters > LAYOUT_CHARS:
        yield f"$.components: {characters} characters of text; at most {LAYOUT_CHARS} in a message"
    shown = [item["media"]["url"] for c in every if c["type"] == MEDIA_GALLERY for item in c["items"]]
    shown += [c["file"]["url"] for c in every if c["type"] == FILE] + [
        c["media"]["url"] for c in every if c["type"] == THUMBNAIL
    ]
    names = {url.removeprefix("attachment://") for url in shown if url.startswith("attachment://")}
    yield from (f"$.components: {name} is not attached" for name in names - filenames)
    # It would be stored and shown nowhere.
    yield from (f"$.attachments: no component shows {name}" for name in filenames - names)
    yield from _row_problems([c for c in every if c["type"] == ACTION_ROW], rows=LAYOUT_COMPONENTS)


def _row_problems(components: list[dict[str, Any]], rows: int = 5) -> Iterator[str]:
    seen: set[str] = set()
    if len(components) > rows:
        yield f"$.components: Must be {rows} or fewer in length"
    for i, row in enumerate(components):
        if row["type"] != ACTION_ROW:
            yield f"$.components[{i}]: type {row['type']} needs the flag IS_COMPONENTS_V2"
            continue
        inner = row.get("components", [])
        if not 1 <= len(inner) <= 5:
            yield f"$.components[{i}]: Must be between 1 and 5 in length"
        for j, component in enumerate(inner):
            custom_id = component.get("custom_id")
            if custom_id in seen:
                yield f"$.components[{i}].components[{j}]: Component custom id cannot be duplicated"
            seen.add(str(custom_id))
            if component["type"] == BUTTON and not (component.get("label") or component.get("emoji")):
                yield f"$.components[{i}].components[{j}]: A label or emoji is required"
