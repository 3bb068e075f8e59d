"""The API that reads the parameters of a picture's file."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import FormData

from adapters.web import request_checks
from bot.cards.i18n import text
from bot.core.file_marks import embed_texts
from tests.fakes.png_texts import pixels
from tests.fakes.source_images import picture
from tests.unit.adapters.web.harness import WebHarness, error_of
from tests.unit.bot.provenance.test_comfyui import TWO_PASSES


async def read(app: WebHarness, data: bytes, name: str = "file", **how: Any) -> tuple[int, dict[str, Any]]:
    form = FormData(default_to_multipart=True)
    form.add_field(name, data, filename="a.png", content_type="image/png")
    async with app.client.post("/api/parameters", data=form, **how) as response:
        return response.status, await response.json()


async def test_a_picture_drawn_here_fills_the_form_again(app: WebHarness) -> None:
    card = await app.drawn(
        "a red apple", seed="9007199254740993", size="256x144", negative="blue", steps="5", guidance="3"
    )
    async with app.client.get(card["pictures"][0]["url"]) as response:
        status, answer = await read(app, await response.read())
    assert (status, answer["tool"], answer["notes"]) == (200, "Easel", [])
    assert answer["form"] == {
        "prompt": "a red apple", "negative": "blue", "width": 256, "height": 144, "steps": 5, "guidance": 3.0,
        "seed": "9007199254740993", "model": "demo", "loras": [],
    }  # fmt: skip
    # Drawn again, it has the same pixels.
    form = {key: str(answer["form"][key]) for key in ("prompt", "negative", "steps", "guidance", "seed", "model")}
    again = await app.drawn(**form, size="256x144")
    files = []
    for each in (card, again):
        async with app.client.get(each["pictures"][0]["url"]) as response:
            files.append(await response.read())
    assert pixels(files[0]) == pixels(files[1])


async def test_a_graph_of_comfyui_has_notes(app: WebHarness) -> None:
    data = embed_texts(picture(), {"prompt": json.dumps(TWO_PASSES)})
    status, answer = await read(app, data, headers={"Accept-Language": "zh-CN"})
    assert (status, answer["tool"], answer["form"]["model"]) == (200, "ComfyUI", "demo")
    assert answer["notes"][0] == text("zh_CN", "parameters.note.model", model="sd_xl_base_1.0", own="Easel demo")


async def test_a_file_without_parameters(app: WebHarness) -> None:
    status, answer = await read(app, picture(form="JPEG"))
    assert (status, answer) == (200, {"form": {}, "notes": [text("en", "parameters.none")], "tool": None})


@pytest.mark.parametrize(
    ("data", "name", "status", "key"),
    [
        (b"no picture", "file", 400, "refusal.parameters.file"),
        (b"", "file", 400, "refusal.parameters.file"),
        (picture(), "image", 400, "refusal.web.body"),
    ],
)
async def test_what_is_wrong_with_it_is_one_sentence(
    app: WebHarness, data: bytes, name: str, status: int, key: str
) -> None:
    got, answer = await read(app, data, name)
    assert (got, error_of(answer)[0]) == (status, key)


async def test_its_size_and_form_are_bounded(app: WebHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    status, answer = await app.post("/api/parameters", {})
    assert (status, error_of(answer)[0]) == (415, "refusal.web.body")
    monkeypatch.setattr(request_checks, "MAX_PICTURE", 1000)
    status, answer = await read(app, bytes(1001))
    assert (status, error_of(answer)[0]) == (413, "refusal.web.pictures_too_large")
    monkeypatch.setattr(request_checks, "MAX_JSON", 0)
    status, answer = await read(app, bytes(1001))
    assert (status, error_of(answer)[0]) == (413, "refusal.web.pictures_too_large")
