"""Editing pictures on the page: references in order, what hinders them, and what is drawn: real Chromium, no device."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from bot.cards.i18n import text
from engine.contract import Capability
from tests.e2e.web.browser import Browser
from tests.e2e.web.conftest import look
from tests.e2e.web.test_source_image import GIVE, draw, drawn, facts
from tests.fakes.editing import EDITOR, PLAIN
from tests.fakes.engine import FakeEngine
from tests.fakes.source_images import BLUE, GREEN, RED, picture
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ONLY = replace(EDITOR, name="only", title="Only edits", needs_reference=True)
OTHER = replace(PLAIN, name="other", title="Another model", can=frozenset({Capability.IMAGE}))
NAMES = "return [...document.querySelectorAll('.reference-name')].map((name) => name.textContent.split(',')[0])"


@pytest.fixture
def engine(engine_gate: StepGate) -> FakeEngine:
    """Its default model does not edit; the operator has named one that does."""
    return FakeEngine([PLAIN, EDITOR, OTHER, ONLY], engine_gate, edit_model="editor")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with three pictures."""
    for name, colour in (("red", RED), ("green", GREEN), ("blue", BLUE)):
        (tmp_path / f"{name}.png").write_bytes(picture(300, 200, colour))
    return tmp_path


def choose(browser: Browser, folder: Path, *names: str) -> None:
    browser.chip("pictures")
    before = names_of(browser)
    browser.one("#references").send_keys("\n".join(str(folder / f"{name}.png") for name in names))
    browser.until(lambda: len(names_of(browser)) == len(before) + len(names), "the pictures small")


def pick(browser: Browser, model: str) -> None:
    browser.chip("model")
    browser.choose("model", {one.title: one.name for one in (PLAIN, EDITOR, OTHER, ONLY)}[model])
    browser.chip("pictures")


def names_of(browser: Browser) -> list[str]:
    return [name.removesuffix(".png") for name in browser.js(NAMES)]


def give(browser: Browser, selector: str, name: str, data: bytes) -> None:
    script = GIVE.replace("document.body.", f"document.querySelector('{selector}').")
    browser.js(script, "drop", f"{name}.png", "image/png", base64.b64encode(data).decode())


def strip(browser: Browser) -> list[tuple[int, ...]]:
    """The colours along the bottom of the picture, where the fake engine shows the references."""
    return list(browser.colours(".picture img", (0.05, 0.95), (0.5, 0.95), (0.95, 0.95)))


async def test_pictures_are_put_in_order_and_edited(app: WebHarness, browser: Browser, files: Path) -> None:
    def scene(url: str) -> None:
        browser.open(url)
        choose(browser, files, "red", "green")
        choose(browser, files, "blue")
        assert names_of(browser) == ["red", "green", "blue"]
        # The model for edits takes three, so there is no room for a fourth.
        assert not browser.all("#references-zone")
        assert browser.text("#references-about") == text("en", "web.references.served", model="The Editor")
        assert browser.js("return document.querySelector('input[name=preset]:checked').value") == "like"

        # By the keyboard, and by the mouse.
        browser.all(".reference-later")[0].send_keys(Keys.ENTER)
        assert names_of(browser) == ["green", "red", "blue"]
        assert browser.text("#live") == text("en", "web.references.moved", number=2)
        assert browser.js("return document.activeElement.className") == "reference-later"
        ActionChains(browser.driver).drag_and_drop(*(browser.all(".reference-picture")[i] for i in (2, 0))).perform()
        browser.until(lambda: names_of(browser) == ["blue", "green", "red"], "the dragged picture in its place")

        assert drawn(browser, draw(browser, "make it night")) == 1
        assert strip(browser) == [BLUE, GREEN, RED]
        assert facts(browser).items() >= {"Edited from": "3 pictures", "Model": "The Editor", "Size": "240x160"}.items()

        # The viewer compares it with the first of them.
        browser.press(".picture-open")
        browser.until("return document.getElementById('viewer-compare')", "the comparison is offered")
        browser.keys("c")
        browser.until("return document.querySelector('.earlier')?.naturalWidth", "the picture before")
        assert browser.js("return new URL(document.querySelector('.earlier').src).pathname") == "/jobs/1/0.png"
        browser.keys(Keys.ESCAPE)
        browser.until("return !document.getElementById('viewer').open", "the viewer is closed")

        # What was drawn is edited further, as the last of them where there is room.
        browser.chip("pictures")
        browser.all(".reference-remove")[2].click()
        browser.js("document.querySelector('.picture-open').focus()")
        browser.keys("e")
        browser.until(lambda: names_of(browser)[2:] == ["easel-1-1"], "the drawing")
        browser.chip("pictures")
        browser.all(".reference-remove")[2].click()
        assert names_of(browser) == ["blue", "green"]
        assert browser.one("#references-zone").is_displayed()
        while browser.all(".reference-remove"):
            browser.one(".reference-remove").click()
        assert browser.focused() == "references"
        assert browser.all("input[name=preset][value=like]") == []
        assert drawn(browser, draw(browser, "a cat")) == 1
        assert "Edited from" not in facts(browser)
        assert browser.complaints() == []

    await look(app, scene)


async def test_what_hinders_references_is_said(app: WebHarness, browser: Browser, files: Path) -> None:
    def about(key: str, **fields: object) -> None:
        wanted = text("en", f"web.references.{key}", **fields)  # type: ignore[arg-type]
        browser.until(lambda: browser.text("#references-about") == wanted, wanted)

    def scene(url: str) -> None:
        browser.open(url)
        assert browser.one("#references").is_enabled()
        about("about", most=3)
        pick(browser, "Another model")
        about("none", model="Another model")
        assert not browser.one("#references").is_enabled()
        give(browser, "#references-field", "red", picture(90, 90, RED))
        sentence = text("en", "web.references.none", model="Another model")
        browser.until(lambda: browser.text("#error") == sentence, "why it is not taken")
        assert not browser.all("#image-kept")
        pick(browser, "The Editor")
        assert not browser.all("#error")
        choose(browser, files, "red")
        assert not browser.one("#image").is_enabled()
        assert browser.text("#image-about") == text("en", "web.image.references")

        # They stay for the model that was chosen by mistake; the service says the same.
        pick(browser, "Another model")
        about("none", model="Another model")
        browser.write("prompt", "make it night")
        browser.one("#draw").click()
        browser.until("return document.getElementById('error')", "a refusal")
        refusal = text("en", "refusal.references.model", model="Another model", known="editor, only")
        assert browser.text("#error") == refusal
        assert browser.all("#references-field #error")
        browser.complaints()  # the refusal's status

        browser.one(".reference-remove").click()
        browser.one("#image").send_keys(str(files / "red.png"))
        browser.until(lambda: browser.all("#image-kept"), "the start picture")
        pick(browser, PLAIN.title)
        about("start")
        assert not browser.one("#references").is_enabled()

        browser.one("#image-remove").click()
        pick(browser, "Only edits")
        about("needed", model="Only edits")
        browser.one("#draw").click()
        browser.until("return document.getElementById('error')", "a refusal")
        assert browser.text("#error") == text("en", "refusal.references.needed", model="Only edits")
        assert browser.all("#references-field #error")
        browser.complaints()  # the refusal's status

    await look(app, scene)


async def test_dropped_pictures_go_where_they_fall(app: WebHarness, browser: Browser) -> None:
    def scene(url: str) -> None:
        browser.open(url)
        give(browser, "#references-field", "red", picture(90, 90, RED))
        browser.until(lambda: names_of(browser) == ["red"], "the dropped picture")
        # A start picture is not taken beside references: what is dropped elsewhere joins them.
        give(browser, "body", "green", picture(90, 90, GREEN))
        browser.until(lambda: names_of(browser) == ["red", "green"], "the second one")
        give(browser, "body", "letter", b"no picture")
        browser.until(lambda: names_of(browser) == ["red", "green", "letter"], "one that the browser can't show")
        give(browser, "body", "blue", picture(90, 90, BLUE))
        full = text("en", "web.references.full", most=3)
        browser.until(lambda: browser.text("#error") == full, "that there is no room")
        browser.write("prompt", "make it night")
        browser.one("#draw").click()
        browser.until("return document.getElementById('error')", "a refusal")
        assert browser.text("#error") == text("en", "refusal.references.unreadable", number=3)
        browser.complaints()  # the refusal's status
        for _ in range(3):
            browser.one(".reference-remove").click()
        give(browser, "body", "blue", picture(90, 90, BLUE))
        browser.until(lambda: browser.all("#image-kept"), "the start picture")

    await look(app, scene)
