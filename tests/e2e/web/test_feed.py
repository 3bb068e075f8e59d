"""Several drawings at once in the feed: nothing is lost, nothing moves under one's hand. Chromium, an engine without a device."""

from __future__ import annotations

import asyncio

import pytest
from selenium.webdriver.common.keys import Keys

from bot.cards.i18n import text
from tests.e2e.web.browser import Browser
from tests.e2e.web.conftest import look
from tests.fakes.engine import FakeEngine
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
        browser.js(SHIFTS)
        loop.call_soon_threadsafe(app.gate.open)
        browser.until(lambda: done(browser, *jobs), "all five")
        assert browser.js(TOP, vary) == place
        browser.command("Input.dispatchMouseEvent", type="mouseReleased", **at)
        browser.until(lambda: browser.all("#fresh") or max(tones(browser)) > jobs[-1], "the variation")
        assert browser.js("return shifted") < 0.02
        assert browser.complaints() == []

    await look(app, scene)
    assert await parent_of(app, jobs[-1] + 1) == first


async def test_what_others_ask_for_appears_and_the_queue_is_emptied(app: WebHarness, browser: Browser) -> None:
    loop = asyncio.get_running_loop()
    app.gate.shut()
    # Of another size each: no two share a batch, so that most of them wait in line.
    jobs = [(await app.ask(f"picture {n}", size=f"{64 + 16 * n}x64"))["job_id"] for n in range(MANY - 1)]
    jobs.append((await app.ask("the last", steps="50"))["job_id"])
    await app.until(lambda: app.gate.reached)

    def ask(prompt: str) -> None:
        asyncio.run_coroutine_threadsafe(app.ask(prompt), loop).result()

    def scene(url: str) -> None:
        for _ in range(2):  # and after a reload
            browser.open(url)
            browser.until(lambda: browser.text("#queue-pill").split()[:1] == [str(MANY)], "all that are open")
        browser.one("#queue-pill").click()
        lines = "return [...document.querySelectorAll('.queue-prompt')].map((line) => line.textContent)"
        assert len(browser.js(lines)) == MANY
        assert browser.js(lines)[1:4] == ["picture 1", "picture 2", "picture 3"], "in the order of the queue"
        # Nothing is drawn yet, and nothing says that it is.
        assert set(tones(browser).values()) == {"waiting"}
        assert browser.all(".bar.waiting") == [], "no bar moves for what waits"
        browser.one(".queue-line:nth-child(3) button").click()
        browser.until(lambda: len(browser.js(lines)) == MANY - 1, "one less")
        assert "picture 2" not in browser.js(lines)
        browser.one("[data-action=cancel-all]").click()
        browser.until(lambda: not browser.js(lines), "none")
        assert not browser.one("#queue-pill").is_displayed()
        browser.keys(Keys.ESCAPE)

        # Another client's job comes by itself; further down one is only told of it.
        loop.call_soon_threadsafe(app.gate.open)
        browser.requested()
        ask("a cat")
        browser.until(lambda: max(tones(browser)) > jobs[-1], "the other's job")
        browser.js("scrollTo({top: 700})")
        browser.until("return scrollY > 600", "scrolled")
        place = browser.js(TOP, f"#row-{jobs[-3]}")
        ask("a dog")
        browser.until(lambda: browser.all("#fresh"), "that there is something new")
        assert browser.js(TOP, f"#row-{jobs[-3]}") == place
        asked = [url for url in browser.requested() if "/api/jobs/" in url and "/preview/" not in url]
        assert asked == [], "every job comes by the one stream"
        browser.one("#fresh").click()
        browser.until("return document.querySelector('.job-prompt').textContent === 'a dog'", "the newest first")
        assert browser.complaints() == []

    await look(app, scene)


async def test_what_was_said_goes_away_when_it_holds_no_more(
    app: WebHarness, browser: Browser, engine: FakeEngine
) -> None:
    job = (await app.drawn("a red apple"))["job_id"]

    def scene(url: str) -> None:
        browser.open(url)
        browser.write("prompt", "a cat --count x")
        browser.one("#draw").click()
        browser.until(lambda: browser.all("#error"), "a refusal")
        browser.write("prompt", "a cat")
        assert not browser.all("#error")
        # A press that got no answer, and a request that is not sent yet; then the service is back.
        browser.js("window.ask = window.fetch; window.fetch = () => Promise.reject(new TypeError('away'));")
        browser.one(f"#row-{job} [data-action=reroll]").click()
        error = f"#row-{job} .error"
        browser.until(lambda: browser.text(error) == text("en", "web.error.away"), "that nobody answered")
        browser.one("#draw").click()
        browser.until(lambda: browser.text("#engine-banner-text") == text("en", "web.away"), "that nobody is there")
        browser.until(lambda: browser.all(".unsent"), "what is not sent")
        # A reload finds it again; it is sent once, by itself.
        browser.open(url)
        browser.until("return document.querySelectorAll('.job').length === 2", "the request's row")
        assert browser.text(".job-prompt") == "a cat"
        assert not browser.all(".unsent, .error")

    await look(app, scene)
    assert len(engine.painted) == 2


async def test_a_job_that_was_cancelled_keeps_its_place(app: WebHarness, browser: Browser) -> None:
    app.gate.shut()
    job = (await app.ask("a red apple"))["job_id"]

    def scene(url: str) -> None:
        browser.open(url)
        browser.until(lambda: tones(browser) == {job: "waiting"}, "the row")
        height = browser.js("return document.querySelector('.job').offsetHeight")
        browser.one(f"#row-{job} [data-action=cancel]").click()
        browser.until(lambda: tones(browser)[job] == "stopped", "cancelled")
        assert browser.text(".job-status") == text("en", "card.cancelled")
        assert browser.js("return document.querySelector('.job').offsetHeight") == height
        browser.one(f"#row-{job} [data-action=reuse]").click()
        browser.until("return document.getElementById('prompt').value === 'a red apple'", "its prompt")

    await look(app, scene)
