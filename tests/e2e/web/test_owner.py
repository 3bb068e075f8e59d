"""The owner's pages in real Chromium: one walk through every section, as an owner would take it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from bot.core.access import AccessMode, Owners
from bot.core.cards import ButtonPress
from bot.core.messages import Address, EventRef
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from engine.contract import ModelPlacement
from tests.e2e.web.browser import Browser
from tests.e2e.web.conftest import look
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.fakes.surroundings import GB, surroundings
from tests.unit.adapters.web.harness import WebHarness, settings_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]

GUILD = Place("chat", "77", "c", name="Guild")
ADA, BOB, NEW = Actor("chat", "1", "Ada", handle="ada"), Actor("chat", "2", "Bob"), Actor("other", "3", "Newcomer")
SECTIONS = (
    "home",
    "queue",
    "people",
    "newcomers",
    "quotas",
    "reports",
    "audit",
    "models",
    "device",
    "disk",
    "settings",
)


@pytest.fixture
async def club(tmp_path: Path, engine: FakeEngine, engine_gate: StepGate) -> AsyncIterator[WebHarness]:
    """A club: drawings of two people, four that wait, a newcomer, a report, and models in memory."""
    harness = WebHarness(tmp_path, engine, engine_gate, settings_of())
    harness.more = {
        "owners": Owners({"chat": ["9"]}),
        "access": {"other": AccessMode.APPROVE},
        "surroundings": surroundings(),
    }
    async with harness.opened() as app:
        plans = (
            ModelPlacement("big", "cuda", "bf16", 12 * GB, 8 * GB, 15 * GB, 23 * GB, 4, "A plan.", ("A reason.",)),
            ModelPlacement("small", "cuda", "fp16", 5 * GB, 0, 8 * GB, 23 * GB, 8, "Another plan."),
        )
        engine._state = replace(engine._state, placements=plans, resident=("big", "small"), warm_seconds=100.0)

        async def ask(actor: Actor, place: Place, prompt: str) -> int:
            ref = EventRef(f"{actor.user_id}:{prompt}", Address(place.platform, place.channel))
            return (await app.studio.draw(actor, place, DrawForm(prompt), ref)).job_id

        drawn = await ask(ADA, GUILD, "a duck")
        async for _ in app.studio.watch(ADA, drawn):
            pass
        place = replace(GUILD, channel="c")
        press = ButtonPress("report", drawn, 0)
        await app.studio.press(BOB, place, press, EventRef("r", Address("chat", "c")))
        await app.dispatch._activity.flush()
        await ask(NEW, Place("other", None, "3"), "a newcomer's wish")
        engine_gate.shut()
        for number in range(4):
            await ask((ADA, BOB)[number % 2], GUILD, f"wish {number}")
        await app.until(lambda: app.dispatch.load().drawing == 1)
        yield app


class Owner:
    """An owner at a browser."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.url = f"{url}owner"

    def open(self, section: str) -> None:
        """Follow a link of the list of sections."""
        self.browser.js("location.hash = arguments[0]", section)
        self.until(f"return document.querySelector('#main').dataset.name === '{section.partition('/')[0]}'")
        self.until("return !document.querySelector('[aria-busy]')")

    def until(self, condition: str | Callable[[], object]) -> None:
        """Wait until something holds."""
        self.browser.until(condition, str(condition))

    def press(self, selector: str) -> None:
        """Click on what a selector finds once it is there."""
        self.until(lambda: self._clicked(selector))

    def _clicked(self, selector: str) -> bool:
        """Click; False where it is not there, or was drawn anew meanwhile."""
        try:
            for one in self.browser.all(selector)[:1]:
                self.browser.js("arguments[0].scrollIntoView({block: 'center'})", one)
                one.click()
                return True
        except StaleElementReferenceException:
            pass
        return False

    def says(self, words: str, where: str = "#main") -> None:
        """Wait until words are read somewhere."""
        self.until(lambda: words in self.browser.text(where))

    def one(self, selector: str) -> WebElement:
        """Return what a selector finds, once it is there."""
        self.until(lambda: self.browser.all(selector))
        return self.browser.one(selector)

    def submit(self) -> None:
        """Press the dialog's button, and wait until it is closed."""
        self.press("dialog[open] [type=submit]")
        self.until("return !document.querySelector('dialog[open]')")

    def waiting(self) -> list[str]:
        """Return the waiting prompts in their order."""
        find = "return [...document.querySelectorAll('#waiting .entry-title')].map((one) => one.innerText)"
        return [str(one) for one in self.browser.js(find)]


def walk_queue(owner: Owner) -> None:
    owner.open("queue")
    assert owner.waiting() == ["wish 1", "wish 2", "wish 3"]
    owner.press("#waiting li:nth-child(3) [data-action=front]")
    owner.until(lambda: owner.waiting()[0] == "wish 3")
    left = [owner.waiting()[0], owner.waiting()[2]]
    owner.says("moved to the front")
    owner.press("#waiting li:nth-child(2) [data-action=cancel]")
    owner.until(lambda: owner.waiting() == left)
    owner.press("[data-state=pause]")
    owner.says("people are told so")
    owner.press("[data-state=run]")
    owner.until("return document.querySelector('[data-state=run]').ariaPressed === 'true'")
    owner.press("[data-action=cancel-all]")
    owner.one("dialog[open]")
    owner.browser.keys(Keys.ESCAPE)
    owner.until("return !document.querySelector('dialog[open]')")
    assert owner.waiting() == left, "a question that is not answered changes nothing"
    owner.press("[data-action=cancel-all]")
    owner.submit()
    owner.says("Nobody waits.")


def walk_people(owner: Owner) -> None:
    owner.open("people")
    owner.one("#search").send_keys("@ada")
    owner.until(lambda: len(owner.browser.all("[data-person]")) == 1)
    owner.press("[data-person] a")
    owner.says("Stored pictures")
    owner.press("[data-action=ban]")
    owner.one("dialog[open] [data-field=reason]").send_keys("too loud")
    owner.submit()
    owner.says("too loud")
    owner.press("[data-action=unban]")
    owner.until("return !document.querySelector('[data-action=unban]')")
    owner.press("[data-action=credits]")
    owner.submit()
    owner.says("credits: 20")
    owner.open("newcomers")
    owner.says("a newcomer's wish")
    owner.press("[data-action=allow]")
    owner.says("Nobody waits for an answer.")
    owner.until("return !document.querySelector('[data-section=newcomers] .count')")


def walk_quotas(owner: Owner) -> None:
    owner.open("quotas")
    owner.press("[data-action=rule]")
    rule = owner.one("dialog[open] [data-field=rule]")
    rule.send_keys(Keys.CONTROL, "a")
    rule.send_keys("lots of pictures")
    owner.browser.one("dialog [type=submit]").click()
    owner.until("return document.querySelector('.said.bad')")
    rule.send_keys(Keys.CONTROL, "a")
    rule.send_keys("7/day")
    owner.submit()
    owner.says("7 pictures per day")
    owner.one("[data-field=why-person]").send_keys("1", Keys.ENTER)
    owner.says("left now", "#why")
    owner.says("set by the owners", "#why")
    owner.open("audit")
    assert owner.browser.text("#main .entry:first-child .entry-title").startswith("Quota set")
    owner.press("#main .entry:first-child [data-action=undo]")
    owner.submit()
    owner.says("no rule")
    owner.open("quotas")
    assert not owner.browser.all("[data-action=remove]")


def walk_records(owner: Owner) -> None:
    owner.open("reports")
    owner.says("reported by Bob")
    owner.press(".covered summary")
    owner.until("return document.querySelector('.covered img').naturalWidth > 0")
    owner.press("[data-action=hide]")
    owner.says("Hidden")
    owner.until("return !document.querySelector('[data-section=reports] .count')")


def walk_machine(owner: Owner) -> None:
    owner.open("models")
    owner.press("[data-model=dev] [data-action=pull]")
    owner.says("33%")
    owner.press("[data-action=stop-pull]")
    owner.says("was stopped")
    owner.press("[data-model=turbo] [data-action=remove]")
    owner.submit()
    owner.until("return !document.querySelector('[data-model=turbo]')")
    owner.open("device")
    for words in ("Card 4090", "66 °C", "At most 15 GB of 23 GB", "for one picture"):
        owner.says(words)
    assert owner.browser.js("return document.querySelectorAll('.shares-bar').length") == 2
    owner.open("disk")
    owner.one("[data-field=keep]").send_keys("90 days")
    owner.press("[data-action=keep]")
    owner.until("return document.querySelector('#said')")
    owner.open("audit")
    owner.says("Retention")
    owner.open("settings")
    owner.says("set, not shown")
    owner.press(".check input")
    owner.until(lambda: "EASEL_MODEL" not in owner.browser.text("#main"))
    assert "EASEL_WEB_PORT" in owner.browser.text("#main")


def walk_overview(owner: Owner) -> None:
    owner.open("home")
    owner.says("The last day")
    # What is drawn, and the newcomer's request.
    owner.until(lambda: owner.browser.text("[data-section=queue] .count").startswith("2"))
    assert len(owner.browser.all(".chart svg[role=img][aria-label]")) == 4
    owner.press(".chart .numbers summary")
    owner.until("return document.querySelector('.chart details[open] td').innerText === '1'")


async def test_an_owner_walks_through_every_section(club: WebHarness, browser: Browser) -> None:
    def scene(url: str) -> None:
        owner = Owner(browser, url)
        browser.driver.get(owner.url)
        owner.until("return document.querySelector('#main') && !document.querySelector('[aria-busy]')")
        assert browser.js("return document.title") == "Overview · Easel"
        browser.keys(Keys.TAB)
        assert browser.js("return document.activeElement.className") == "skip"
        for walk in (walk_queue, walk_people, walk_quotas, walk_records, walk_machine, walk_overview):
            walk(owner)
        browser.command("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
        browser.prefer(forced_colors="active")
        for section in SECTIONS:
            owner.open(section)
            assert browser.js("return document.documentElement.scrollWidth") <= 390, section
        refused = [line for line in browser.complaints() if "/quotas/set" not in line]
        assert refused == []
        assert all(address.startswith(url) for address in browser.requested())

    await look(club, scene)
    assert await club.number("SELECT count(*) FROM reports WHERE answer = 'hidden'") == 1
    club.gate.open()
