"""Work with pictures in real Chromium: the viewer, comparing, the mask brush; and what a dropped file says of itself."""

from __future__ import annotations

import asyncio
import base64
from concurrent.futures import Future
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from bot.cards.i18n import text
from bot.core.file_marks import embed_texts
from tests.e2e.web.browser import Browser
from tests.e2e.web.conftest import look
from tests.fakes.source_images import GREEN, opened, picture
from tests.unit.adapters.web.harness import WebHarness

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PARAMETERS = (
    "a cat by the window <lora:ink:0.8>\nNegative prompt: blurry\n"
    "Steps: 20, Sampler: DPM++ 2M, CFG scale: 7, Seed: 3422233, Size: 256x144, Model: dreamshaper_8"
)
OPEN = "return document.getElementById('viewer').open && document.getElementById('viewer-picture')?.complete"
CLOSED = "return !document.getElementById('viewer').open"
# Where everything is that somebody looks at; a change is a jump under their eyes.
PLACES = """
return [...document.querySelectorAll('#viewer, #viewer .stage, #viewer-picture, .viewer-bar button, .panel h2')]
  .map((one) => JSON.stringify(one.getBoundingClientRect()));
"""
GIVE = """
const [name, data] = arguments;
const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
const given = new DataTransfer();
given.items.add(new File([bytes], name, {type: 'image/png'}));
document.body.dispatchEvent(new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: given}));
"""
SWIPE = """
const stage = document.querySelector('.stage');
stage.setPointerCapture = () => {};
const of = (type, x) => stage.dispatchEvent(new PointerEvent(type, {
  pointerId: 7, pointerType: 'touch', button: 0, clientX: 400 + x, clientY: 300, bubbles: true, cancelable: true
}));
of('pointerdown', 0);
of('pointermove', arguments[0] / 2);
of('pointerup', arguments[0]);
"""


def address(browser: Browser) -> str:
    return str(browser.js("return location.hash"))


def focused_picture(browser: Browser) -> str:
    return str(browser.js("return document.activeElement.dataset.picture ?? ''"))


def show(browser: Browser, name: str) -> None:
    """Open a picture of the feed, such as ``1/0``."""
    browser.until(f"return document.querySelector('[data-picture=\"{name}\"]')", f"the picture {name}")
    browser.js(f"document.querySelector('[data-picture=\"{name}\"]').focus()")
    browser.keys(Keys.ENTER)
    browser.until(OPEN, "the viewer")


def width(browser: Browser) -> float:
    return float(browser.js("return document.getElementById('viewer-picture').getBoundingClientRect().width"))


async def pressed(app: WebHarness, button: str) -> dict[str, Any]:
    status, answer = await app.press(button)
    assert status == 200, answer
    return await app.final(answer["new"]["job_id"])


async def test_a_picture_is_looked_at_from_all_sides(app: WebHarness, browser: Browser) -> None:
    await app.drawn("a red apple", count="2", seed="7")
    await app.drawn("an old boat", size="256x144")
    enlarged = (await pressed(app, "easel:upscale:1:1"))["job_id"]
    loop = asyncio.get_running_loop()

    def drawn_elsewhere() -> None:
        """Another client draws five pictures, one after another."""
        for number in range(5):
            done: Future[Any] = asyncio.run_coroutine_threadsafe(app.drawn(f"a pear {number}"), loop)
            newest = int(done.result(30)["job_id"])
        browser.until(lambda: browser.js("return document.title === 'Easel'") and newest, "the jobs have ended")

    def scene(url: str) -> None:
        browser.open(url)
        show(browser, "1/0")
        assert address(browser) == "#job/1/1"

        # Nothing moves while five jobs end.
        before = browser.js(PLACES)
        drawn_elsewhere()
        assert browser.js(PLACES) == before
        assert browser.text("#viewer-caption") == "a red apple"

        # By keys through all pictures, in the order of the feed.
        browser.keys(Keys.ARROW_RIGHT)
        browser.until("return location.hash === '#job/1/2'", "the next picture")
        browser.keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
        browser.until("return location.hash === '#job/2/1'", "the picture of the request before")

        # A finger that moves to the side turns too.
        browser.js(SWIPE, -200)
        browser.until("return location.hash === '#job/1/1'", "the next picture, by a swipe")
        browser.js(SWIPE, 200)
        browser.until("return location.hash === '#job/2/1'", "the one before")

        # Zoom by keys and by the wheel, around the pointer; 0 shows all again.
        fitting = width(browser)
        browser.keys("+", "+")
        assert width(browser) == pytest.approx(fitting * 2.25, rel=0.01)
        browser.keys("0")
        assert width(browser) == pytest.approx(fitting)
        browser.js(
            "document.querySelector('.stage').dispatchEvent(new WheelEvent('wheel', {deltaY: -300, clientX: 100, clientY: 200,"
            " bubbles: true, cancelable: true}))"
        )
        assert width(browser) > fitting * 1.5
        browser.keys("-", "-", "-")
        assert width(browser) == pytest.approx(fitting)
        webdriver.ActionChains(browser.driver).double_click(browser.one("#viewer-picture")).perform()
        browser.until(lambda: width(browser) == pytest.approx(fitting * 3), "three times as large")
        webdriver.ActionChains(browser.driver).double_click(browser.one("#viewer-picture")).perform()
        browser.until(lambda: width(browser) == pytest.approx(fitting), "all of it again")

        # The star; the enlarged picture beside the one that it was made from, and back along its lineage.
        browser.keys("f")
        browser.until("return document.getElementById('viewer-star').ariaPressed === 'true'", "the star")
        browser.js(
            f"history.replaceState(null, '', '#job/{enlarged}/1'); dispatchEvent(new HashChangeEvent('hashchange'))"
        )
        browser.until("return document.getElementById('viewer-compare')", "the comparison is offered")
        browser.keys("c")
        browser.until("return document.querySelector('.earlier')?.complete", "the picture before")
        browser.js("document.getElementById('compare-slider').focus()")
        browser.keys(Keys.ARROW_LEFT)
        assert browser.js("return document.getElementById('compare-slider').value") == "48"
        assert text("en", "web.lineage.upscale", job=1) in browser.text(".lineage")
        browser.one("[data-relative='1/1']").click()
        browser.until("return location.hash === '#job/1/2'", "the parent")
        browser.until(f"return document.querySelector('[data-relative=\"{enlarged}/0\"]')", "what was made of it")

        # All that is known of it, and its request again.
        browser.one(".more-facts summary").click()
        browser.until("return document.querySelector('.line-of')?.innerText.includes('--seed 7')", "its line")
        browser.one("[data-act=reuse]").click()
        browser.until(CLOSED, "the viewer is closed")
        browser.until("return document.getElementById('prompt').value === 'a red apple'", "the prompt")
        browser.until("return document.activeElement.id === 'prompt'", "it has the focus")
        assert browser.js("return document.getElementById('seed').value") == "8"
        browser.until("return location.hash === ''", "the address from before")
        for act, kept in (("remix", ""), ("prompt", "5")):
            show(browser, "1/0")
            browser.one(f"[data-act={act}]").click()
            browser.until(CLOSED, "the viewer is closed")
            browser.until("return document.getElementById('prompt').value === 'a red apple'", "the prompt")
            assert browser.js("return document.getElementById('seed').value") == kept
            browser.chip("more")
            browser.write("seed", "5")
            browser.keys(Keys.ESCAPE)

        # Close returns the focus; Back closes too; Delete goes on to the next, and can be undone.
        show(browser, "2/0")
        browser.keys(Keys.ESCAPE)
        browser.until(CLOSED, "closed")
        browser.until(lambda: focused_picture(browser) == "2/0", "the focus is back")
        show(browser, "2/0")
        browser.driver.back()
        browser.until(CLOSED, "closed by Back")
        show(browser, "2/0")
        browser.keys(Keys.DELETE)
        browser.until("return location.hash === '#job/1/1'", "the next picture")
        browser.until("return document.getElementById('said')?.matches(':popover-open')", "a notice before the viewer")
        browser.keys(Keys.ESCAPE)
        browser.until("return !document.querySelector('[data-picture=\"2/0\"]')", "it is gone")
        browser.one("#said [data-action=undo]").click()
        browser.until("return document.querySelector('[data-picture=\"2/0\"]')", "it is back")
        assert browser.complaints() == []

    await look(app, scene)


async def test_a_part_is_painted_over_and_drawn_anew(app: WebHarness, browser: Browser) -> None:
    first = await app.drawn("a red apple", seed="7")

    def drag(*points: tuple[float, float]) -> None:
        left, top, across, down = browser.js(
            "const at = document.getElementById('mask-canvas').getBoundingClientRect(); return [at.left, at.top, at.width, at.height]"
        )
        places = [{"x": left + across * x, "y": top + down * y} for x, y in points]
        moves = [{"type": "mouseMoved", **place} for place in places[1:]]
        steps = [{"type": "mousePressed", **places[0]}, *moves, {"type": "mouseReleased", **places[-1]}]
        for step in steps:
            browser.command("Input.dispatchMouseEvent", button="left", buttons=1, clickCount=1, **step)

    def painted(x: float, y: float) -> bool:
        code = (
            "const [x, y] = arguments; const canvas = document.getElementById('mask-canvas');"
            "return canvas.getContext('2d').getImageData(x * canvas.width, y * canvas.height, 1, 1).data[3] > 127"
        )
        return bool(browser.js(code, x, y))

    def scene(url: str) -> None:
        browser.open(url)
        show(browser, "1/0")
        browser.keys("m")
        browser.until("return document.getElementById('mask-clear')?.ariaDisabled === null", "the brush")
        browser.one("#mask-done").click()
        assert browser.text("#mask-error") == text("en", "web.mask.empty")
        drag((0.2, 0.3), (0.8, 0.3))
        assert (painted(0.5, 0.3), painted(0.5, 0.8)) == (True, False)
        browser.one("#mask-undo").click()
        assert not painted(0.5, 0.3)
        browser.one("#mask-redo").click()
        browser.one("#mask-erase").click()
        drag((0.5, 0.1), (0.5, 0.5))
        assert (painted(0.25, 0.3), painted(0.5, 0.3)) == (True, False)
        browser.one("#mask-invert").click()
        assert (painted(0.25, 0.3), painted(0.5, 0.3)) == (False, True)
        browser.one("#mask-clear").click()
        browser.one("#mask-brush").click()
        browser.keys("]", "]", "]")
        drag((0.2, 0.5), (0.8, 0.5))
        browser.one("#mask-done").click()
        browser.until(CLOSED, "both dialogs are closed")
        browser.until("return document.activeElement.id === 'prompt'", "the prompt has the focus")
        browser.keys("a green pear", Keys.ENTER)
        browser.until("return document.querySelector('[data-picture=\"2/0\"]')", "the new picture", 60)

        # Its request again has its picture and its mask; that of a request without pictures has none.
        browser.press("#row-1 [data-action=reuse]")
        browser.until("return !document.getElementById('mask-remove')", "no mask")
        browser.press("#row-2 [data-action=reuse]")
        browser.until("return document.getElementById('mask-remove')", "the mask")
        browser.press("#row-1 [data-action=reuse]")
        browser.until("return !document.getElementById('mask-remove')", "the pictures are taken away")
        assert browser.complaints() == []

    await look(app, scene)
    _, answer = await app.get("/api/jobs/2")
    assert answer["card"]["kind"] == "start"
    assert (answer["card"]["parent"]["job_id"], answer["card"]["parent"]["index"]) == (1, 0)
    files = []
    for card in (first, answer["card"]):
        async with app.client.get(card["pictures"][0]["url"]) as response:
            files.append(opened(await response.read()).convert("RGB"))
    # Only what was painted is another picture.
    before, after = files
    assert before.getpixel((96, 20)) == after.getpixel((96, 20))
    assert before.getpixel((96, 96)) != after.getpixel((96, 96))


async def test_a_dropped_picture_says_how_it_was_drawn_and_is_drawn_again(app: WebHarness, browser: Browser) -> None:
    first = await app.drawn("a red apple", seed="11", size="256x144", negative="blue", steps="5")
    async with app.client.get(first["pictures"][0]["url"]) as response:
        own = await response.read()

    def give(name: str, data: bytes) -> None:
        browser.js(GIVE, name, base64.b64encode(data).decode())

    def scene(url: str) -> None:
        browser.open(f"{url}?lang=zh")
        give("cat.png", embed_texts(picture(300, 200, GREEN), {"parameters": PARAMETERS}))
        browser.until("return document.getElementById('parameters')?.open", "what it says")
        shown = browser.text("#parameters")
        assert "A1111" in shown
        assert text("zh_CN", "parameters.note.model", model="dreamshaper_8", own="Easel demo") in shown
        browser.one("#parameters-again").click()
        browser.until("return document.getElementById('prompt').value === 'a cat by the window'", "the prompt")
        values = browser.js("return ['seed', 'negative'].map((id) => document.getElementById(id).value)")
        assert values == ["3422233", "blurry"]

        # The same file as a start picture; and one that says nothing is started from at once.
        give("cat.png", embed_texts(picture(300, 200, GREEN), {"parameters": PARAMETERS}))
        browser.until("return document.getElementById('parameters')?.open", "the question again")
        browser.one("#parameters-start").click()
        kept = text("zh_CN", "web.image.kept", name="cat.png", width=300, height=200)
        browser.until(
            lambda: browser.js("return document.getElementById('image-name')?.textContent") == kept, "the start picture"
        )
        give("plain.png", picture(90, 60, GREEN))
        kept = text("zh_CN", "web.image.kept", name="plain.png", width=90, height=60)
        browser.until(
            lambda: browser.js("return document.getElementById('image-name')?.textContent") == kept, "the other one"
        )
        browser.one("#image-remove").click()

        # In the view of inspection it is looked at, and nothing is asked; what is broken is told.
        browser.open(f"{url}inspect?lang=zh")
        browser.until("return document.getElementById('inspect-file')", "the view is there")
        give("note.png", b"no picture")
        browser.until("return document.getElementById('inspect-refused')", "why not")
        assert text("zh_CN", "refusal.parameters.file") in browser.text("#inspect-refused")
        give("apple.png", own)
        browser.until("return document.getElementById('inspect-found')", "what it says")
        shown = browser.text("#inspect-found")
        assert text("zh_CN", "inspect.own.stored") in shown
        assert text("zh_CN", "web.inspect.claimed") in shown
        assert "a red apple" in shown
        browser.one("#inspect-again").click()
        browser.until("return document.activeElement.id === 'prompt'", "the prompt has the focus")
        browser.keys(Keys.ENTER)
        browser.until("return document.querySelector('[data-picture=\"2/0\"]')", "the same picture", 60)
        assert len(browser.complaints()) == 1  # of the answer's status

    await look(app, scene)
    _, answer = await app.get("/api/jobs/2")
    async with app.client.get(answer["card"]["pictures"][0]["url"]) as response:
        again = await response.read()
    assert opened(again).tobytes() == opened(own).tobytes()
