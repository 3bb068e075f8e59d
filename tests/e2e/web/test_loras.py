"""Picking LoRAs on the page: real Chromium, and an engine without a device."""

from __future__ import annotations

from dataclasses import replace

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from bot.cards.i18n import text
from engine.contract import LoraInfo, LoraRequest
from engine.families.z_image.spec import demo
from tests.e2e.web.browser import Browser
from tests.e2e.web.conftest import look
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness

pytestmark = [pytest.mark.browser, pytest.mark.slow]

OTHER = replace(demo(), name="other", title="Another model", family="other")
LORAS = (
    LoraInfo("ink", "Ink Wash", ("ink wash", "brush strokes"), demo().family, weight=0.8),
    LoraInfo("oil", "Oil Painting"),
    LoraInfo("pixel-art", "Pixel Art XL with a rather long title that takes two lines", ("pixel art",), demo().family),
    LoraInfo("sketch", "Sketch", (), demo().family),
    LoraInfo("theirs", "Made for another", (), "other"),
)
DONE = "return document.querySelectorAll('.job[data-tone=\"done\"]').length === arguments[0]"


@pytest.fixture
def engine(engine_gate: StepGate) -> FakeEngine:
    """Has two models of two families, and LoRAs for each."""
    return FakeEngine([demo(), OTHER], pause=engine_gate, loras=LORAS)


def offered(browser: Browser) -> list[str]:
    return [option.text for option in Select(browser.one("#lora")).options]


def pick(browser: Browser, *titles: str) -> None:
    for title in titles:
        Select(browser.one("#lora")).select_by_visible_text(title)


def picked(browser: Browser) -> list[str]:
    return [row.text for row in browser.all(".lora-title")]


async def test_loras_are_picked_weighed_and_drawn_with(app: WebHarness, engine: FakeEngine, browser: Browser) -> None:
    def scene(url: str) -> None:
        browser.open(url)
        browser.write("prompt", "a red apple")
        browser.one("#advanced summary").click()
        assert offered(browser) == [text("en", "web.lora.add"), *(lora.title for lora in LORAS[:4])]
        pick(browser, "Ink Wash", "Oil Painting", LORAS[2].title)
        assert picked(browser) == ["Ink Wash", "Oil Painting", LORAS[2].title]
        assert not browser.one("#lora").is_enabled()
        assert browser.text("#lora-about") == text("en", "web.lora.full", most=3)
        # The slider of the last one has the focus; its weight follows the keys.
        browser.keys(Keys.HOME, Keys.ARROW_RIGHT)
        assert [each.text for each in browser.all(".lora output")] == ["0.8", "1", "-1.95"]
        # A trigger word goes into the prompt, once.
        for _ in range(2):
            browser.all(".word")[1].click()
        assert browser.one("#prompt").get_attribute("value") == "a red apple, brush strokes"
        browser.all(".lora button.small")[1].click()
        assert picked(browser) == ["Ink Wash", LORAS[2].title]
        browser.one("#draw").click()
        browser.until(lambda: browser.js(DONE, 1), "the picture")
        assert "Ink Wash 0.8" in browser.text(".job-facts")

    await look(app, scene)
    assert engine.painted[-1].loras == (LoraRequest("ink", 0.8), LoraRequest("pixel-art", -1.95))


async def test_those_that_do_not_fit_the_model_are_not_offered_or_sent(
    app: WebHarness, engine: FakeEngine, browser: Browser
) -> None:
    def scene(url: str) -> None:
        browser.open(url)
        browser.js("sessionStorage.clear(); location.reload()")
        browser.open(url)
        browser.write("prompt", "a red apple")
        browser.one("#advanced summary").click()
        pick(browser, "Ink Wash", "Oil Painting")
        model = Select(browser.one("#model"))
        model.select_by_visible_text(OTHER.title)
        assert picked(browser) == ["Oil Painting"]
        assert offered(browser)[1:] == ["Made for another"]
        browser.one("#draw").click()
        browser.until(lambda: browser.js(DONE, 1), "the picture")
        # They come back with their model, and with the page.
        model.select_by_visible_text(demo().title)
        assert picked(browser) == ["Ink Wash", "Oil Painting"]
        browser.write("prompt", "another apple")
        browser.open(url)
        assert picked(browser) == ["Ink Wash", "Oil Painting"]

    await look(app, scene)
    assert engine.painted[-1].loras == (LoraRequest("oil"),)


async def test_a_page_without_loras_has_no_field(
    app: WebHarness, engine: FakeEngine, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "loras", tuple)

    def scene(url: str) -> None:
        browser.open(url)
        assert not browser.one("#lora-field").is_displayed()
        assert browser.complaints() == []

    await look(app, scene)
