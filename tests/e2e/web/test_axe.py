"""axe-core finds nothing wrong with the page, in each of its states, in English and Chinese, in light and dark."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable

import pytest
from selenium.webdriver.common.keys import Keys

from bot.core.file_marks import embed_texts
from tests.e2e.web import axe
from tests.e2e.web.browser import Browser
from tests.e2e.web.conftest import look
from tests.fakes.source_images import picture
from tests.unit.adapters.web.harness import WebHarness

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FILE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
MOVING = "return document.getAnimations().some((one) => one.playState === 'running')"
PARAMETERS = (
    "a cat\nNegative prompt: blurry\nSteps: 20, Sampler: DPM++ 2M, CFG scale: 7, Seed: 34, Size: 256x144, Model: dream"
)
OTHER_SCHEME = {"light": "dark", "dark": "light"}
ROW_DONE = "return document.querySelectorAll('.feed [data-picture]').length >= 3"
GIVE = """
const bytes = Uint8Array.from(atob(arguments[0]), (char) => char.charCodeAt(0));
const given = new DataTransfer();
given.items.add(new File([bytes], 'green.png', {type: 'image/png'}));
document.body.dispatchEvent(new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: given}));
"""
STATES = {
    "the feed, popover-size",
    "the feed, popover-more",
    "keys",
    "batch",
    "parameters",
    "viewer",
    "mask",
    "account",
    "owner's queue",
}
"""Some of the states; others depend on what the composer offers."""

# Every popover that a visible button of the page opens, once each.
POPOVERS = """
return [...new Set([...document.querySelectorAll('button[popovertarget]')]
  .filter((one) => one.offsetParent && !one.closest('[popover]'))
  .map((one) => one.getAttribute('popovertarget')))];
"""


def test_it_is_the_published_file() -> None:
    assert hashlib.sha256(axe.FILE.read_bytes()).hexdigest() == FILE_SHA256


class Walk:
    """Looks at the page in each state, in one language and both colour schemes, and keeps what is wrong."""

    def __init__(self, browser: Browser, scheme: str) -> None:
        self._browser = browser
        self._scheme = scheme
        self.states: list[str] = []
        self.wrong: list[str] = []
        self.prefer(scheme)

    def prefer(self, scheme: str) -> None:
        """Prefer a colour scheme, and no movement: colours are looked at when they no longer change."""
        self._browser.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")

    def at(self, state: str) -> None:
        """Look at the page as it is now; in the other scheme only colours differ."""
        found = axe.violations(self._browser)
        self.prefer(OTHER_SCHEME[self._scheme])
        found += axe.violations(self._browser, ["color-contrast"])
        self.prefer(self._scheme)
        if self._browser.js(MOVING):
            found.append("something moves, though no movement is preferred")
        self.states.append(state)
        self.wrong += [f"{state}: {one}" for one in found]

    def popovers(self, where: str, *but: str) -> None:
        """Look at each popover of the page."""
        for name in self._browser.js(POPOVERS):
            if name in but:
                continue
            self._browser.js("document.getElementById(arguments[0]).showPopover()", name)
            self.at(f"{where}, {name}")
            self._browser.js("document.getElementById(arguments[0]).hidePopover()", name)

    def dialog(self, name: str) -> None:
        """Look at a dialog that opens, and close it."""
        self._browser.until(f"return document.getElementById('{name}')?.open", name)
        self.at(name)
        self._browser.keys(Keys.ESCAPE)
        self._browser.until(f"return !document.getElementById('{name}')?.open", f"the end of {name}")


def other_pages(browser: Browser, walk: Walk, url: str, lang: str) -> None:
    """Look at the pages for signing in, at the account and at each of the owner's sections."""
    for page, there in (("signin", "main"), ("account", ".account-part"), ("enter/unknown", "main")):
        browser.driver.get(f"{url}{page}?lang={lang}")
        browser.until(f"return document.querySelector('{there}')", page)
        walk.at(page)
    browser.driver.get(f"{url}owner?lang={lang}")
    browser.until("return document.querySelectorAll('[data-section]').length > 5", "the owner's page")
    sections = browser.js("return [...document.querySelectorAll('[data-section]')].map((one) => one.dataset.section)")
    for section in sections:
        browser.js("location.hash = arguments[0]", section)
        browser.until(f"return document.querySelector('main')?.dataset.name === '{section}'", section)
        browser.until("return !document.querySelector('main [aria-busy=true]')", f"{section} is filled in")
        walk.at(f"owner's {section}")


def walk_through(browser: Browser, walk: Walk, url: str, run: Callable[[str], None]) -> None:
    """Bring the page into its states. ``run`` does what happens outside of the browser: ``hold``, ``draw``, ``release``."""
    browser.open(url)
    walk.at("before the first picture")
    browser.one("#draw").click()
    browser.until("return document.getElementById('error')", "the error")
    walk.at("an error at the form")
    assert len(browser.complaints()) == 1  # of the answer's status

    run("hold")
    run("draw")
    browser.open(url)
    browser.until("return document.querySelectorAll('#queue .queue-line').length === 2", "two open jobs")
    walk.at("jobs that are drawn")
    walk.popovers("while jobs are drawn", *[name for name in browser.js(POPOVERS) if name != "queue"])
    run("release")
    browser.until(ROW_DONE, "the pictures")
    walk.at("the feed")
    walk.popovers("the feed", "queue")

    browser.one("#help").click()
    walk.dialog("keys")
    browser.one("#chip-batch").click()
    walk.dialog("batch")
    browser.js(GIVE, base64.b64encode(embed_texts(picture(), {"parameters": PARAMETERS})).decode())
    walk.dialog("parameters")

    browser.js("document.querySelector('[data-picture]').focus()")
    browser.keys(Keys.ENTER)
    browser.until("return document.getElementById('viewer-picture')?.complete", "the picture")
    walk.dialog("viewer")

    browser.js("document.querySelector('.job [data-action=start]').click()")
    browser.until("return document.getElementById('mask-open')", "a picture to start from")
    browser.js("document.getElementById('mask-open').click()")
    browser.until("return document.getElementById('mask-canvas')?.width > 1", "the mask")
    walk.dialog("mask")

    browser.js("location.hash = '#inspect'")
    browser.until("return document.getElementById('inspect-file')", "the view of inspection")
    browser.js(GIVE, base64.b64encode(embed_texts(picture(), {"parameters": PARAMETERS})).decode())
    browser.until("return document.getElementById('inspect-found')", "what a file says")
    walk.at("what a file says")
    browser.js("location.hash = '#grid'")
    browser.until("return document.querySelectorAll('.tile').length >= 3", "the grid")
    walk.at("the grid")
    walk.popovers("the grid", "queue", *[name for name in browser.js(POPOVERS) if name.startswith("popover-")])
    browser.js("document.querySelector('.tile').focus()")
    browser.keys("x")
    browser.until("return document.getElementById('selection')", "the selection")
    walk.at("selected pictures")


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("lang", "scheme"), [("en", "light"), ("zh", "dark")])
async def test_nothing_is_hard_to_use(app: WebHarness, browser: Browser, lang: str, scheme: str) -> None:
    loop = asyncio.get_running_loop()

    async def draw() -> None:
        await app.ask("a red apple", count="2")
        await app.ask("an old boat at sea, in a storm", seed="7")

    def run(what: str) -> None:
        if what == "draw":
            asyncio.run_coroutine_threadsafe(draw(), loop).result(30)
        else:
            loop.call_soon_threadsafe(app.gate.shut if what == "hold" else app.gate.open)

    def scene(url: str) -> None:
        walk = Walk(browser, scheme)
        walk_through(browser, walk, f"{url}?lang={lang}", run)
        assert browser.complaints() == []
        other_pages(browser, walk, url, lang)
        assert not walk.wrong, "\n".join(walk.wrong)
        assert set(walk.states) > STATES
        assert browser.js("return document.documentElement.lang").startswith(lang)

    await look(app, scene)
