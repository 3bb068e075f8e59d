"""The page's own files say nothing by themselves: every word comes from the catalogues, and every word there is said."""

from __future__ import annotations

import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from adapters.web.static_files import STATIC
from bot.cards import i18n
from bot.features import COMMANDS
from engine.families.z_image.spec import demo

VENDORED = STATIC / "preact.js"
SCRIPTS = sorted(path for path in STATIC.glob("*.js") if path != VENDORED)
PAGE = STATIC / "index.html"
ROOT = Path(__file__).resolve().parents[4]
# A key, also where one of two is chosen: t("star.on") and t(on ? "star.off" : "star.on").
SAID = re.compile(r"\bt\(([^()]*)")
KEY = re.compile(r'"([a-z0-9_.]+)"')
KINDS = ("draw", "reroll", "seed", "vary", "upscale", "edit", "start")
# Put together from the name of a preset, a view, or a kind of requests.
CHOSEN = {
    *(f"{about}.{kind}" for about in ("kind", "lineage") for kind in KINDS),
    *(f"size.{name}" for name in (*demo().presets, "like")),
    "feed",
    "grid",
    *(f"words.{kind}" for kind in ("thing", "colour", "place")),
    "example.1",
    "example.2",
    "example.3",
}


def said() -> set[str]:
    scripts = "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
    tables = re.findall(r"const (?:EACH|LISTED) = [{\[](.*?)[}\]];", scripts, re.DOTALL)
    keys = {key for asked in SAID.findall(scripts) for key in KEY.findall(asked)}
    return {*keys, *CHOSEN, *(key for table in tables for key in KEY.findall(table) if key in KNOWN)}


KNOWN = {key.removeprefix("web.") for key in i18n.texts("en", "web.")}


@pytest.mark.parametrize("locale", i18n.LOCALES)
def test_the_page_and_the_catalogues_have_the_same_words(locale: str) -> None:
    assert {f"web.{key}" for key in said()} == set(i18n.texts(locale, "web."))


class Words(HTMLParser):
    """Collects what people would read, outside of <noscript> (where nothing else can say it) and the name Easel."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.aside = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.aside += tag == "noscript"
        spoken = {"alt", "title", "placeholder", "aria-label"}
        self.found += [value for name, value in attrs if name in spoken and value]

    def handle_endtag(self, tag: str) -> None:
        self.aside -= tag == "noscript"

    def handle_data(self, data: str) -> None:
        if data.strip() and not self.aside:
            self.found.append(data.strip())


def test_the_markup_holds_no_words_of_its_own() -> None:
    words = Words()
    words.feed(PAGE.read_text(encoding="utf-8"))
    assert set(words.found) == {"Easel"}


def test_nothing_is_put_in_as_markup_and_nothing_comes_from_elsewhere() -> None:
    for path in [*SCRIPTS, PAGE, *STATIC.glob("*.css")]:
        source = path.read_text(encoding="utf-8")
        for never in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "eval(",
            "http:",
            "https:",
            'style="',
            "dangerouslySetInnerHTML",
            "onclick=",
        ):
            assert never not in source, f"{path.name}: {never}"


def test_every_button_of_a_job_has_an_icon_and_every_icon_is_drawn() -> None:
    cards = (STATIC / "row.js").read_text(encoding="utf-8")
    (table,) = re.findall(r"const ICONS = \{(.*)\};", cards)
    icons = dict(re.findall(r'(\w+): "([a-z-]+)"', table))
    (own,) = re.findall(r"const OWN = new Set\(\[(.*)\]\);", cards)
    # At the page nobody else's pictures can be reported.
    assert set(icons) == set(COMMANDS.job_buttons) - {*re.findall(r'"(\w+)"', own), "report"} | {"deletenow"}
    symbols = re.findall(r'<symbol id="i-([a-z-]+)"', PAGE.read_text(encoding="utf-8"))
    scripts = "".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
    assert {*icons.values(), *re.findall(r'(?:icon|Icon\} name)="([a-z]+)"', scripts)} <= set(symbols)


def test_preact_is_the_published_file_below_its_notice() -> None:
    notice, _, code = VENDORED.read_bytes().partition(b" */\n")
    assert hashlib.sha256(code).hexdigest() == "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7"
    assert b"Copyright (c) 2015-present Jason Miller" in notice
    assert b"Apache License, Version 2.0" in notice


def test_the_words_to_tap_are_those_that_the_demo_model_was_taught() -> None:
    taught = (ROOT / "tools" / "demo_model" / "data.py").read_text(encoding="utf-8")
    words = (STATIC / "words.js").read_text(encoding="utf-8")
    (favourites,) = re.findall(r'FAVOURITES = """(.*?)"""', taught, re.DOTALL)
    things, colours, places = re.findall(r"= \[(.*?)\n\];", words, re.DOTALL)
    found = [re.findall(r'"([^"]+)"', line) for line in things.strip().splitlines()]
    assert len(found) == len(favourites.split())
    for english, chinese, measure in found:
        assert re.search(rf"\|(?:[^|]*,)?{english}[,|].*{measure} (?:.*,)?{chinese}(?:,|$)", taught, re.MULTILINE), (
            english
        )
    for locale, named in (("en", r"\ban? (\w+)"), ("zh_CN", r"例如(\w+)、(\w+)和(\w+)")):
        for key in ("note.demo", "cli.draw.demo"):
            sentence = i18n.text(locale, key)
            assert re.findall(r"\d+", sentence) == [str(len(found))]
            examples = {
                name for names in re.findall(named, sentence) for name in ([names] if locale == "en" else names)
            }
            assert len(examples) == 3
            assert examples <= {one[locale != "en"] for one in found}
    for line in (*colours.strip().splitlines(), *places.strip().splitlines()):
        for word in re.findall(r'"([^"]+)"', line):
            assert f'"{word}"' in taught
