"""Two tabs of one person in real Chromium: each shows what the other does, and what both keep is sent once."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.keys import Keys

from tests.e2e.web.browser import Browser
from tests.e2e.web.conftest import look
from tests.unit.adapters.web.harness import WebHarness

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PROMPTS = "return [...document.querySelectorAll('.job-prompt')].map((one) => one.textContent)"


def prompts(browser: Browser, *expected: str) -> None:
    browser.until(lambda: browser.js(PROMPTS) == list(expected), f"{expected}, not {browser.js(PROMPTS)}")


def reachable(browser: Browser, *, on: bool) -> None:
    """Cut this tab's connection, or mend it."""
    browser.command("Network.enable")
    browser.command(
        "Network.emulateNetworkConditions", offline=not on, latency=0, downloadThroughput=-1, uploadThroughput=-1
    )


def write_and_send(browser: Browser, prompt: str) -> None:
    browser.write("prompt", prompt)
    browser.one("#prompt").send_keys(Keys.ENTER)


async def test_two_tabs_show_the_same(app: WebHarness, browser: Browser) -> None:
    await app.drawn("a red apple")

    def scene(url: str) -> None:
        browser.open(url)
        one = browser.driver.current_window_handle
        browser.write("prompt", "half a thou")
        browser.driver.switch_to.new_window("tab")
        two = browser.driver.current_window_handle
        try:
            browser.open(url)
            write_and_send(browser, "a cat")
            prompts(browser, "a cat", "a red apple")
            browser.driver.switch_to.window(one)
            prompts(browser, "a cat", "a red apple")
            assert browser.one("#prompt").get_attribute("value") == "half a thou"

            # A request that nobody answered is kept for both, and is drawn once.
            for tab in (two, one):
                browser.driver.switch_to.window(tab)
                reachable(browser, on=False)
            write_and_send(browser, "an old boat")
            browser.until(lambda: browser.all(".unsent"), "a request that waits")
            for tab in (two, one):
                browser.driver.switch_to.window(tab)
                reachable(browser, on=True)
            prompts(browser, "an old boat", "a cat", "a red apple")
            browser.until(lambda: not browser.all(".unsent"), "nothing waits")
            browser.driver.switch_to.window(two)
            prompts(browser, "an old boat", "a cat", "a red apple")
            assert not browser.all(".unsent")
        finally:
            browser.driver.switch_to.window(two)
            browser.driver.close()
            browser.driver.switch_to.window(one)
            reachable(browser, on=True)

    await look(app, scene)
    assert await app.count("jobs") == 3
