"""A control picture on the page: real Chromium, and an engine without a device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from bot.cards.i18n import text
from engine.families.z_image.spec import demo
from tests.e2e.web.browser import Browser
from tests.e2e.web.conftest import look
from tests.fakes.engine import FakeEngine
from tests.fakes.source_images import GREEN, picture
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DONE = "return document.querySelectorAll('.job[data-tone=\"done\"]').length === arguments[0]"
ABLE = replace(demo(), name="able", title="An able model", controls=("canny", "pose"))


@pytest.fixture
def engine(engine_gate: StepGate) -> FakeEngine:
    """Has a model with ControlNets and one without."""
    return FakeEngine([demo(), ABLE], pause=engine_gate)


def shown(browser: Browser) -> list[str]:
    fields = ("control-field", "control-weight-field", "strength-field")
    return [field for field in fields if browser.one(f"#{field}").is_displayed()]


async def test_a_kind_of_the_model_is_chosen_beside_the_picture(
    app: WebHarness, engine: FakeEngine, browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "green.png").write_bytes(picture(96, 96, GREEN))

    def scene(url: str) -> None:
        browser.open(url)
        assert shown(browser) == []
        browser.one("#image").send_keys(str(tmp_path / "green.png"))
        browser.until(lambda: shown(browser) == ["strength-field"], "the strength alone")
        Select(browser.one("#model")).select_by_visible_text(ABLE.title)
        assert shown(browser) == ["control-field", "strength-field"]
        kinds = [option.text for option in Select(browser.one("#control")).options]
        assert kinds == [text("en", "web.control.none"), "canny", "pose"]
        Select(browser.one("#control")).select_by_visible_text("pose")
        assert shown(browser) == ["control-field", "control-weight-field"]
        browser.one("#control-weight").send_keys(*[Keys.ARROW_LEFT] * 4)
        browser.write("prompt", "a red apple")
        browser.one("#draw").click()
        browser.until(lambda: browser.js(DONE, 1), "the picture")
        assert "pose 0.8" in browser.text(".job-facts")

        # A model without that kind, and another picture, begin anew.
        Select(browser.one("#model")).select_by_visible_text(demo().title)
        assert shown(browser) == ["strength-field"]
        browser.write("prompt", "a red apple")
        browser.one("#draw").click()
        browser.until(lambda: browser.js(DONE, 2), "the second picture")
        browser.one("#image-remove").click()
        assert shown(browser) == []
        assert browser.complaints() == []

    await look(app, scene)
    found = [(r.model, r.control, r.control_weight, bool(r.image)) for r in engine.painted]
    assert found == [("able", "pose", 0.8, True), ("demo", "", 1.0, True)]
