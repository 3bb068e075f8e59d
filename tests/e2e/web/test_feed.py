"""Several drawings at once in the feed: nothing is lost, nothing moves under one's hand. Chromium, an engine without a device."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.web.browser import Browser
from tests.unit.adapters.web.harness import WebHarness

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MANY = 29
TONES = "return [...document.querySelectorAll('.job')].map((row) => [Number(row.dataset.job), row.dataset.tone])"
SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) shifted += entry.value;
}).observe({ type: "layout-shift", buffered: false });
"""
TOP = "return document.querySelector(arguments[0]).getBoundingClientRect().top"


def tones(browser: Browser) -> dict[int, str]:
    return dict(browser.js(TONES))


def done(browser: Browser, *jobs: int) -> bool:
    found = tones(browser)
    return all(found.get(job) == "done" for job in jobs)


async def parent_of(app: WebHarness, job: int) -> int:
    async with app.db.read() as tx:
        rows = list(await tx.execute_fetchall("SELECT parent_id FROM jobs WHERE id = ?", (job,)))
    return int(rows[0][0])


async def test_five_jobs_end_and_nothing_moves(app: WebHarness, browser: Browser) -> None:
    loop = asyncio.get_running_loop()
    first = (await app.drawn("a red apple"))["job_id"]
    app.gate.shut()
    jobs = [(await app.ask(f"a green pear {n}", count=str(n), size="wide"))["job_id"] for n in range(1, 6)]
    vary = f"#row-{first} [data-action=vary]"

    def scene(url: str) -> None:
        browser.open(url)
        browser.until(lambda: len(tones(browser)) == 6, "all rows")
        # Somebody works on the last one, with the pointer on it and the button held down.
        browser.js("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", f"#row-{first}")
        x, y = browser.js(
            "const r = document.querySelector(arguments[0]).getBoundingClientRect(); return [r.x, r.y]", vary
        )
        browser.command("Input.dispatchMouseEvent", type="mouseMoved", x=x + 9, y=y + 9)
        at = {"x": x + 9, "y": y + 9, "button": "left", "clickCount": 1}
        browser.command("Input.dispatchMouseEvent", type="mousePressed", **at)
        place = browser.js(TOP, vary)
