"""Sampler and clip skip on the page: real Chromium, and an engine without a device."""

from __future__ import annotations

import pytest
from selenium.webdriver.support.select import Select

from bot.cards.i18n import text
from engine.families.sd15.spec import sd15
from engine.families.z_image.spec import demo
from tests.e2e.web.browser import Browser
from tests.e2e.web.conftest import look
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DONE = "return document.querySelectorAll('.job[data-tone=\"done\"]').length === arguments[0]"
FITS = """
const select = document.querySelector('#sampler');
const style = getComputedStyle(select);
const pen = new OffscreenCanvas(1, 1).getContext('2d');
pen.font = style.font;
const text = pen.measureText(select.selectedOptions[0].text).width;
return text + parseFloat(style.paddingLeft) + parseFloat(style.paddingRight) <= select.clientWidth;
"""


@pytest.fixture
def engine(engine_gate: StepGate) -> FakeEngine:
    """Has a model with CLIP and one without."""
    return FakeEngine([sd15(), demo()], pause=engine_gate)


def offered(browser: Browser) -> list[str]:
    return [option.text for option in Select(browser.one("#sampler")).options]


async def test_a_sampler_and_a_clip_skip_are_chosen_and_drawn_with(
    app: WebHarness, engine: FakeEngine, browser: Browser
) -> None:
    own = text("en", "web.sampler.own", name="Euler")

    def scene(url: str) -> None:
        browser.open(url)
        browser.js("sessionStorage.clear(); location.reload()")
        browser.open(url)
        browser.write("prompt", "a red apple")
        browser.one("#advanced summary").click()
        assert offered(browser) == [own, *(name for name in sd15().samplers if name != "Euler")]
        assert browser.js(FITS)
        Select(browser.one("#sampler")).select_by_visible_text("DPM++ 2M Karras")
        browser.write("clip-skip", "13")
        browser.one("#draw").click()
        browser.until(lambda: browser.text("#error"), "the refusal")
        assert browser.text("#error") == text("en", "refusal.clip_skip.range", value="13", high=12)
        browser.write("clip-skip", "2")
        browser.one("#draw").click()
        browser.until(lambda: browser.js(DONE, 1), "the picture")
        facts = browser.text(".job-facts")
        assert "DPM++ 2M Karras" in facts
        # A reload keeps them; a model that has no such sampler, and no CLIP, takes its own.
        browser.open(url)
        assert Select(browser.one("#sampler")).first_selected_option.text == "DPM++ 2M Karras"
        Select(browser.one("#model")).select_by_visible_text(demo().title)
        assert offered(browser) == [own, "Heun", "DPM++ 2M", "DPM++ 2M SDE", "UniPC"]
        assert Select(browser.one("#sampler")).first_selected_option.text == own
        assert not browser.one("#clip-skip").is_displayed()
        browser.write("prompt", "another apple")
        browser.one("#draw").click()
        browser.until(lambda: browser.js(DONE, 2), "the second picture")

    await look(app, scene)
    assert [(r.sampler, r.clip_skip) for r in engine.painted] == [("DPM++ 2M Karras", 2), ("", 0)]
