"""The page of the API: the OpenAPI document as HTML without scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="/static/api.css">
</head>
<body>
<main>
<h1>{title}</h1>
<p>{about}</p>
<p><a href="/api/v1/openapi.json">openapi.json</a></p>
<h2>Operations</h2>
{operations}
<h2>Objects</h2>
{objects}
</main>
</body>
</html>
"""


def page_of(document: Mapping[str, Any]) -> str:
    """Return the page of an OpenAPI document."""
    info = document["info"]
    operations = "\n".join(
        _operation(method, path, entry)
        for path, entries in document["paths"].items()
        for method, entry in entries.items()
    )
    objects = "\n".join(_object(name, schema) for name, schema in document["components"]["schemas"].items())
    title = escape(f"{info['title']} {info['version']}: API")
    return _PAGE.format(title=title, about=_text(info["description"]), operations=operations, objects=objects)


def _operation(method: str, path: str, entry: Mapping[str, Any]) -> str:
    lines = [f"<p>{_text(entry['description'])}</p>"] if "description" in entry else []
    parameters = [(p["name"], f"{p['in']}, {_type(p['schema'])}", p["description"]) for p in entry["parameters"]]
    lines += _table("Parameters", parameters)
    if "requestBody" in entry:
        lines += _table("Request", list(_contents(entry["requestBody"])))
    for status, response in entry["responses"].items():
        label = f"Answer {status}" if status != "default" else "Refusal"
        lines += _table(label, list(_contents(response))) or [f"<h4>{label}</h4><p>No body.</p>"]
    head = f"<code>{escape(method.upper())} {escape(path)}</code> {_text(entry['summary'])}"
    return f"<details><summary>{head}</summary>\n{''.join(lines)}\n</details>"


def _contents(holder: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for kind, content in holder.get("content", {}).items():
        yield kind, _type(content["schema"]), ""


def _object(name: str, schema: Mapping[str, Any]) -> str:
    needed = set(schema.get("required", ()))
    fields = [
        (field, _type(value) + ("" if field in needed else ", optional"), value.get("description", ""))
        for field, value in schema.get("properties", {}).items()
    ]
    about = f"<p>{_text(schema['description'])}</p>" if "description" in schema else ""
    head = f"<summary><code>{escape(name)}</code></summary>"
    return f'<details id="{escape(name)}">{head}{about}{"".join(_table("Fields", fields))}</details>'


def _table(label: str, rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return a table of names, types (as HTML) and descriptions; nothing where it has no rows."""
    if not rows:
        return []
    body = "".join(
        f"<tr><th scope=row><code>{escape(name)}</code></th><td>{kind}</td><td>{_text(about)}</td></tr>"
        for name, kind, about in rows
    )
    return [f"<h4>{label}</h4><table>{body}</table>"]


def _type(schema: Mapping[str, Any]) -> str:
    """Return a schema's type in words, as HTML with links to objects."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_type(one) for one in schema[key]))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"<code>{escape(str(one))}</code>" for one in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}" if isinstance(schema.get("items"), Mapping) else "list"
    if isinstance(schema.get("additionalProperties"), Mapping):
        return f"object with {_type(schema['additionalProperties'])}"
    return escape(str(schema.get("type", "any")))


def _text(words: str) -> str:
    """Return a description as HTML: what stands between backticks is code."""
    parts = escape(words).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
