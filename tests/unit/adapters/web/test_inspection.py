"""The API that says what a picture's file says of itself, the page's view of it, and the root certificate."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import FormData
from yarl import URL

from adapters.web import request_checks
from adapters.web.request_checks import BodyReader
from bot.cards.i18n import text
from bot.core.file_marks import embed_texts
from bot.core.people import Place
from tests.fakes.png_texts import pixels
from tests.fakes.source_images import picture
from tests.unit.adapters.web.harness import ADA, Json, WebHarness, error_of

CLUB = Place("chat", "guild", "channel", name="The club")
LYING = embed_texts(picture(), {"parameters": "a cat\nSteps: 20, Sampler: Euler a, Seed: 7, Model: dreamshaper_8"})


async def inspect(app: WebHarness, data: bytes, **how: Any) -> tuple[int, Json]:
    form = FormData(default_to_multipart=True)
    form.add_field("file", data, filename="a.png", content_type="image/png")
    async with app.client.post("/api/inspect", data=form, **how) as response:
        return response.status, await response.json()


def said(answer: Json, group: str) -> dict[str, str]:
    return {fact["label"]: fact["value"] for fact in answer[group]}


async def drawn_file(app: WebHarness, **form: str) -> bytes:
    card = await app.drawn(**form)
    async with app.client.get(card["pictures"][0]["url"]) as response:
        return await response.read()


async def test_an_own_picture_is_marked_known_and_drawn_again_with_the_same_pixels(app: WebHarness) -> None:
    data = await drawn_file(app, prompt="a red apple", seed="9007199254740993", size="256x144", steps="5")
    status, answer = await inspect(app, data)
    assert status == 200
    assert (answer["marked"], answer["faulty"], answer["own"]) == (True, False, "stored")
    assert answer["status"] == text("en", "inspect.marked")
    assert answer["about"] == [text("en", "inspect.claims")]
    assert said(answer, "verified") == {
        "File": "PNG 256x144",
        "Signature": text("en", "inspect.seal.none"),
        "This Easel's picture": text("en", "inspect.own.stored"),
    }
    claimed = said(answer, "claimed")
    assert claimed["Kind"] == text("en", "inspect.source.trainedAlgorithmicMedia")
    assert claimed["Model (AI mark)"] == "Easel demo"
    assert (answer["prompt"], said(answer, "recipe")["Seed"]) == ("a red apple", "9007199254740993")
    form = {key: str(answer["form"][key]) for key in ("prompt", "steps", "guidance", "seed", "model")}
    size = f"{answer['form']['width']}x{answer['form']['height']}"
    again = await drawn_file(app, **form, size=size)
    assert pixels(again) == pixels(data)
    # It is another file, with an id of its own.
    assert again != data
    changed = embed_texts(data, {"Comment": "changed"})
    assert (await inspect(app, changed))[1]["own"] == "named"


async def test_a_picture_with_the_visible_label_is_drawn_again_with_it(app: WebHarness) -> None:
    asked = {"prompt": "a red apple", "seed": "7", "size": "256x144"}
    plain, labelled = await drawn_file(app, **asked), await drawn_file(app, **asked, label="yes")
    assert pixels(plain) != pixels(labelled)
    assert "label" not in (await inspect(app, plain))[1]["form"]
    form = (await inspect(app, labelled))[1]["form"]
    assert form["label"] is True
    assert pixels(await drawn_file(app, **asked, label="yes")) == pixels(labelled)


async def test_only_owners_and_admins_of_places_learn_whether_it_was_drawn_here(app: WebHarness) -> None:
    data = await drawn_file(app, prompt="a red apple")
    assert (await inspect(app, data, headers=await app.signed_in(ADA)))[1]["own"] is None
    assert (await inspect(app, data, headers=await app.key_for()))[1]["own"] is None
    admin = await app.signed_in(ADA, CLUB, admin=True)
    assert (await inspect(app, data, headers=admin))[1]["own"] == "stored"
    assert (await inspect(app, picture(), headers=admin))[1]["own"] == "foreign"


async def test_a_file_of_another_program_is_read_in_the_person_s_language(app: WebHarness) -> None:
    status, answer = await inspect(app, LYING, headers={"Accept-Language": "zh-CN"})
    assert (status, answer["tool"], answer["form"]["model"]) == (200, "A1111", "demo")
    assert answer["notes"][0] == text("zh_CN", "parameters.note.model", model="dreamshaper_8", own="Easel demo")
    assert answer["status"] == text("zh_CN", "inspect.marked")
    unmarked = (await inspect(app, picture(form="WEBP")))[1]
    assert (unmarked["marked"], unmarked["tool"], unmarked["claimed"], unmarked["about"]) == (False, None, [], [])


async def test_its_size_and_form_are_bounded(app: WebHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    status, answer = await inspect(app, b"no picture")
    assert (status, error_of(answer)[0]) == (400, "refusal.parameters.file")
    status, answer = await app.post("/api/inspect", {})
    assert (status, error_of(answer)[0]) == (415, "refusal.web.body")
    monkeypatch.setattr("adapters.web.inspection.MAX_FILE", 1000)
    status, answer = await inspect(app, bytes(1001))
    assert (status, error_of(answer)[0]) == (413, "refusal.inspect.too_large")
    monkeypatch.setattr(request_checks, "MAX_JSON", 0)
    status, answer = await inspect(app, bytes(1000))
    assert (status, error_of(answer)[0]) == (413, "refusal.inspect.too_large")


async def test_a_body_that_is_a_little_larger_than_all_memory_takes_all_of_it() -> None:
    bodies = BodyReader(most=10)
    async with bodies._reserved(11):
        assert bodies._free == 0
    assert bodies._free == 10


async def test_the_address_leads_to_the_view_and_keeps_the_language(app: WebHarness) -> None:
    two_lines = "?lang=zh%0d%0aSet-Cookie:a=b"
    for query, place in (("", "/#inspect"), ("?lang=zh", "/?lang=zh#inspect"), (two_lines, f"/{two_lines}#inspect")):
        async with app.client.get(URL(f"/inspect{query}", encoded=True), allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (302, place)
    _, info = await app.get("/api/info")
    assert {"label": text("en", "web.inspect"), "url": "/#inspect"} in info["account"]["links"]


async def test_the_root_certificate_is_there_for_anybody(app: WebHarness) -> None:
    status, answer = await app.get("/provenance/root.pem")
    assert (status, error_of(answer)) == (404, ("refusal.web.root", text("en", "refusal.web.root")))
    app.studio._ctx.inspector._root = lambda: b"-----BEGIN CERTIFICATE-----"
    async with app.client.get("/provenance/root.pem") as response:
        assert (response.status, await response.read()) == (200, b"-----BEGIN CERTIFICATE-----")
        assert response.headers["Content-Disposition"] == 'attachment; filename="root.pem"'


async def test_the_account_says_what_its_files_may_tell_and_later_requests_keep_it(app: WebHarness) -> None:
    for recipe, told in (("never", None), ("public", "Easel"), ("always", "Easel")):
        assert (await app.post("/api/account/files", {"recipe": recipe}))[0] == 200
        assert (await app.get("/api/account"))[1]["recipe"] == recipe
        _, answer = await inspect(app, await drawn_file(app, prompt="a secret garden"))
        assert (answer["marked"], answer["tool"]) == (True, told)
        assert (answer["prompt"] == "a secret garden") is (told is not None)
    status, answer = await app.post("/api/account/files", {"recipe": "more"})
    assert (status, error_of(answer)[0]) == (400, "refusal.web.body")
