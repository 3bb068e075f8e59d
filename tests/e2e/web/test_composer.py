"""The composer's chips: control, LoRAs, sampler, clip skip, model and style, and what is kept of a draft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from bot.cards.i18n import text
from bot.storage import jobs
from engine.contract import Capability, LoraInfo, LoraRequest, Range
from engine.families.sd15.spec import sd15
from engine.families.z_image.spec import demo
from tests.e2e.web.browser import Browser
from tests.e2e.web.conftest import look
from tests.fakes.engine import FakeEngine
from tests.fakes.source_images import GREEN, picture
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ABLE = replace(demo(), name="able", title="An able model", controls=("canny", "pose"))
OTHER = replace(
    demo(),
    name="other",
    title="Another model",
    family="other",
    side=Range(512, 256, 1024),
    presets={"square": (512, 512), "wide": (768, 432)},
    can=frozenset({Capability.VARY}),
)
LORAS = (
    LoraInfo("ink", "Ink Wash", ("ink wash", "brush strokes"), demo().family, weight=0.8),
    LoraInfo("oil", "Oil Painting"),
    LoraInfo("pixel-art", "Pixel Art XL with a rather long title that takes two lines", ("pixel art",), demo().family),
    LoraInfo("sketch", "Sketch", (), demo().family),
    LoraInfo("theirs", "Made for another", (), "other"),
)

KEEP = """
const done = arguments[0];
import('/static/keep.js').then(async (kept) => {
  await kept.set('a value', 1);
  const own = await kept.get('a value');
  kept.keepFor('another');
  done([own, (await kept.get('a value')) ?? null]);
});
"""


@pytest.fixture
def engine(engine_gate: StepGate) -> FakeEngine:
    """Has models with and without ControlNets, CLIP, and LoRAs of their family."""
    return FakeEngine([demo(), ABLE, OTHER, sd15()], pause=engine_gate, loras=LORAS)


def shown(browser: Browser) -> list[str]:
    fields = ("control-field", "control-weight-field", "strength-field")
    return [field for field in fields if browser.all(f"#{field}")]


def options(browser: Browser, field: str) -> list[str]:
    return [option.text for option in Select(browser.one(f"#{field}")).options]


def pick(browser: Browser, titles: Sequence[str]) -> None:
    for title in titles:
        Select(browser.one("#lora")).select_by_visible_text(title)


def picked(browser: Browser) -> list[str]:
    return list(browser.js("return [...document.querySelectorAll('.lora-title')].map((title) => title.textContent)"))


def draw(browser: Browser, prompt: str) -> None:
    """Ask for a picture and wait for it."""
    done = "return document.querySelectorAll('.job[data-tone=\"done\"]').length"
    before = browser.js(done)
    browser.write("prompt", prompt)
    browser.one("#draw").click()
    browser.until(lambda: browser.js(done) > before, "the picture")


async def test_everything_of_a_request_is_chosen_by_chips(
    app: WebHarness, engine: FakeEngine, browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "green.png").write_bytes(picture(96, 96, GREEN))

    def scene(url: str) -> None:
        browser.open(url)
        assert not browser.one("#popover-pictures").is_displayed()

        # A kind of control of the chosen model, beside the picture.
        browser.chip("pictures")
        assert shown(browser) == []
        browser.one("#image").send_keys(str(tmp_path / "green.png"))
        browser.until(lambda: shown(browser) == ["strength-field"], "the strength alone")
        browser.choose("model", "able")
        browser.until(lambda: shown(browser) == ["control-field", "strength-field"], "a choice of kinds")
        browser.chip("pictures")
        assert options(browser, "control") == [text("en", "web.control.none"), "canny", "pose"]
        Select(browser.one("#control")).select_by_visible_text("pose")
        browser.until(lambda: shown(browser) == ["control-field", "control-weight-field"], "its weight")
        browser.one("#control-weight").send_keys(*[Keys.ARROW_LEFT] * 4)
        draw(browser, "a red apple")
        assert "pose 0.8" in browser.text(".job-facts")
        browser.choose("model", "demo")
        browser.until(lambda: shown(browser) == ["strength-field"], "a model without kinds")
        draw(browser, "a red apple")
        browser.chip("pictures")
        browser.one("#image-remove").click()
        browser.until(lambda: shown(browser) == [], "no picture")

        # LoRAs that fit the model, with weights and words.
        browser.chip("lora")
        assert options(browser, "lora") == [text("en", "web.lora.add"), *(lora.title for lora in LORAS[:4])]
        pick(browser, ["Ink Wash", "Oil Painting", LORAS[2].title])
        assert picked(browser) == ["Ink Wash", "Oil Painting", LORAS[2].title]
        assert not browser.one("#lora").is_enabled()
        assert browser.text("#lora-about") == text("en", "web.lora.full", most=3)
        browser.until("return document.activeElement.matches('.lora:last-child input')", "the last one's slider")
        browser.keys(Keys.HOME, Keys.ARROW_RIGHT)
        assert [each.text for each in browser.all(".lora output")] == ["0.8", "1", "-1.95"]
        browser.write("prompt", "a red apple")
        browser.chip("lora")
        for _ in range(2):  # a word goes into the prompt once
            browser.all(".word")[1].click()
        assert browser.one("#prompt").get_attribute("value") == "a red apple, brush strokes"
        browser.all(".lora button.bare")[1].click()
        assert picked(browser) == ["Ink Wash", LORAS[2].title]
        draw(browser, "a red apple, brush strokes")
        assert "Ink Wash 0.8" in browser.text(".job-facts")
        browser.choose("model", "other")
        browser.until(lambda: picked(browser) == [], "none that fits")
        assert len(browser.all("input[name=preset]")) == 2
        assert browser.text("#chip-model .chip-value") == "Another model"

        # Sampler and clip skip; a wrong one is shown where it stands.
        browser.choose("model", "sd15")
        browser.chip("more")
        # The model's own negative prompt stands in its field; an empty one takes its place.
        assert browser.one("#negative").get_attribute("value") == sd15().negative_default
        browser.write("negative", "")
        own = text("en", "web.sampler.own", name="Euler")
        assert options(browser, "sampler") == [own, *(name for name in sd15().samplers if name != "Euler")]
        Select(browser.one("#sampler")).select_by_visible_text("DPM++ 2M Karras")
        browser.write("clip-skip", "13")
        browser.one("#draw").click()
        refusal = text("en", "refusal.clip_skip.range", value="13", high=12)
        browser.until(lambda: browser.text("#error") == refusal, "the refusal")
        assert browser.focused() == "clip-skip"
        assert browser.one("#popover-more").is_displayed()
        browser.write("clip-skip", "2")
        assert not browser.all("#error")
        browser.complaints()  # the refusal's status
        browser.one("#label").click()
        draw(browser, "a red apple")
        assert "DPM++ 2M Karras" in browser.text(".job-facts")

        # A new page has the draft; a model without such a sampler takes its own.
        browser.open(url)
        browser.chip("more")
        assert Select(browser.one("#sampler")).first_selected_option.text == "DPM++ 2M Karras"
        assert browser.one("#label").is_selected()
        browser.choose("model", "demo")
        assert picked(browser) == ["Ink Wash", LORAS[2].title]
        assert options(browser, "sampler") == [own, "Heun", "DPM++ 2M", "DPM++ 2M SDE", "UniPC"]
        assert Select(browser.one("#sampler")).first_selected_option.text == own
        assert not browser.all("#clip-skip")
        # A field that the model ignores is marked so.
        assert browser.all(".ignored #negative")
        browser.write("guidance", "3")
        browser.until(lambda: not browser.all(".ignored"), "a guidance that makes it count")
        assert browser.complaints() == []

    await look(app, scene)
    found = [(r.model, r.control, r.control_weight, bool(r.image), r.sampler, r.clip_skip) for r in engine.painted]
    assert found == [
        ("able", "pose", 0.8, True, "", 0),
        ("demo", "", 1.0, True, "", 0),
        ("demo", "", 1.0, False, "", 0),
        ("sd15", "", 1.0, False, "DPM++ 2M Karras", 2),
    ]
    async with app.db.read() as tx:
        newest = [await jobs.get(tx, number) for number in range(1, 5)]
    assert [job.request.label for job in newest if job is not None] == [False, False, False, True]
    assert engine.painted[3].negative == ""
    assert engine.painted[2].loras == (LoraRequest("ink", 0.8), LoraRequest("pixel-art", -1.95))
    assert engine.painted[3].loras == ()


async def test_a_page_without_loras_has_no_chip_for_them(
    app: WebHarness, engine: FakeEngine, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "loras", tuple)

    def scene(url: str) -> None:
        browser.open(url)
        assert not browser.all("#chip-lora")
        # What is kept for one person is not there for another one of the same browser.
        assert browser.driver.execute_async_script(KEEP) == [1, None]
        assert browser.complaints() == []

    await look(app, scene)
