"""One's own data by a link that works once, through the address that the owner has named."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.commands.model import Invocation
from bot.core.messages import EventRef
from bot.core.people import Place
from bot.features import COMMANDS
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness, error_of, settings_of

EXPORT = COMMANDS.by_name["export"]
PUBLIC = "https://easel.example"


@pytest.fixture
async def public(tmp_path: Path) -> AsyncIterator[WebHarness]:
    gate = StepGate()
    gate.open()
    settings = settings_of(public_url=PUBLIC)
    async with WebHarness(tmp_path, FakeEngine(pause=gate), gate, settings, "t" * 32).opened() as one:
        yield one


async def test_it_is_fetched_once_by_its_link_and_a_look_does_not_use_it_up(public: WebHarness) -> None:
    await public.drawn_by_actor()
    card = await public.studio.command(Invocation(public.actor, Place("web", None, "page"), EXPORT, EventRef("e")))
    (link,) = [fact.value for fact in card.facts]
    assert link.startswith(f"{PUBLIC}/exports/")
    path, outside = link.removeprefix(PUBLIC), {"Host": "easel.example"}
    folder = public.folder / "exports"
    await public.until(lambda: list(folder.glob("*.zip")))
    # A preview of the link, a look at its headers, a part of it: none of them uses it up.
    page = ""
    while not page:
        async with public.client.get(path, headers={**outside, "Range": "bytes=0-0"}) as response:
            if response.status == 503:
                continue  # the file is there a moment before its row says so
            assert response.status == 200
            assert response.content_type == "text/html"
            assert response.headers["Cache-Control"] == "private, no-store"
            # With no-referrer, browsers would say "Origin: null" with the form.
            assert response.headers["Referrer-Policy"] == "same-origin"
            page = await response.text()
    assert '<form method="post">' in page
    assert public.studio.text("export.page.button", "en") in page
    async with public.client.head(path, headers=outside) as response:
        assert response.status == 200
    for headers in (
        {"Range": "bytes=0-0"},
        {"If-Match": '"x"'},
        {"If-None-Match": "*"},
        {"If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"},
    ):
        async with public.client.post(path, headers={**outside, **headers}) as response:
            assert response.status == 416
    for method in ("GET", "POST"):
        async with public.client.request(method, path, headers={"Host": "evil.example"}) as response:
            assert response.status == 403
    async with public.client.post(path, headers={**outside, "Origin": "https://evil.example"}) as response:
        assert response.status == 403
    # What the page's button sends.
    async with public.client.post(path, headers={**outside, "Origin": PUBLIC}) as response:
        assert response.status == 200
        assert response.content_type == "application/zip"
        assert response.headers["Content-Disposition"] == 'attachment; filename="easel-export.zip"'
        assert response.headers["Cache-Control"] == "private, no-store"
        data = await response.read()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert "pictures/easel-1-1.png" in archive.namelist()
    for ask in (public.get(path, headers=outside), public.post(path, None, headers=outside)):
        status, answer = await ask
        assert (status, error_of(answer)[0]) == (404, "refusal.export.link")


async def test_the_page_of_a_link_is_in_the_reader_s_language_and_needs_no_token(public: WebHarness) -> None:
    await public.drawn_by_actor()
    card = await public.studio.command(Invocation(public.actor, Place("web", None, "page"), EXPORT, EventRef("e")))
    path = card.facts[0].value.removeprefix(PUBLIC)
    await public.until(lambda: list((public.folder / "exports").glob("*.zip")))
    text = ""
    while public.studio.text("export.page.title", "zh_CN") not in text:
        async with public.client.get(path, headers={"Host": "easel.example", "Accept-Language": "zh"}) as response:
            assert response.status in {200, 503}
            text = await response.text()
    assert '<html lang="zh-CN">' in text
    async with public.client.get("/static/export.css", headers={"Host": "easel.example"}) as response:
        assert response.status == 200


@pytest.mark.parametrize("token", ["x" * 22, "short", "%2e%2e%2f" * 5, "x" * 5000, "é" * 22])
async def test_any_other_link_is_none(public: WebHarness, token: str) -> None:
    status, answer = await public.get(f"/exports/{token}")
    assert (status, error_of(answer)[0]) == (404, "refusal.export.link")
