"""HTML pages that work without scripts: sign-in, links from chats, and invitations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape

from aiohttp import web

_PAGE = """<!doctype html>
<html lang="{lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<title>{title} · Easel</title>
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/easel.css">
<link rel="stylesheet" href="/static/account.css">
{script}</head>
<body class="gate">
<main class="gate-card">
<img class="gate-mark" src="/static/icon.svg" alt="" width="40" height="40">
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""

Words = Callable[[str], str]
"""Returns a message of the page by its key, in the person's language."""


@dataclass(frozen=True, slots=True)
class InputField:
    """A field of a form.

    Attributes:
        name: Its name, also its key in the catalogue.
        kind: The ``type`` of the input.
        value: What it holds.
        autocomplete: What browsers may fill in.
        limits: Its shortest and longest text.
        required: Whether it must be filled in.
    """

    name: str
    kind: str = "text"
    value: str = ""
    autocomplete: str = "off"
    limits: tuple[int, int] = (0, 256)
    required: bool = True


@dataclass(frozen=True, slots=True)
class HtmlPage:
    """A page, in parts.

    Attributes:
        title: The heading.
        intro: A sentence under it; empty for none.
        problem: What went wrong; empty for nothing.
        parts: HTML of the forms, escaped already.
        script: Name of its script in ``static``; empty for none.
    """

    title: str
    intro: str = ""
    problem: str = ""
    parts: tuple[str, ...] = field(default=())
    script: str = ""

    def response(self, locale: str, status: int = 200) -> web.Response:
        """Return the page as an answer that no cache stores."""
        problem = f'<p class="gate-problem" role="alert">{escape(self.problem)}</p>' if self.problem else ""
        intro = f"<p>{escape(self.intro)}</p>" if self.intro else ""
        script = f'<script type="module" src="/static/{self.script}"></script>\n' if self.script else ""
        return web.Response(
            text=_PAGE.format(
                lang=locale.replace("_", "-"),
                title=escape(self.title),
                script=script,
                body="\n".join(part for part in (intro, problem, *self.parts) if part),
            ),
            content_type="text/html",
            status=status,
            # With no-referrer, browsers send a form's POST without its origin.
            headers={"Cache-Control": "no-store", "Referrer-Policy": "same-origin"},
        )


def form(action: str, button: str, *fields: InputField, words: Words, hidden: tuple[tuple[str, str], ...] = ()) -> str:
    """Return the HTML of a form that is sent by POST."""
    inputs = [_field(one, words) for one in fields]
    extra = [f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in hidden]
    return (
        f'<form method="post" action="{escape(action)}">{"".join(extra)}{"".join(inputs)}'
        f'<button class="primary" type="submit">{escape(button)}</button></form>'
    )


def passkey_button(kind: str, base: str, button: str, words: Words, *, following: str = "/") -> str:
    """Return the HTML of the passkey's button, which its script shows where the browser has passkeys.

    Args:
        kind: ``sign-in`` or ``register``.
        base: Path of its two requests.
        button: The button's words.
        words: The page's words.
        following: Path that the script opens after a sign-in.
    """
    return (
        f'<div id="passkey" data-kind="{kind}" data-base="{escape(base)}" data-next="{escape(following)}"'
        f' data-failed="{escape(words("passkey.failed"))}" hidden>'
        f'<button type="button" class="plain wide">{escape(button)}</button>'
        '<p class="gate-problem" role="alert" hidden></p></div>'
    )


def more(summary: str, body: str) -> str:
    """Return the HTML of a part that is folded up."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def _field(one: InputField, words: Words) -> str:
    low, high = one.limits
    about = {
        "id": f"field-{one.name}",
        "name": one.name,
        "type": one.kind,
        "value": one.value,
        "autocomplete": one.autocomplete,
        "minlength": str(low) if low else "",
        "maxlength": str(high),
    }
    given = "".join(f' {name}="{escape(value)}"' for name, value in about.items() if value)
    return (
        f'<label for="field-{one.name}">{escape(words(one.name))}</label>'
        f"<input{given}{' required' if one.required else ''}>"
    )
