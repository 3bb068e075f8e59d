"""A real Chromium for tests of the page, by Selenium, with what the tests ask it again and again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

CHROMIUM = Path("/usr/bin/chromium")
DRIVER = Path("/usr/bin/chromedriver")
WAIT_SECONDS = 45.0
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

_COLOURS = """
const [selector, points] = arguments;
const image = document.querySelector(selector);
const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
const pen = canvas.getContext('2d', {willReadFrequently: true});
pen.drawImage(image, 0, 0);
return points.map(([x, y]) => [...pen.getImageData(x * image.naturalWidth, y * image.naturalHeight, 1, 1).data].slice(0, 3));
"""


def need_chromium() -> None:
    """Skip the test where there is no Chromium, unless EASEL_TEST_REQUIRE_BROWSER=1 says that there must be one."""
    missing = [str(path) for path in (CHROMIUM, DRIVER) if not path.exists()]
    if not missing:
        return
    if os.environ.get("EASEL_TEST_REQUIRE_BROWSER") == "1":
        pytest.fail(f"EASEL_TEST_REQUIRE_BROWSER=1, but there is no {' and no '.join(missing)}")
    pytest.skip(f"there is no {' and no '.join(missing)}")


class Browser:
    """One window with a profile of its own.

    Attributes:
        driver: Selenium's own object.
    """

    def __init__(self, folder: Path, *, lang: str = "en", width: int = 1200, height: int = 900) -> None:
        need_chromium()
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}", f"--accept-lang={lang}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
        self.driver.set_script_timeout(WAIT_SECONDS)
        self._agent = str(self.js("return navigator.userAgent"))
        self.become(lang=lang, width=width, height=height)

    def become(self, *, lang: str = "en", width: int = 1200, height: int = 900) -> None:
        """Be another person's window: of this language and size, without preferences; narrow ones are touched."""
        phone = width < 500
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )
        self.command("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.command("Emulation.setUserAgentOverride", userAgent=self._agent, acceptLanguage=lang)
        self.prefer()

    def command(self, name: str, **params: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, params)

    def js(self, code: str, *args: Any) -> Any:
        """Run JavaScript; returns what it returns."""
        return self.driver.execute_script(code, *args)

    def open(self, url: str) -> None:
        """Open the page and wait until it is filled in, with what was drawn before."""
        self.driver.get(url)
        ready = "return !document.getElementById('app').hidden && !document.querySelector('[aria-busy]')"
        self.until(ready, "the page is filled in")

    def until(self, condition: str | Callable[[], object], what: str, seconds: float = WAIT_SECONDS) -> Any:
        """Wait until JavaScript, or a function, returns something true; returns that."""
        end = time.monotonic() + seconds
        while not (found := self.js(condition) if isinstance(condition, str) else condition()):
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds:g} s: {what}\n{self.text('body')}")
            time.sleep(0.02)
        return found

    def one(self, selector: str) -> WebElement:
        """Return the first element that a CSS selector finds."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """Return every element that a CSS selector finds."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """Return an element's words as they are in the document."""
        return str(self.js("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def keys(self, *keys: str) -> None:
        """Press keys wherever the focus is."""
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def keys_with(self, held: str, key: str) -> None:
        """Press a key while another is held."""
        webdriver.ActionChains(self.driver).key_down(held).send_keys(key).key_up(held).perform()

    def write(self, field: str, text: str) -> None:
        """Put text into a field in place of what it holds."""
        element = self.one(f"#{field}")
        element.send_keys(Keys.CONTROL, "a")
        element.send_keys(Keys.DELETE)
        if text:
            element.send_keys(text)

    def chip(self, name: str) -> None:
        """Open the composer's popover of this name, unless it is open."""
        if not self.js("return document.getElementById(arguments[0]).matches(':popover-open')", f"popover-{name}"):
            self.one(f"#chip-{name}").click()
        self.until(f"return document.getElementById('popover-{name}').matches(':popover-open')", f"{name} is open")

    def choose(self, name: str, value: str) -> None:
        """Choose one of a list of radio buttons, by its field's name and its value, in the popover that holds it."""
        self.js("arguments[0].click()", self.one(f"input[name={name}][value='{value}']"))

    def press(self, selector: str) -> None:
        """Press what shows itself when it is pointed at, as a picture's own buttons do."""
        self.js("arguments[0].click()", self.one(selector))

    def tab_to(self, selector: str, most: int = 60) -> None:
        """Press Tab until the focus is on what the selector finds."""
        for _ in range(most):
            if self.js("return document.activeElement.matches(arguments[0])", selector):
                return
            self.keys(Keys.TAB)
        raise AssertionError(f"Tab does not lead to {selector}")

    def focused(self) -> str:
        """Return the id of what has the focus."""
        return str(self.js("return document.activeElement.id"))

    def colours(self, selector: str, *points: tuple[float, float]) -> list[tuple[int, int, int]]:
        """Return the colours of an image at points from (0, 0) to (1, 1), as (red, green, blue)."""
        found = self.js(_COLOURS, selector, [list(point) for point in points])
        return [cast("tuple[int, int, int]", tuple(colour)) for colour in found]

    def complaints(self) -> list[str]:
        """Return what the page has written to the console as warnings or errors since the last call."""
        return [str(entry["message"]) for entry in self._log("browser") if entry["level"] != "INFO"]

    def requested(self) -> set[str]:
        """Return the addresses that were asked of any host since the last call."""
        events = [json.loads(str(entry["message"]))["message"] for entry in self._log("performance")]
        asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
        # The window's own first tab and pictures given inline (data:) ask no host.
        return {url for url in asked if url.startswith(("http", "ws"))}

    def _log(self, name: str) -> list[dict[str, Any]]:
        found = self.driver.get_log(name)  # type: ignore[no-untyped-call]  # Selenium's own gap
        return cast("list[dict[str, Any]]", found)

    def prefer(self, **features: str) -> None:
        """Set what the person prefers, such as ``prefers_color_scheme="dark"``."""
        chosen: list[Mapping[str, str]] = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self.command("Emulation.setEmulatedMedia", features=chosen)

    def close(self) -> None:
        """End it."""
        self.driver.quit()
