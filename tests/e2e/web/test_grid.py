"""The grid in real Chromium: days, search, selection, keys, many pictures; and a list of prompts."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from bot.cards.i18n import text
from tests.e2e.web.browser import Browser
from tests.e2e.web.conftest import look
from tests.unit.adapters.web.harness import WebHarness

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MANY = 1500
TILES = "return [...document.querySelectorAll('.tile')].map((one) => one.dataset.picture)"
READY = "return document.getElementById('grid') && !document.querySelector('#grid[aria-busy]')"


def tiles(browser: Browser) -> list[str]:
    return [str(name) for name in browser.js(TILES)]


def until_tiles(browser: Browser, *names: str) -> None:
    browser.until(lambda: sorted(tiles(browser)) == sorted(names), f"the tiles {names}, not {tiles(browser)}")


def picked(browser: Browser) -> list[str]:
    return [
        str(one)
        for one in browser.js(
            "return [...document.querySelectorAll('.picked .tile')].map((one) => one.dataset.picture)"
        )
    ]


def focused(browser: Browser) -> str:
    return str(browser.js("return document.activeElement.dataset.picture ?? ''"))


async def multiply(app: WebHarness, times: int) -> None:
    """Copy job 1 with its picture many times, an hour apart; all copies show the same file's thumbnail."""
    numbers = "WITH RECURSIVE numbers(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
    jobs = "state, person_id, account_id, locale, prompt, typed, width, height, steps, guidance, seed, count, model"
    pictures = '"index", seed, width, height, bytes, seconds, created_at, digest'
    async with app.db.write() as tx:
        await tx.execute(
            f"{numbers} INSERT INTO jobs (id, event, created_at, {jobs})"
            f" SELECT n, event || n, created_at - (? - n) * 3600, {jobs} FROM jobs, numbers WHERE id = 1",
            (times, times),
        )
        await tx.execute(
            f"{numbers} INSERT INTO pictures (job_id, path, {pictures})"
            f" SELECT n, path || n, {pictures} FROM pictures, numbers WHERE job_id = 1",
            (times,),
        )


async def test_pictures_are_found_selected_and_kept(app: WebHarness, browser: Browser, tmp_path: Path) -> None:
    await app.drawn("a red apple", count="3", seed="7")
    await app.drawn("an old boat")
    await app.drawn("a green apple", style="anime") if "anime" in app.studio.styles() else await app.drawn(
        "a green apple"
    )
    status, answer = await app.press("easel:vary:2:0")
    assert status == 200
    await app.final(answer["new"]["job_id"])
    browser.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))

    def scene(url: str) -> None:
        browser.open(f"{url}#grid")
        browser.until(READY, "the grid")
        every = ["4/0", "4/1", "4/2", "4/3"][: len([one for one in tiles(browser) if one.startswith("4/")])]
        assert tiles(browser) == [*every, "3/0", "2/0", "1/0", "1/1", "1/2"]
        assert browser.text(".grid-day") == "Today"

        # Arrows, x and Shift; Enter opens, and Escape leads back to the tile.
        browser.tab_to(".tile")
        browser.keys(Keys.END)
        browser.until(lambda: focused(browser) == "1/2", "the last tile")
        browser.keys("x")
        browser.keys_with(Keys.SHIFT, Keys.ARROW_LEFT)
        assert picked(browser) == ["1/1", "1/2"]
        browser.keys(Keys.ENTER)
        browser.until("return document.getElementById('viewer').open", "the viewer")
        browser.keys(Keys.ESCAPE)
        browser.until(lambda: focused(browser) == "1/1", "the tile again")
        browser.until("return location.hash === '#grid'", "the address from before")

        # The same by mouse: a mark, and all up to another one with Shift.
        browser.keys("x")
        browser.one("[data-many=clear]").click()
        marks = browser.all(".tile-check input")
        marks[-1].click()
        hand = webdriver.ActionChains(browser.driver).key_down(Keys.SHIFT).click(marks[-2]).key_up(Keys.SHIFT)
        hand.perform()
        assert picked(browser) == ["1/1", "1/2"]

        # Many at once: stars, a ZIP, deletion with undo.
        browser.one("[data-many=star]").click()
        browser.until("return document.querySelectorAll('.tile-star').length === 2", "two stars")
        browser.one("[data-many=zip]").click()
        (archive,) = browser.until(lambda: [*tmp_path.glob("*.zip")], "the ZIP")
        with zipfile.ZipFile(archive) as packed:
            assert len([name for name in packed.namelist() if name.endswith(".png")]) == 2
            assert "metadata.json" in packed.namelist()
        browser.one("[data-many=delete]").click()
        browser.until("return !document.querySelector('[data-picture=\"1/0\"]')", "job 1 is gone")
        assert not browser.all("#selection")
        browser.one("#said [data-action=undo]").click()
        browser.until("return document.querySelector('[data-picture=\"1/0\"]')", "job 1 is back")

        # Words, kind and stars as chips; each can be taken off, and the address keeps them.
        browser.write("query", "apple")
        until_tiles(browser, "3/0", "1/0", "1/1", "1/2")
        browser.one("#only-favourites").click()
        until_tiles(browser, "1/0", "1/1", "1/2")
        assert browser.js("return location.hash") == "#grid?q=apple&starred=1"
        browser.one("[data-filter=words]").click()
        browser.one("[data-filter=starred]").click()
        until_tiles(browser, *every, "3/0", "2/0", "1/0", "1/1", "1/2")
        browser.one("#chip-kind").click()
        browser.one("[name=filter-kind][value=vary]").find_element("xpath", "..").click()
        until_tiles(browser, *every)
        browser.driver.refresh()
        browser.until(READY, "the page again")
        until_tiles(browser, *every)
        today = browser.js(
            "const day = new Date(); return new Date(day - day.getTimezoneOffset() * 60000).toISOString().slice(0, 10)"
        )
        for day, shown in ((today, every), ("2020-01-31", [])):
            browser.js(f"location.hash = '#grid?kind=vary&from={day}&to={day}'")
            until_tiles(browser, *shown)
        browser.write("query", "nothing like it")
        browser.until(
            "return location.hash.includes('q=nothing') && document.getElementById('nothing')", "nothing is found"
        )
        browser.one("#nothing a").click()
        browser.until("return document.querySelectorAll('.tile').length > 6", "everything again")
        assert browser.complaints() == []

    await look(app, scene)


async def test_thousands_of_pictures_have_few_elements(app: WebHarness, browser: Browser) -> None:
    await app.drawn("a red apple")
    await multiply(app, MANY)

    def scene(url: str) -> None:
        browser.open(f"{url}#grid")
        browser.until(READY, "the grid")
        end = "scrollTo(0, document.documentElement.scrollHeight); return document.querySelector('[data-picture=\"1/0\"]')"
        browser.until(lambda: browser.js(end), "the oldest picture", 60)
        assert int(browser.js("return document.querySelectorAll('.cell').length")) < 200
        assert int(browser.js("return document.querySelectorAll('.grid-day').length")) >= 1
        # The keys reach what is not in the document.
        browser.js("document.querySelector('[data-picture=\"1/0\"]').focus()")
        browser.keys(Keys.HOME)
        browser.until(lambda: focused(browser) == f"{MANY}/0", "the newest picture")
        assert browser.complaints() == []

    await look(app, scene)


async def test_a_list_of_prompts_stops_at_a_refusal_and_goes_on(app: WebHarness, browser: Browser) -> None:
    def scene(url: str) -> None:
        browser.open(url)
        browser.one("#chip-batch").click()
        browser.write("batch-prompts", "a red apple\n\nan old boat\na pear --steps 9999\na hill")
        browser.write("batch-each", "2")
        assert browser.text("#batch-count") == text("en", "web.batch.count", n=4, pictures=8)
        browser.one("#batch-begin").click()
        browser.until(
            "return document.querySelector('#chip-batch .chip-value')?.textContent === '2/4'", "it has stopped"
        )
        browser.until("return document.querySelectorAll('.picture').length === 4", "what was sent is drawn")
        # Kept over a reload, and sent once.
        browser.driver.refresh()
        browser.until(
            "return document.querySelector('#chip-batch .chip-value')?.textContent === '2/4'", "the list is kept"
        )
        browser.one("#chip-batch").click()
        browser.one("#batch-resume").click()
        browser.until("return document.getElementById('batch-stopped')", "the refusal")
        assert "a pear --steps 9999" in browser.text("#batch-stopped")
        browser.one("#batch-skip").click()
        browser.until("return document.querySelectorAll('.picture').length === 6", "the last one")
        browser.until("return !document.querySelector('#chip-batch .chip-value')", "the list is done")

    await look(app, scene)
    assert await app.count("jobs") == 3
    assert await app.number("SELECT count(*) FROM pictures") == 6
