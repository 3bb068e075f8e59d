"""Starting from a picture, what becomes of one, and choosing a model: real Chromium, and an engine without a device."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from bot.cards.i18n import text
from engine.contract import Capability, Range
from engine.families.z_image.spec import demo
from tests.e2e.web.browser import Browser
from tests.e2e.web.conftest import look
from tests.fakes.engine import FakeEngine
from tests.fakes.source_images import BLUE, GREEN, picture
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness

pytestmark = [pytest.mark.browser, pytest.mark.slow]

OTHER = replace(
    demo(),
    name="other",
    title="Another model",
    side=Range(512, 256, 1024),
    presets={"square": (512, 512), "wide": (768, 432)},
    can=frozenset({Capability.VARY}),
)
DRAWN = """
const images = [...document.querySelectorAll('.job[data-job="' + arguments[0] + '"][data-tone="done"] .picture img')];
return images.length > 0 && images.every((image) => image.complete && image.naturalWidth > 0) && images.length;
"""
WATCH = """
window.seen = [];
new MutationObserver(() => {
  for (const image of document.querySelectorAll('.job .previewed .preview')) {
    if (image.naturalWidth) seen.push([new URL(image.src).pathname, image.naturalWidth, image.naturalHeight]);
  }
}).observe(document.getElementById('app'), {subtree: true, childList: true, attributes: true});
"""
COUNT = """
const make = createImageBitmap;
window.made = [];
window.createImageBitmap = (file) => make(file).then((one) => (window.made.push(one), one));
"""
PLACE = """
const { x, y, width, height } = document.querySelector('.job :is(.canvas, .picture)').getBoundingClientRect();
return [x, y, width, height];
"""
GIVE = """
const [kind, name, type, data] = arguments;
const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
const given = new DataTransfer();
given.items.add(new File([bytes], name, {type}));
const init = {bubbles: true, cancelable: true};
document.body.dispatchEvent(
  kind === 'paste'
    ? new ClipboardEvent('paste', {...init, clipboardData: given})
    : new DragEvent('drop', {...init, dataTransfer: given}),
);
"""


@pytest.fixture
def engine(engine_gate: StepGate) -> FakeEngine:
    """Has two models."""
    return FakeEngine([demo(), OTHER], pause=engine_gate)


def newest(browser: Browser) -> int:
    return int(browser.js("return Number(document.querySelector('.job')?.dataset.job ?? 0)"))


def begun(browser: Browser, act: Callable[[], object]) -> int:
    """Do something that asks for pictures; returns the job."""
    before = newest(browser)
    act()
    browser.until(lambda: newest(browser) > before, "a new job")
    return newest(browser)


def drawn(browser: Browser, job: int) -> int:
    return int(browser.until(lambda: browser.js(DRAWN, job), f"the pictures of job {job}", 90))


def draw(browser: Browser, prompt: str) -> int:
    browser.write("prompt", prompt)
    return begun(browser, lambda: browser.one("#prompt").send_keys(Keys.ENTER))


def kept(browser: Browser) -> bool:
    return bool(browser.all("#image-kept"))


def facts(browser: Browser) -> dict[str, str]:
    found = browser.js(
        "return [...document.querySelector('.job').querySelectorAll('.job-facts div')]"
        ".map((fact) => [fact.querySelector('dt').textContent, fact.querySelector('dd').textContent])"
    )
    return dict(found)


async def test_a_drawing_starts_from_a_picture_and_is_seen_to_come(
    app: WebHarness, browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "green.png").write_bytes(picture(300, 200, GREEN))
    loop = asyncio.get_running_loop()

    def step() -> bool:
        loop.call_soon_threadsafe(app.gate.let, 1)
        return bool(browser.js("return seen.length"))

    def scene(url: str) -> None:
        browser.open(url)
        browser.chip("pictures")
        assert not browser.all("#strength-field")
        browser.js(COUNT)
        browser.one("#image").send_keys(str(tmp_path / "green.png"))
        browser.until(lambda: kept(browser), "the picture small")
        # A decoded picture takes 4 bytes a pixel: it is let go once it is shown small.
        assert browser.js("return made.map(({ width }) => width)") == [0]
        assert browser.text("#image-name") == text("en", "web.image.kept", name="green.png", width=300, height=200)
        assert browser.one("#strength-field").is_displayed()
        assert browser.js("return document.querySelector('input[name=preset]:checked').value") == "like"
        browser.js(WATCH)
        browser.one("#strength").send_keys(*[Keys.ARROW_LEFT] * 8)
        job = draw(browser, "a red apple --seed 7 --steps 50")
        browser.until(step, "a preview in place of the picture")
        place = browser.js(PLACE)
        # The step, the seconds gone and left, and the seed.
        live = browser.text(".live-facts")
        assert re.match(r"Step \d+ of \d+", live), live
        assert text("en", "web.live.seed", seed="7") in live
        assert re.search(r"\d s\b", live), live
        loop.call_soon_threadsafe(app.gate.open)
        assert drawn(browser, job) == 1

        # An eighth of the sides, as the engine made it; and the picture stands where its place was kept.
        assert tuple(browser.js("return seen[0]")) == (f"/api/jobs/{job}/preview/0", 30, 20)
        assert browser.all(".preview") == []
        assert browser.js(PLACE) == place
        assert facts(browser).items() >= {"Strength": "0.2", "Size": "240x160"}.items()
        red, green, blue = browser.colours(".picture img", (0.03, 0.03))[0]
        assert green > red
        assert green > blue

        # The picture is kept over a reload, until it is taken away.
        browser.open(url)
        browser.chip("pictures")
        assert browser.text("#image-name") == text("en", "web.image.kept", name="green.png", width=300, height=200)
        browser.one("#image-remove").click()
        browser.until(lambda: not kept(browser), "no picture")
        assert not browser.all("#strength-field")
        assert (browser.focused(), browser.all("input[name=preset][value=like]")) == ("image", [])
        assert browser.complaints() == []

    app.gate.shut()
    await look(app, scene)


async def test_a_picture_is_pasted_dropped_or_refused(app: WebHarness, browser: Browser) -> None:
    def give(kind: str, name: str, mime: str, data: bytes) -> None:
        browser.js(GIVE, kind, name, mime, base64.b64encode(data).decode())

    def scene(url: str) -> None:
        browser.open(f"{url}?lang=zh")
        give("paste", "blue.png", "image/png", picture(90, 90, BLUE))
        browser.until(lambda: kept(browser), "the pasted picture")
        assert browser.one("#popover-pictures").is_displayed()
        give("drop", "wide.png", "image/png", picture(90, 30, BLUE))
        browser.until(lambda: "wide.png" in browser.text("#image-name"), "the dropped picture")
        browser.one("#image-remove").click()
        give("drop", "letter.txt", "text/plain", b"dear easel")
        browser.until(lambda: browser.text("#error") == text("zh_CN", "web.image.not_one"), "a sentence")
        assert not kept(browser)
        # What the browser can't show, the service says.
        give("drop", "broken.tiff", "image/tiff", b"no picture")
        browser.until(lambda: kept(browser), "the broken one")
        browser.write("prompt", "一只猫")
        browser.one("#draw").click()
        refusal = text("zh_CN", "refusal.image.unreadable")
        browser.until(lambda: browser.text("#error") == refusal, "a refusal")
        assert browser.all("#image-field #error")
        browser.complaints()  # the refusal's status

    await look(app, scene)


async def test_pictures_are_varied_enlarged_and_started_from(
    app: WebHarness, browser: Browser, engine: FakeEngine
) -> None:
    def scene(url: str) -> None:
        browser.open(url)
        drawn(browser, draw(browser, "a red apple --seed 7"))
        # By keys, for the picture that has the focus.
        focus = "document.querySelector(arguments[0]).focus()"
        browser.js(focus, ".picture-open")
        varied = begun(browser, lambda: browser.keys("v"))
        assert drawn(browser, varied) == 2
        assert facts(browser).items() >= {"Seed": "7", "Variation": "0.25"}.items()
        browser.js(focus, ".picture:nth-child(2) .picture-open")
        large = begun(browser, lambda: browser.keys("u"))
        assert drawn(browser, large) == 1
        assert browser.js("return document.querySelector('.picture img').naturalWidth") == 384
        assert facts(browser).items() >= {"Upscaled": "2×", "Size": "384x384"}.items()

        browser.js(focus, ".picture-open")
        browser.keys("i")
        browser.until("return document.querySelector('#chip-pictures canvas')", "it in the composer")
        browser.chip("pictures")
        browser.until(lambda: kept(browser), "it in its field")
        assert f"easel-{large}-1.png" in browser.text("#image-name")
        browser.choose("model", "other")
        assert browser.text("#image-about") == text("en", "web.image.none")
        browser.one("#image-remove").click()
        browser.choose("preset", "wide")
        drawn(browser, draw(browser, "a cat"))
        assert facts(browser).items() >= {"Model": "Another model", "Size": "768x432"}.items()
        shown = {button.get_attribute("data-action") for button in browser.all(".job:first-child [data-action]")}
        assert {"delete", "prompt", "reroll", "seed", "vary"} <= shown
        assert "upscale" not in shown
        assert browser.complaints() == []

    await look(app, scene)
    assert [recipe.model for recipe in engine.painted][-1] == "other"
