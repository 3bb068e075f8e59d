"""One's own data by a link that works once, through the address that the owner has named."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.model.messages import Ref
from bot.model.people import Place
from bot.model.verbs import VERBS, Call
from engine.fake import FakeEngine
from tests.flow.gate import Gate
from tests.unit.adapters.web.house import House, error_of, settings_of

EXPORT = next(verb for verb in VERBS if verb.name == "export")
PUBLIC = "https://easel.example"


@pytest.fixture
async def public(tmp_path: Path) -> AsyncIterator[House]:
    gate = Gate()
    gate.open()
    settings = settings_of(web_public_url=PUBLIC)
    async with House(tmp_path, FakeEngine(pause=gate), gate, settings).opened() as one:
        yield one


async def test_it_is_fetched_once_by_its_link_and_a_look_does_not_use_it_up(public: House) -> None:
    await public.drawn()
    card = await public.studio.command(Call(public.actor, Place("web", None, "page"), EXPORT, Ref("e")))
    (link,) = [fact.value for fact in card.facts]
    assert link.startswith(f"{PUBLIC}/exports/")
    path, outside = link.removeprefix(PUBLIC), {"Host": "easel.example"}
    folder = public.folder / "exports"
    await public.until(lambda: list(folder.glob("*.zip")))
    for method in ("HEAD", "POST"):
        async with public.client.request(method, path, headers=outside) as response:
            assert response.status in {403, 405}
    async with public.client.get(path, headers={"Host": "evil.example"}) as response:
        assert response.status == 403
    data = b""
    while not data:
        async with public.client.get(path, headers=outside) as response:
            if response.status == 503:
                continue  # the file is there a moment before its row says so
            assert response.status == 200
            assert response.content_type == "application/zip"
            assert response.headers["Content-Disposition"] == 'attachment; filename="easel-export.zip"'
            assert response.headers["Cache-Control"] == "private, no-store"
            data = await response.read()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert "pictures/easel-1-1.png" in archive.namelist()
    status, answer = await public.get(path, headers=outside)
    assert (status, error_of(answer)[0]) == (404, "refusal.export.link")


@pytest.mark.parametrize("token", ["x" * 22, "short", "%2e%2e%2f" * 5, "x" * 5000, "é" * 22])
async def test_any_other_link_is_none(public: House, token: str) -> None:
    status, answer = await public.get(f"/exports/{token}")
    assert (status, error_of(answer)[0]) == (404, "refusal.export.link")
