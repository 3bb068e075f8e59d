"""Several drawings at once on the page: nothing is lost, nothing moves under one's hand. Chromium, an engine without a device."""

from __future__ import annotations

import asyncio

import pytest

from bot.cards.i18n import text
from tests.e2e.web.browser import Browser
from tests.e2e.web.conftest import look
from tests.unit.adapters.web.harness import WebHarness

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MANY = 29
STATES = """
return [...document.querySelectorAll('.job')].map((card) => [
  Number(card.dataset.job), card.dataset.tone, card.querySelector('.job-status').textContent,
  card.querySelectorAll('.picture img').length, card.querySelectorAll('.canvas').length,
]);
"""


def states(browser: Browser) -> list[tuple[int, str, str, int, int]]:
    return [tuple(one) for one in browser.js(STATES)]


def done(browser: Browser, *jobs: int) -> bool:
    return {job for job, tone, _, pictures, _ in states(browser) if tone == "done" and pictures} >= set(jobs)


async def parent_of(app: WebHarness, job: int) -> int:
    async with app.db.read() as tx:
        rows = list(await tx.execute_fetchall("SELECT parent_id FROM jobs WHERE id = ?", (job,)))
    return int(rows[0][0])


@pytest.mark.parametrize("hold", ["focus", "pointer"])
async def test_a_job_that_ends_leaves_the_picture_that_is_worked_on(
    app: WebHarness, browser: Browser, hold: str
) -> None:
    loop = asyncio.get_running_loop()
    first = (await app.drawn("a red apple"))["job_id"]
    app.gate.shut()
    second = (await app.ask("a green pear"))["job_id"]
    vary = f'.job[data-job="{first}"] [data-action=vary]'

    def scene(url: str) -> None:
        browser.open(url)
        browser.until(lambda: browser.all(vary), "the first one's button")
        browser.js("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", vary)
        if hold == "focus":
            browser.js("document.querySelector(arguments[0]).focus({focusVisible: true, preventScroll: true})", vary)
        else:
            x, y = browser.js(
                "const r = document.querySelector(arguments[0]).getBoundingClientRect(); return [r.x, r.y]", vary
            )
            browser.command("Input.dispatchMouseEvent", type="mouseMoved", x=x + 9, y=y + 9)
        place = browser.js("return document.querySelector(arguments[0]).getBoundingClientRect().top", vary)
        loop.call_soon_threadsafe(app.gate.open)
        browser.until(lambda: done(browser, first, second), "the second one beside the first")
        assert (
            abs(browser.js("return document.querySelector(arguments[0]).getBoundingClientRect().top", vary) - place) < 2
        )
        if hold == "focus":
            assert browser.js("return document.activeElement === document.querySelector(arguments[0])", vary)
            browser.keys("\ue007")
        else:
            for kind in ("mousePressed", "mouseReleased"):
                browser.command("Input.dispatchMouseEvent", type=kind, x=x + 9, y=y + 9, button="left", clickCount=1)
        browser.until(lambda: done(browser, first, second, second + 1), "the variation")
        assert browser.complaints() == []

    await look(app, scene)
    assert await parent_of(app, second + 1) == first


async def test_a_card_that_ends_between_press_and_release_still_takes_the_click(
    app: WebHarness, browser: Browser
) -> None:
    loop = asyncio.get_running_loop()
    first = (await app.drawn("a red apple"))["job_id"]
    app.gate.shut()
    second = (await app.ask("a green pear"))["job_id"]
    vary = f'.job[data-job="{first}"] [data-action=vary]'

    def scene(url: str) -> None:
        browser.open(url)
        browser.until(lambda: browser.all(vary), "the first one's button")
        browser.js("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", vary)
        x, y = browser.js(
            "const r = document.querySelector(arguments[0]).getBoundingClientRect(); return [r.x, r.y]", vary
        )
        at = {"x": x + 9, "y": y + 9, "button": "left", "clickCount": 1}
        browser.command("Input.dispatchMouseEvent", type="mousePressed", **at)
        loop.call_soon_threadsafe(app.gate.open)
        browser.until(lambda: done(browser, second), "the second one")
        browser.command("Input.dispatchMouseEvent", type="mouseReleased", **at)
        browser.until(lambda: done(browser, second + 1), "the variation")

    await look(app, scene)
    assert await parent_of(app, second + 1) == first


async def test_all_open_jobs_are_shown_drawn_ones_first_and_all_their_results_stay(
    app: WebHarness, browser: Browser
) -> None:
    loop = asyncio.get_running_loop()
    app.gate.shut()
    # Of another size each: no two share a batch, so that most of them wait in line.
    jobs = [(await app.ask(f"picture {n}", size=f"{64 + 16 * n}x64"))["job_id"] for n in range(MANY - 1)]
    jobs.append((await app.ask("the last", steps="50"))["job_id"])
    await app.until(lambda: app.gate.reached)

    def scene(url: str) -> None:
        for _ in range(2):  # and after a reload
            browser.open(url)
            browser.until(lambda: len(states(browser)) == MANY, "all that are open")
        assert sorted(job for job, *_ in states(browser)) == jobs
        # Nothing is drawn yet, and nothing says that it is.
        assert {tone for _, tone, *_ in states(browser)} == {"waiting"}
        assert not [status for _, _, status, *_ in states(browser) if "%" in status]
        assert browser.all(".bar.waiting") == [], "no bar moves for what waits"
        browser.requested()

        def drawing() -> bool:
            loop.call_soon_threadsafe(app.gate.let, 1)
            return any(tone == "running" for _, tone, *_ in states(browser))

        browser.until(drawing, "one that is drawn")
        tones = [tone for _, tone, *_ in states(browser)]
        assert tones == sorted(tones, key=["running", "waiting", "done"].index)
        assert all(canvas for _, tone, _, _, canvas in states(browser) if tone == "running")
        loop.call_soon_threadsafe(app.gate.open)
        browser.until(lambda: done(browser, *jobs), "all results")
        asked = [url for url in browser.requested() if "/api/jobs/" in url and "/preview/" not in url]
        assert asked == [], "every job comes by the one stream"
        assert browser.complaints() == []

    await look(app, scene)


async def test_what_was_said_goes_away_when_it_holds_no_more(app: WebHarness, browser: Browser) -> None:
    job = (await app.drawn("a red apple"))["job_id"]

    def scene(url: str) -> None:
        browser.open(url)
        browser.write("prompt", "a cat")
        browser.write("seed", "x")
        browser.one("#draw").click()
        browser.until("return !document.getElementById('error').hidden", "a refusal")
        browser.write("seed", "")
        assert browser.js("return document.getElementById('error').hidden")
        # A press that got no answer; then the service is back.
        browser.js(
            """window.ask = window.fetch;
               window.fetch = (url, ...rest) =>
                 new URL(url).pathname === '/api/quota' ? ask(url, ...rest) : Promise.reject(new TypeError('away'));"""
        )
        browser.one(f'.job[data-job="{job}"] [data-action=reroll]').click()
        away = text("en", "web.error.away")
        error = f'.job[data-job="{job}"] .error'
        browser.until(lambda: browser.text(error) == away, "that nobody answered")
        browser.one("#draw").click()
        browser.until(lambda: browser.text("#error") == away, "that nobody answered, at the form")
        browser.js("window.fetch = ask")
        browser.until(lambda: not browser.text(error) and not browser.text("#error"), "no such word any more")

    await look(app, scene)
