"""The page in real Chromium against the real service: drawing, refusals, history, keyboard, phone, dark."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver.common.keys import Keys

from bot.cards.i18n import text
from tests.e2e.service import Service
from tests.e2e.web.browser import Browser, need_chromium

pytestmark = [pytest.mark.browser, pytest.mark.slow]

APPLE = "a red apple on a blue background"
EDGES = ((0.02, 0.02), (0.97, 0.02), (0.02, 0.97), (0.97, 0.97))
DRAWN = """
const card = document.querySelector('.job[data-job="' + arguments[0] + '"][data-tone="done"]');
const images = [...(card?.querySelectorAll('.picture img') ?? [])];
return images.length > 0 && images.every((image) => image.complete && image.naturalWidth > 0) && images.length;
"""


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest) -> Service:
    """The module's service; not started where there is no browser to look at it."""
    need_chromium()
    service = request.getfixturevalue("module_service")
    assert isinstance(service, Service)
    return service


@pytest.fixture
def browser(browser: Browser, served: Service) -> Browser:
    """The window, which has nothing kept of the service's page."""
    browser.command("Storage.clearDataForOrigin", origin=served.url, storageTypes="all")
    return browser


def newest(browser: Browser) -> int:
    """The job that stands first in the feed; 0 for none."""
    return int(browser.js("return Number(document.querySelector('.job')?.dataset.job ?? 0)"))


def after(browser: Browser, job: int) -> int:
    """Wait for a job newer than ``job`` in the feed; returns it."""
    browser.until(lambda: newest(browser) > job, f"a job after {job}")
    return newest(browser)


def drawn(browser: Browser, job: int) -> int:
    """Wait until a job's pictures are there; returns how many."""
    return int(browser.until(lambda: browser.js(DRAWN, job), f"the pictures of job {job}", 90))


def draw(browser: Browser, prompt: str) -> int:
    """Type a prompt, press Enter, wait for its card; returns the job."""
    before = newest(browser)
    browser.write("prompt", prompt)
    browser.one("#prompt").send_keys(Keys.ENTER)
    return after(browser, before)


def is_blue(colour: tuple[int, int, int]) -> bool:
    red, green, blue = colour
    return blue > 120 and blue > red + 60 and blue > green + 30


def is_red(colour: tuple[int, int, int]) -> bool:
    red, green, blue = colour
    return red > 110 and red > green + 60 and red > blue + 60


def test_a_picture_by_keyboard_alone(served: Service, browser: Browser) -> None:
    browser.open(served.url)
    assert browser.focused() == "prompt"
    # Watch every state that is shown, also those between two looks of this test.
    browser.js(
        """window.seen = []; window.previews = new Set(); window.titles = new Set(); new MutationObserver(() => {
             const bar = document.querySelector('.job .bar');
             if (bar?.ariaValueNow) seen.push(Number(bar.ariaValueNow));
             titles.add(document.title);
             const preview = document.querySelector('.job .previewed .preview');
             if (preview?.naturalWidth) previews.add(preview.naturalWidth);
           }).observe(document, {subtree: true, childList: true, attributes: true});"""
    )
    before = newest(browser)
    browser.keys("a red apple")
    browser.keys_with(Keys.SHIFT, Keys.ENTER)
    browser.keys("on a blue background --seed 7 --steps 30", Keys.ENTER)
    job = after(browser, before)
    assert drawn(browser, job) == 1
    assert browser.text(".job-prompt") == "a red apple\non a blue background"

    seen = browser.js("return seen")
    assert len(set(seen)) >= 3, "progress was not shown live"
    assert seen == sorted(seen)
    previews = browser.js("return [...previews]")
    assert previews, "no preview was shown"
    assert max(previews) < 192, "previews are small"
    titles = set(browser.js("return [...titles]"))
    assert titles - {"Easel"}, "the window's title tells nothing"
    assert all(re.fullmatch(r"\d+ % · Easel", title) for title in titles - {"Easel"})
    assert browser.js("return document.title") == "Easel"
    assert browser.text("#live") == text("en", "card.done", n=1)
    picture = ".picture img"
    assert all(is_blue(c) for c in browser.colours(picture, *EDGES))
    assert is_red(browser.colours(picture, (0.5, 0.55))[0])
    facts = browser.js("return [...document.querySelectorAll('.job-facts dd')].map((fact) => fact.textContent)")
    assert {"7", "30", "192x192", "Easel demo"} <= set(facts)
    # Larger than it is, since the demo model's pictures are small, and with sharp edges.
    assert browser.js("return document.querySelector('.picture img').getBoundingClientRect().height") == 405
    assert browser.js("return getComputedStyle(document.querySelector('.picture img')).imageRendering") == "pixelated"

    browser.tab_to(".picture-open")
    browser.keys(Keys.ENTER)
    browser.until("return document.getElementById('viewer').open", "the picture large")
    browser.keys(Keys.ESCAPE)
    browser.until("return !document.getElementById('viewer').open", "closed by Esc")
    assert browser.js("return document.activeElement.matches('.picture-open')")

    browser.keys("r")
    again = after(browser, job)
    assert drawn(browser, again) == 1
    assert served.call(f"/api/jobs/{again}")["card"]["pictures"][0]["seed"] != "7"
    assert browser.complaints() == []
    assert {address.split("/")[2] for address in browser.requested()} == {served.url.split("/")[2]}


def test_a_downloaded_picture_has_its_recipe_in_it_and_is_drawn_again_from_it(
    served: Service, browser: Browser, tmp_path: Path
) -> None:
    browser.open(served.url)
    folder = tmp_path / "downloads"
    folder.mkdir()
    browser.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    job = draw(browser, f"{APPLE} --seed 11")
    drawn(browser, job)
    browser.press(".picture-actions a[download]")
    file = folder / f"easel-{job}-1.png"
    browser.until(file.exists, "the downloaded file")
    with Image.open(file) as image:
        assert image.size == (192, 192)
        parameters, pixels = str(image.info["parameters"]), image.convert("RGB").tobytes()
    assert parameters.startswith(APPLE)
    assert "Seed: 11" in parameters

    # The file alone is enough for the same pixels, in another window that knows nothing of the request.
    browser.command("Storage.clearDataForOrigin", origin=served.url, storageTypes="all")
    browser.open(f"{served.url}/inspect")
    browser.until("return document.getElementById('inspect-file')", "the view of inspection")
    browser.one("#inspect-file").send_keys(str(file))
    browser.until("return document.getElementById('inspect-again')", "what the file says")
    assert text("en", "inspect.own.stored") in browser.text("#inspect-found")
    browser.one("#inspect-again").click()
    browser.until("return document.activeElement.id === 'prompt'", "the form is filled in")
    browser.keys(Keys.ENTER)
    again = after(browser, job)
    assert drawn(browser, again) == 1
    with Image.open(io.BytesIO(served.get(served.card(again)["pictures"][0]["url"]))) as image:
        assert image.convert("RGB").tobytes() == pixels


def test_cancel_stops_the_drawing_and_keeps_the_focus(served: Service, browser: Browser) -> None:
    browser.open(served.url)
    job = draw(browser, f"{APPLE} --count 16 --steps 50")
    cancel = f'.job[data-job="{job}"] [data-action=cancel]'
    browser.until(lambda: browser.all(cancel), "a cancel button")
    browser.tab_to(cancel)
    browser.keys(Keys.ENTER)
    browser.until(f"return document.querySelector('.job[data-job=\"{job}\"]')?.dataset.tone === 'stopped'", "stopped")
    assert browser.text(f'.job[data-job="{job}"] .job-status') == text("en", "card.cancelled")
    assert browser.js("return document.activeElement.closest('.job')?.dataset.job") == str(job)
    assert served.call(f"/api/jobs/{job}")["card"]["tone"] == "stopped"
    assert browser.complaints() == []


# What is typed where, the field that is marked, and the sentence.
SEEDS = 2**63 - 1
REFUSED: list[tuple[str, str, str, dict[str, str | int]]] = [
    ("prompt", "", "refusal.prompt.empty", {}),
    ("prompt", "a cat --sead 7", "refusal.flag.unknown", {"flag": "--sead", "nearest": "--seed"}),
    ("prompt", "a cat --count 99", "refusal.count.range", {"value": "99", "most": 16}),
    ("count", "99", "refusal.count.range", {"value": "99", "most": 16}),
    ("count", "two", "refusal.count.not_number", {"value": "two", "most": 16}),
    ("seed", "-2", "refusal.seed.range", {"value": "-2", "high": SEEDS}),
    ("seed", str(SEEDS + 1), "refusal.seed.range", {"value": str(SEEDS + 1), "high": SEEDS}),
    ("steps", "0", "refusal.steps.range", {"value": "0", "low": 1, "high": 50}),
    ("own-size", "100x100", "refusal.size.off_grid", {"value": "100x100", "multiple": 16, "nearest": "96x96"}),
    ("own-size", "32x32", "refusal.size.too_small", {"value": "32x32", "low": 64, "nearest": "64x64"}),
]


CHIPS = {"count": "count", "own-size": "size", "seed": "more", "steps": "more"}


@pytest.mark.parametrize(("lang", "locale"), [("en-GB", "en"), ("zh-CN", "zh_CN")])
def test_an_error_is_shown_at_the_form_and_nothing_is_lost(
    served: Service, browser: Browser, lang: str, locale: str
) -> None:
    browser.become(lang=lang)
    browser.open(served.url)
    assert browser.js("return document.documentElement.lang").startswith(lang[:2])
    assert browser.text("#draw") == text(locale, "web.draw")
    before = newest(browser)
    for field, value, key, params in REFUSED:
        browser.write("prompt", "a cat")
        if field in CHIPS:
            browser.chip(CHIPS[field])
        browser.write(field, value)
        browser.one("#prompt").send_keys(Keys.ENTER)
        sentence = text(locale, key, **params)
        browser.until(lambda s=sentence: browser.text("#error") == s, sentence)  # type: ignore[misc]
        # Two in a row may say the same.
        browser.until(lambda f=field: browser.focused() == f, f"the focus on {field}")  # type: ignore[misc]
        assert browser.one(f"#{field}").get_attribute("value") == value
        assert browser.one(f"#{field}").get_attribute("aria-invalid") == "true"
        assert browser.focused() == field
        browser.write(field, "")
        assert not (value and browser.all("#error")), "what was wrong is gone"
    assert newest(browser) == before
    browser.write("prompt", "")
    browser.one("#prompt").send_keys(Keys.ENTER)
    browser.until(lambda: browser.all("#error"), "a refusal")
    assert browser.one("#error").get_attribute("role") == "alert"
    job = draw(browser, "a cat")
    assert browser.text("#error") == ""
    drawn(browser, job)


def test_enter_that_ends_a_word_of_an_input_method_does_not_draw(served: Service, browser: Browser) -> None:
    browser.become(lang="zh-CN")
    browser.open(served.url)
    before = newest(browser)
    browser.write("prompt", "夜空中的一只猫")
    browser.js(
        """const press = (how) => document.getElementById('prompt').dispatchEvent(
             new KeyboardEvent('keydown', {key: 'Enter', bubbles: true, cancelable: true, ...how}));
           window.sent = 0;
           const ask = window.fetch; window.fetch = (...args) => { sent += 1; return ask(...args); };
           press({isComposing: true}); press({keyCode: 229}); press({repeat: true}); press({shiftKey: true});"""
    )
    assert browser.js("return sent") == 0
    browser.one("#prompt").send_keys(Keys.ENTER)
    drawn(browser, after(browser, before))


def test_a_phone_shows_everything_without_scrolling_sideways(served: Service, browser: Browser) -> None:
    browser.become(lang="zh-CN", width=360, height=740)
    browser.open(served.url)
    hostile = f"<img src=x onerror=alert(1)>{'long' * 40} & <b>bold</b>"
    job = draw(browser, f"{hostile} --count 4 --size wide")
    assert drawn(browser, job) == 4
    assert browser.text(".job-prompt") == hostile
    assert browser.all(".job-prompt *") == []
    assert browser.js(
        "const prompt = document.querySelector('.job-prompt'); return prompt.scrollWidth <= prompt.clientWidth"
    )
    assert browser.js("return document.documentElement.scrollWidth") <= 360
    outside = browser.js(
        """return [...document.querySelectorAll('#app *')].filter((element) => {
             const box = element.getBoundingClientRect();
             return box.width > 1 && !element.closest('.chips, .line, .job-facts, .job-buttons') && (box.right > 360.5 || box.left < -0.5);
           }).map((element) => element.outerHTML.slice(0, 80))"""
    )
    assert outside == []
    # Large enough for a thumb.
    small = browser.js(
        """return [...document.querySelectorAll('#app :is(button, a, input, select, textarea)')].filter((element) => {
             const box = element.getBoundingClientRect();
             return box.width > 1 && !element.matches('.skip') && (box.height < 43.5 || box.width < 24);
           }).map((element) => element.outerHTML.slice(0, 120))"""
    )
    assert small == []
    browser.all(".picture-open")[1].click()
    browser.until("return document.querySelector('dialog[open]')", "the picture large")
    browser.keys(Keys.ARROW_RIGHT)
    browser.until(lambda: browser.driver.current_url.endswith(f"#job/{job}/3"), "the third picture")
    assert browser.complaints() == []


def test_every_control_has_a_name_and_its_turn(served: Service, browser: Browser) -> None:
    browser.open(served.url)
    job = draw(browser, f"{APPLE} --count 2")
    drawn(browser, job)
    nameless = [
        control.get_attribute("outerHTML")
        for control in browser.all("#app :is(button, input, select, textarea, a, summary), #app [role=progressbar]")
        if control.is_displayed() and not control.accessible_name
    ]
    assert nameless == []
    assert {image.get_attribute("alt") for image in browser.all(f"#row-{job} .picture img")} == {APPLE}
    # Tab goes through the composer, then into one row of the feed: j and k go to the others.
    order = []
    browser.one("#prompt").click()
    for _ in range(11):
        order.append(browser.js("const now = document.activeElement; return now.id || now.className"))
        visible = "return getComputedStyle(document.activeElement).outlineStyle !== 'none'"
        assert order[-1] == "prompt" or browser.js(visible), f"focus can't be seen on {order[-1]}"
        browser.keys(Keys.TAB)
    chips = [f"chip-{name}" for name in ("pictures", "size", "count", "style", "more", "batch", "words")]
    assert order == ["prompt", "draw", *chips, f"row-{job}", "picture-open"]
    browser.keys("j", "j")
    others = browser.js("return [...document.querySelectorAll('.job')].map((row) => Number(row.dataset.job))")
    assert browser.js("return Number(document.activeElement.dataset.job)") == others[2]
    browser.keys("k", "k", "x")
    assert browser.focused() == f"row-{job}"
    assert browser.all(f"#row-{job}.selected")
    browser.keys("?")
    browser.until("return document.getElementById('keys').open", "the list of keys")
    browser.keys(Keys.ESCAPE, "/")
    browser.until(lambda: browser.focused() == "prompt", "the prompt again")
    # The links that skip are the first of the page.
    assert browser.js("return document.querySelector('#app :is(a, button, input, textarea)').matches('.skip')")
    browser.js("document.querySelector('.skip').focus()")
    assert browser.one(".skip").rect["y"] >= 0
    browser.keys(Keys.ENTER)
    browser.until(lambda: browser.focused() == f"row-{job}", "the first row")


def test_everything_goes_on_after_a_restart(served: Service, browser: Browser) -> None:
    browser.open(served.url)
    first = draw(browser, f"{APPLE} --seed 21")
    drawn(browser, first)
    running = draw(browser, f"{APPLE} --count 2 --steps 50 --seed 31")
    browser.until("return document.querySelector('.job .bar')?.ariaValueNow > 0", "drawing")

    # A reload in the middle finds it again, and follows it.
    (engine,) = served.engines()
    engine.suspend()  # a slow browser may take longer than the picture
    try:
        browser.write("prompt", "half a thou")
        browser.driver.refresh()
        browser.until(
            f"return document.querySelector('.job[data-job=\"{running}\"] .bar')?.ariaValueNow > 0", "found again"
        )
        assert browser.one("#prompt").get_attribute("value") == "half a thou"
    finally:
        engine.resume()

    # A restart too, with the page left open: it says that nobody answers, and comes back by itself.
    served.stop()
    away = text("en", "web.away")
    browser.until(lambda: browser.text("#engine-banner-text") == away, away)
    browser.one("#prompt").send_keys("ght", Keys.ENTER)
    unsent = text("en", "web.unsent")
    browser.until(lambda: unsent in browser.text(".unsent"), unsent)
    served.start(ready=False)
    browser.until(lambda: browser.text("#engine-banner-text") != away, "the page sees that it is back", 90)
    served.wait_ready()
    assert drawn(browser, running) == 2
    browser.until("return document.getElementById('engine-banner').hidden", "nothing is wrong any more")

    # What could not be sent is sent by itself, once.
    thought = after(browser, running)
    drawn(browser, thought)
    assert browser.text(".job-prompt") == "half a thought"
    assert not browser.all(".unsent")

    # An address leads to a row, wherever it is.
    browser.open(f"{served.url}/#job/{first}")
    browser.until(lambda: browser.focused() == f"row-{first}", "the row of a picture from before")
    browser.keys("s")
    # Somebody reads further down: what is new waits until it is asked for.
    browser.until(lambda: browser.all("#fresh"), "that there is something new")
    assert browser.text("#fresh") == text("en", "web.fresh", n=1)
    assert newest(browser) == thought
    browser.one("#fresh").click()
    grown = after(browser, thought)
    assert drawn(browser, grown) == 2
    assert [p["seed"] for p in served.call(f"/api/jobs/{grown}")["card"]["pictures"]] == ["21", "22"]
    edges = browser.colours(".picture img", *EDGES)
    assert all(is_blue(colour) for colour in edges)


def test_a_seed_and_a_prompt_are_copied_and_pasted(served: Service, browser: Browser) -> None:
    browser.open(served.url)
    drawn(browser, draw(browser, f"{APPLE} --seed 9223372036854775807"))
    copy = '.job-buttons [title="{}"]'
    browser.until(lambda: browser.all(copy.format(text("en", "web.copy_seed"))), "the button beside the pictures")
    browser.one(copy.format(text("en", "web.copy_seed"))).click()
    said = text("en", "web.copied", seed="9223372036854775807")
    browser.until(lambda: browser.text("#live") == said, said)
    browser.until(lambda: browser.all(copy.format(said)), said)
    browser.chip("more")
    browser.one("#seed").click()
    browser.keys_with(Keys.CONTROL, "v")
    assert browser.one("#seed").get_attribute("value") == "9223372036854775807"
    # The button goes back to saying what it does.
    browser.until(lambda: browser.all(copy.format(text("en", "web.copy_seed"))), "the button's own words")
    # A prompt with its flags is copied in the same way, and pasted where it can be drawn again.
    browser.one("[data-action=prompt]").click()
    browser.until(lambda: "--seed 9223372036854775807" in browser.text(".job .notice"), "the copied prompt")
    browser.write("prompt", "")
    browser.one("#prompt").click()
    browser.keys_with(Keys.CONTROL, "v")
    pasted = browser.one("#prompt").get_attribute("value")
    assert pasted is not None
    assert pasted.startswith(APPLE)
    assert pasted.endswith("--seed 9223372036854775807")
    # Delete takes the job from the page at once, and gives it back where one is sorry.
    job = newest(browser)
    browser.one(f"#row-{job} [data-action=delete]").click()
    browser.until(lambda: not browser.all(f"#row-{job}"), "it is gone")
    browser.one("[data-action=undo]").click()
    browser.until(lambda: newest(browser) == job, "it is back")
    browser.one(f"#row-{job} [data-action=delete]").click()
    browser.until(lambda: not browser.all(f"#row-{job}"), "it is gone")
    assert browser.text("#live") == text("en", "web.deleted.one")


def test_older_pictures_come_as_one_scrolls(served: Service, browser: Browser) -> None:
    jobs = [served.draw(f"{APPLE} --steps 1 --seed {seed}") for seed in range(30)]
    for job in jobs:
        served.finished(job)
    browser.open(served.url)
    rows = "return [...document.querySelectorAll('.job')].map((row) => Number(row.dataset.job))"
    seen = set(browser.js(rows))
    assert browser.js(rows)[:5] == sorted(jobs, reverse=True)[:5]

    def all_seen() -> bool:
        browser.js("scrollBy({top: 900})")
        found = browser.js(rows)
        assert found == sorted(set(found), reverse=True)
        seen.update(found)
        return seen >= set(jobs) and 1 in seen

    browser.until(all_seen, "all of them, to the first")
    # What is far from sight is not in the document, and what is seen does not jump when it comes back.
    assert len(browser.js(rows)) < len(seen)
    browser.js("scrollTo({top: 0})")
    browser.until(lambda: browser.js(rows)[:5] == sorted(jobs, reverse=True)[:5], "the newest again")
    assert browser.complaints() == []
