"""Several drawings at once in the feed: nothing is lost, nothing moves under one's hand. Chromium, an engine without a device."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from bot.cards.i18n import text
from engine.families.z_image.spec import demo
from tests.e2e.web.browser import Browser
from tests.e2e.web.conftest import look
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MANY = 29
DEMO = replace(demo(), vocabulary=frozenset())
"""Without its vocabulary, since these tests type any words."""
TONES = "return [...document.querySelectorAll('.job')].map((row) => [Number(row.dataset.job), row.dataset.tone])"
SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) shifted += entry.value;
}).observe({ type: "layout-shift", buffered: false });
"""
TOP = "return document.querySelector(arguments[0]).getBoundingClientRect().top"


@pytest.fixture
def engine(engine_gate: StepGate) -> FakeEngine:
    """What draws for the page, under the demo's name."""
    return FakeEngine([DEMO], pause=engine_gate)


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
        browser.js("window.fetch = window.ask")
        browser.until(lambda: not browser.text(error) and not browser.all(".unsent"), "no such word any more")
        browser.until("return document.querySelectorAll('.job').length === 2", "the request's row")
        # So it is after a reload: what was not sent is sent once, by itself.
        browser.js("window.fetch = () => Promise.reject(new TypeError('away'));")
        browser.write("prompt", "a dog")
        browser.one("#draw").click()
        browser.until(lambda: browser.all(".unsent"), "what is not sent")
        browser.open(url)
        browser.until("return document.querySelectorAll('.job').length === 3", "the request's row")
        assert browser.text(".job-prompt") == "a dog"
        assert not browser.all(".unsent, .error")
        # Somebody whose session has ended is led to sign in again, and has their request afterwards.
        browser.js(
            "window.left = true; window.fetch = async () =>"
            " new Response(JSON.stringify({error: {key: 'x', text: 'x'}}), {status: 401})"
        )
        browser.write("prompt", "a bird")
        browser.one("#draw").click()
        browser.until("return !window.left", "the page is loaded again")
        browser.until("return document.querySelector('.job-prompt')?.textContent === 'a bird'", "the request's row")

    await look(app, scene)
    assert len(engine.painted) == 4


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


async def test_the_first_picture_is_made_of_words_to_tap(app: WebHarness, browser: Browser, engine: FakeEngine) -> None:
    def tap(*words: str, within: str = "empty") -> str:
        for word in words:
            path = f"//*[@id='{within}']//button[@class='word'][normalize-space()='{word}']"
            browser.driver.find_element(By.XPATH, path).click()
        return str(browser.one("#prompt").get_attribute("value"))

    def scene(url: str) -> None:
        browser.open(url)
        assert tap("cat", "orange", "at sunset") == "an orange cat at sunset"
        assert tap("orange") == "a cat at sunset", "a second tap takes a word away"
        assert "easel model pull" in browser.text(".real code")
        browser.open(f"{url}?lang=zh")
        assert tap("熊猫", "红色", "太空中") == "太空中的一只红色的熊猫"
        browser.one("#empty .primary").click()
        browser.until(lambda: done(browser, 1), "the picture")
        assert not browser.all("#empty")
        assert browser.text(".job-notes") == text("zh_CN", "note.demo")
        # Afterwards the words are behind a chip; they take the place of others, which come back.
        browser.open(url)
        assert browser.text(".job-notes") == text("zh_CN", "note.demo"), "in the language of the request"
        browser.write("prompt", "my own words")
        browser.one("#chip-words").click()
        assert "these 72 things" in browser.text("#popover-words")
        assert len(browser.all("#popover-words > fieldset .word")) == 72
        assert tap("guitar", within="popover-words") == "a guitar"
        assert browser.text("#said").startswith(text("en", "web.draft.replaced"))
        browser.one("#said button").click()
        browser.until("return document.getElementById('prompt').value === 'my own words'", "the words")
        assert not browser.all("#popover-words [aria-pressed=true]")
        assert browser.complaints() == []

    await look(app, scene)
    assert [recipe.prompt for recipe in engine.painted] == ["太空中的一只红色的熊猫"]


async def test_the_page_stands_on_a_narrow_one_with_colours_of_ones_own(app: WebHarness, browser: Browser) -> None:
    await app.drawn("a red apple", count="4")

    def scene(url: str) -> None:
        browser.become(width=320, height=480)
        browser.prefer(forced_colors="active", prefers_reduced_motion="reduce")
        browser.open(url)
        browser.chip("more")
        assert browser.js("return document.documentElement.scrollWidth") <= 320
        browser.one("#popover-more .popover-top button").click()
        # What is chosen, and how far a bar is, can be seen without colours.
        browser.chip("size")
        outline = "return getComputedStyle(document.querySelector('.size input:checked + span')).outlineStyle"
        assert browser.js(outline) == "solid"
        # The composer does not hide the row that has the focus.
        browser.keys(Keys.ESCAPE)
        browser.js("document.querySelector('.job').focus()")
        browser.tab_to("[data-action=reroll]")
        covered = browser.js(
            "const r = document.activeElement.getBoundingClientRect();"
            "return !document.activeElement.contains(document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2))"
        )
        assert not covered
        assert browser.complaints() == []

    await look(app, scene)
