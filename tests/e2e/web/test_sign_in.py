"""Signing in, in real Chromium with a virtual authenticator: an invitation, a passkey, a link from a chat, the account page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions

from bot.cards.i18n import text
from bot.core.sign_in import PAGE_OWNER
from engine.families.z_image.spec import demo
from tests.e2e.web.browser import Browser, need_chromium
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import TOKEN, WebHarness, settings_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PASSWORD = "correct horse battery"


@pytest.fixture
async def club(tmp_path: Path) -> AsyncIterator[WebHarness]:
    """A page that everybody signs in to."""
    gate = StepGate()
    gate.open()
    settings = settings_of(public_url="http://localhost", member_keys=True)
    async with WebHarness(tmp_path / "easel", FakeEngine([demo()], pause=gate), gate, settings, TOKEN).opened() as one:
        yield one


class Visitor:
    """Somebody at a browser whose page is at ``url``."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser, self.url = browser, url

    def go(self, path: str) -> None:
        self.browser.driver.get(self.url + path)

    def at(self, path: str) -> None:
        self.browser.until(lambda: self.browser.driver.current_url.split("#")[0] == self.url + path, f"at {path}")

    def press(self, label: str) -> None:
        """Press the button with this label."""
        found = self.browser.until(
            lambda: [b for b in self.browser.driver.find_elements(By.TAG_NAME, "button") if b.text == label],
            f"the button {label}",
        )
        found[0].click()

    def see(self, words: str) -> None:
        self.browser.until(lambda: words in self.browser.text("body"), words)


async def test_the_ways_in_and_out(club: WebHarness, browser: Browser) -> None:
    need_chromium()
    url = f"http://localhost:{club.client.port}"
    first = await club.studio.accounts.invitations.create(PAGE_OWNER, name="Ada")
    second = await club.studio.accounts.invitations.create(PAGE_OWNER)
    link = await club.link_for()
    await asyncio.to_thread(walk, Visitor(browser, url), first, second, link)
    assert await club.number("SELECT count(*) FROM passkeys WHERE used_at IS NOT NULL") == 1
    assert await club.number("SELECT count(*) FROM api_keys WHERE revoked_at IS NOT NULL") == 1
    assert browser.complaints() == [], "strict CSP, and no errors"


def walk(visitor: Visitor, first: str, second: str, link: str) -> None:
    browser = visitor.browser
    phone = VirtualAuthenticatorOptions(
        protocol=VirtualAuthenticatorOptions.Protocol.CTAP2,
        transport=VirtualAuthenticatorOptions.Transport.INTERNAL,
        has_resident_key=True,
        has_user_verification=True,
        is_user_verified=True,
        is_user_consenting=True,
    )
    browser.driver.add_virtual_authenticator(phone)

    # Who is not signed in is led to the sign-in page.
    visitor.go("/")
    visitor.at("/signin?next=/")
    visitor.see("Sign in to Easel")

    # A passkey by an invitation leads to the page.
    visitor.go(f"/invite/{first}")
    assert browser.one("#field-name").get_attribute("value") == "Ada"
    visitor.press("Use a passkey instead")
    visitor.at("/")
    browser.until("return document.querySelector('#account')?.title === 'Ada'", "the account's menu")
    # A member can't change the model, and is told who can.
    visitor.see(text("en", "web.words.others"))
    assert not browser.all(".real")

    # The account page: what files tell, sessions, a key that is shown once and revoked, and the way out.
    visitor.go("/account")
    browser.until("return document.getElementById('files-recipe')?.value === 'always'", "what files tell")
    browser.js(
        "const box = document.getElementById('files-recipe'); box.value = 'never'; box.dispatchEvent(new Event('change'))"
    )
    browser.until(lambda: text("en", "account.files.done") in browser.text(".account"), "it is stored")
    visitor.go("/account")
    browser.until("return document.getElementById('files-recipe')?.value === 'never'", "what was chosen")
    visitor.see("Where you are signed in")
    visitor.see("this browser")
    browser.one("#keys-name").send_keys("laptop")
    visitor.press("Make a key")
    key = browser.until("return document.querySelector('.account-secret code')?.innerText", "the key")
    assert key.startswith("easel-")
    visitor.press("Revoke")
    browser.until("return !document.querySelector('[id^=key-]')", "the key is gone")
    visitor.press("Sign out")
    visitor.at("/signin")

    # The same passkey again, to the page that was asked for.
    visitor.go("/account")
    visitor.at("/signin?next=/account")
    visitor.press("Sign in with a passkey")
    visitor.at("/account")
    visitor.see("By passkey")
    visitor.press("Sign out everywhere")
    visitor.at("/signin")

    # A password by an invitation: what is wrong is said, and what was typed stays.
    visitor.go(f"/invite/{second}")
    browser.write("field-login", "bob")
    browser.write("field-password", "bobbobbobbob")
    visitor.press("Set the password and start")
    visitor.see("too easy to guess")
    assert browser.one("#field-login").get_attribute("value") == "bob"
    browser.write("field-password", PASSWORD)
    visitor.press("Set the password and start")
    visitor.at("/")
    visitor.go("/account")
    visitor.press("Sign out")
    visitor.at("/signin")
    browser.write("field-login", "bob")
    browser.write("field-password", "wrong")
    visitor.press("Sign in")
    visitor.see("is wrong; try again")
    browser.write("field-password", PASSWORD)
    visitor.press("Sign in")
    visitor.at("/")

    # A link from a chat signs in as the account there, once.
    visitor.go(f"/enter/{link}")
    visitor.see("You will draw as Ada.")
    visitor.press("Continue")
    visitor.at("/")
    visitor.go(f"/enter/{link}")
    visitor.see("This link is not valid")
    # Chromium itself notes pages that were refused.
    assert all(" 40" in line for line in browser.complaints())
