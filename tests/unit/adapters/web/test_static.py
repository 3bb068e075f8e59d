"""The page's own files say nothing by themselves: every word comes from the catalogues, and every word there is said."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from adapters.web.api import STATIC
from bot.cards import i18n
from bot.features import COMMANDS
from engine.families.z_image.spec import demo

SCRIPTS = sorted(STATIC.glob("*.js"))
PAGE = STATIC / "index.html"
IN_MARKUP = re.compile(r'data-(?:text|label|placeholder)="([a-z0-9_.]+)"')
IN_SCRIPT = re.compile(r'\bt\("([a-z0-9_.]+)"')
# Put together from the name of a preset, or chosen from a table.
CHOSEN = {*(f"size.{name}" for name in (*demo().presets, "like")), "vary", "upscale", "from_seed"}


def said() -> set[str]:
    scripts = "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
    return {*IN_MARKUP.findall(PAGE.read_text(encoding="utf-8")), *IN_SCRIPT.findall(scripts), *CHOSEN}


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
    for path in [*SCRIPTS, PAGE, STATIC / "easel.css"]:
        source = path.read_text(encoding="utf-8")
        for never in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "eval(",
            "http:",
            "https:",
            " style=",
            "onclick=",
        ):
            assert never not in source, f"{path.name}: {never}"


def test_every_button_of_a_job_has_an_icon_and_every_icon_is_drawn() -> None:
    cards = (STATIC / "cards.js").read_text(encoding="utf-8")
    (table,) = re.findall(r"const ICONS = \{(.*)\};", cards)
    icons = dict(re.findall(r'(\w+): "([a-z-]+)"', table))
    (own,) = re.findall(r"const OWN = new Set\(\[(.*)\]\);", cards)
    # At the page nobody else's pictures can be reported.
    assert set(icons) == set(COMMANDS.job_buttons) - {*re.findall(r'"(\w+)"', own), "report"} | {"deletenow"}
    symbols = re.findall(r'<symbol id="([a-z-]+)"', PAGE.read_text(encoding="utf-8"))
    scripts = "".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
    assert {*icons.values(), *re.findall(r'"(i-[a-z]+)"', scripts)} <= set(symbols)
