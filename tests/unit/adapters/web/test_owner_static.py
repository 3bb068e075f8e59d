"""The owner's pages say nothing by themselves: every word comes from the catalogues, and every word there is said."""

from __future__ import annotations

import re

import pytest

from adapters.web.static_files import STATIC
from bot.cards import i18n
from tests.unit.adapters.web.test_static import Words

SCRIPTS = sorted(STATIC.glob("owner*.js"))
PAGE = STATIC / "owner.html"
ASKED = re.compile(r"\btext\(([^()]*)")
KEY = re.compile(r'"([a-z0-9_.]+)"')
# Put together from a name: the start of the key stands in the script as `text(`section.${...}`)` or `named("action", ...)`.
STARTS = re.compile(r"text\(`([a-z_.]+)\$\{|named\(\"([a-z_]+)\"")


def said() -> tuple[set[str], tuple[str, ...]]:
    """Return the keys of the scripts, and the starts of those that are put together."""
    scripts = "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
    known = {key.removeprefix("owner.") for key in i18n.texts("en", "owner.")}
    keys = {key for asked in ASKED.findall(scripts) for key in KEY.findall(asked) if key in known or "." in key}
    # In tables of values with their labels.
    keys |= {key for key in KEY.findall(scripts) if key in known}
    return keys, tuple(f"{whole or f'{part}.'}" for whole, part in STARTS.findall(scripts))


@pytest.mark.parametrize("locale", i18n.LOCALES)
def test_the_pages_and_the_catalogues_have_the_same_words(locale: str) -> None:
    keys, starts = said()
    known = {key.removeprefix("owner.") for key in i18n.texts(locale, "owner.")}
    assert keys <= known, "a script asks for a text that is in no catalogue"
    assert {key for key in known - keys if not key.startswith(starts)} == set(), "nothing says these"


def test_the_markup_holds_no_words_of_its_own() -> None:
    words = Words()
    words.feed(PAGE.read_text(encoding="utf-8"))
    assert set(words.found) == {"Easel"}


def test_every_script_is_preloaded_and_every_sign_is_drawn() -> None:
    page = PAGE.read_text(encoding="utf-8")
    preloaded = set(re.findall(r'href="/static/(owner\w*\.js)"', page))
    assert preloaded == {path.name for path in SCRIPTS} - {"owner.js"}
    scripts = "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
    signs = set(re.findall(r'(?:sign|Sign\} name)="([a-z]+)"', scripts))
    signs |= set(re.findall(r'^  \["[a-z]+", "([a-z]+)", \w+\],$', scripts, re.MULTILINE))
    (states,) = re.findall(r"const STATES = (\[.*\]);", scripts)
    signs |= set(re.findall(r'"[a-z]+", "([a-z]+)"', states))
    assert signs <= set(re.findall(r'<symbol id="i-([a-z]+)"', page))
    assert len(signs) > 20


def test_a_sign_of_both_pages_is_drawn_the_same() -> None:
    drawn = re.compile(r'<symbol id="i-([a-z]+)" [^>]*>(.*)</symbol>')
    ours, theirs = (
        dict(drawn.findall((STATIC / name).read_text(encoding="utf-8"))) for name in ("owner.html", "index.html")
    )
    assert ours.keys() & theirs.keys() >= {"easel", "close"}
    assert {name: path for name, path in ours.items() if theirs.get(name, path) != path} == {}


def test_nothing_is_put_in_as_markup_and_nothing_comes_from_elsewhere() -> None:
    for path in [*SCRIPTS, PAGE, STATIC / "owner.css"]:
        source = path.read_text(encoding="utf-8")
        for never in ("innerHTML", "insertAdjacentHTML", "eval(", "http:", "https:", 'style="', "onclick="):
            assert never not in source, f"{path.name}: {never}"
