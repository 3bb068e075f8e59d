"""Links into the page in real Chromium: the one with the token, and the one to an export."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.cards.i18n import text
from bot.commands.model import Invocation
from bot.core.messages import EventRef
from bot.core.people import Place
from bot.features import COMMANDS
from tests.e2e.web.browser import Browser
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness, settings_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TOKEN = "t" * 32
PUBLIC = "https://easel.example"


@pytest.fixture
async def bot(tmp_path: Path) -> AsyncIterator[WebHarness]:
    """A page that asks everybody for its token."""
    gate = StepGate()
    gate.open()
    settings = settings_of(public_url=PUBLIC)
    async with WebHarness(tmp_path / "easel", FakeEngine(pause=gate), gate, settings, TOKEN).opened() as one:
        yield one


async def test_the_token_s_link_opens_the_page_and_an_export_s_link_gives_it_once(
    bot: WebHarness, browser: Browser, tmp_path: Path
) -> None:
    await bot.drawn_by_actor()
    command = COMMANDS.by_name["export"]
    card = await bot.studio.command(Invocation(bot.actor, Place("web", None, "page"), command, EventRef("export")))
    path = card.facts[0].value.removeprefix(PUBLIC)
    async with asyncio.timeout(20):
        while True:
            if await status(bot, path) == 200:
                break
            await asyncio.sleep(0.01)
    url = str(bot.client.make_url("/"))
    downloads = tmp_path / "downloads"
    downloads.mkdir()

    def scene() -> None:
        browser.driver.get(url)
        assert browser.text("h1") == text("en", "sign_in.title")
        # Who has the export's link needs no token.
        browser.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        for _ in range(2):
            browser.driver.get(url.rstrip("/") + path)
            assert browser.text("h1") == text("en", "export.page.title")
        assert browser.js("return getComputedStyle(document.querySelector('button')).fontWeight") == "600"
        browser.one("button").click()
        browser.until(lambda: list(downloads.glob("*.zip")), "the file")
        browser.driver.get(url.rstrip("/") + path)
        assert browser.text("body") == text("en", "refusal.export.link")

        browser.open(f"{url}?token={TOKEN}")
        assert browser.driver.current_url == url, "the token is in no address"
        browser.until("return document.querySelector('.job .picture img').naturalWidth", "pictures by the cookie")
        browser.driver.refresh()
        browser.until("return !document.getElementById('app').hidden", "the page by the cookie alone")
        browser.driver.delete_all_cookies()

    await asyncio.to_thread(scene)
    (file,) = downloads.glob("*.zip")
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None


async def status(bot: WebHarness, path: str) -> int:
    async with bot.client.get(path) as response:
        return response.status
