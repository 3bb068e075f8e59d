"""Starts from pictures by the API: as parts of a form, within limits of their own; and previews for those who follow a job."""

from __future__ import annotations

import base64
import io
import json

import pytest

from adapters.web import request_checks, sse
from tests.fakes.source_images import BLACK, RED, bomb, half_mask, opened, picture, side_mask
from tests.unit.adapters.web.harness import WebHarness, error_of, events


def sent(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def test_a_picture_is_started_from(app: WebHarness) -> None:
    files = {"image": picture(96, 64, RED), "mask": half_mask(96, 64)}
    card = await app.started(files, strength="0.5")
    (shown,) = card["pictures"]
    assert (shown["width"], shown["height"]) == (240, 160)
    async with app.client.get(shown["url"]) as response:
        drawn = opened(await response.read())
    assert drawn.getpixel((10, 80)) == RED
    assert drawn.getpixel((230, 80)) != RED
    assert {"label": "Strength", "value": "0.5"} in card["facts"]


async def test_a_large_one_is_taken_too(app: WebHarness) -> None:
    # Far above what JSON may have.
    assert (await app.started({"image": picture(600, 600, form="BMP")}))["pictures"]


async def test_a_form_without_pictures_is_read_too(app: WebHarness) -> None:
    assert (await app.started({}, seed="7"))["pictures"][0]["seed"] == "7"


async def test_a_picture_inside_json_is_told_how_it_comes_now(app: WebHarness) -> None:
    body = {"key": app.key(), "prompt": "a cat", "image": sent(picture())}
    status, answer = await app.post("/api/draw", body)
    key, text = error_of(answer)
    assert (status, key, "multipart/form-data" in text) == (415, "refusal.web.picture_in_json", True)
    data = io.BytesIO(json.dumps({**body, "image": sent(picture(600, 600, form="BMP"))}).encode())
    async with app.client.post("/api/draw", data=data, headers={"Content-Type": "application/json"}) as response:
        assert response.status == 413
        key, text = error_of(await response.json())
    assert (key, "multipart/form-data" in text, "64 KiB" in text) == ("refusal.web.json_too_large", True, True)
    assert await app.count("jobs") == 0


@pytest.mark.parametrize(
    ("files", "form", "key"),
    [
        ({"image": b"no picture"}, {}, "refusal.image.unreadable"),
        ({"image": b""}, {}, "refusal.image.unreadable"),
        ({"image": bomb()}, {}, "refusal.image.too_large"),
        ({"mask": half_mask()}, {}, "refusal.mask.no_image"),
        ({"image": picture(), "mask": half_mask(9, 9)}, {}, "refusal.mask.size"),
        ({"image": picture(), "mask": picture(colour=BLACK)}, {}, "refusal.mask.black"),
        ({"image": picture(), "mask": picture(colour=(9, 9, 9))}, {}, "refusal.mask.black"),
        ({"image": picture(256, 64), "mask": side_mask(256, 64)}, {"size": "64x64"}, "refusal.mask.cut_off"),
        ({"image": picture()}, {"strength": "2"}, "refusal.strength.range"),
        ({}, {"strength": "0.5"}, "refusal.strength.no_image"),
    ],
)
async def test_what_is_wrong_with_it_is_one_sentence(
    app: WebHarness, files: dict[str, bytes], form: dict[str, str], key: str
) -> None:
    status, answer = await app.upload({"key": app.key(), "prompt": "a cat", **form}, files)
    assert (status, error_of(answer)[0]) == (400, key)
    assert await app.count("jobs") == 0
    assert not list((app.folder / "inputs").glob("*"))


async def test_the_page_is_told_what_the_models_can_do(app: WebHarness) -> None:
    _, info = await app.get("/api/info")
    assert info["model"]["can"] == ["image", "mask", "vary"]
    # A picture of the size that the page lets pass fits the body, with all the fields beside it.
    assert info["max_picture"] < request_checks.MAX_MULTIPART - request_checks.MAX_JSON


async def test_who_follows_a_job_sees_its_previews(held: WebHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "BEAT_SECONDS", 0.01)
    job = (await held.ask(count="2", steps="50", size="128x64"))["job_id"]
    await held.until(lambda: held.gate.reached)
    async with held.client.get(f"/api/jobs/{job}/events") as stream:
        async for event in events(stream):
            if event.kind == "card":
                coming = event.data["card"]["coming"]
                if coming["previews"]:
                    break
                held.gate.let(1)
        assert (coming["count"], coming["width"], coming["height"]) == (2, 128, 64)
        url = next(iter(coming["previews"].values()))
        async with held.client.get(url) as response:
            assert response.content_type == "image/png"
            assert response.headers["Cache-Control"] == "private, no-store"
            assert opened(await response.read()).size == (16, 8)
    # The page has left: nothing is made for nobody, and an old preview is no news for the next.
    await held.until(lambda: not held.engine.previewed)
    async with held.client.get(url) as response:
        assert (response.status, await response.read()) == (204, b"")
    held.gate.open()
    assert (await held.final(job))["coming"] is None


async def test_a_card_that_is_asked_for_once_is_nobody_who_looks(held: WebHarness) -> None:
    job = (await held.ask())["job_id"]
    await held.until(lambda: held.gate.reached)
    assert (await held.get(f"/api/jobs/{job}"))[1]["card"]["coming"]["previews"] == {}
    assert not held.dispatch.live.wants_previews(job)


@pytest.mark.parametrize("path", ["/api/jobs/999/preview/0", "/api/jobs/1/preview/x"])
async def test_there_is_no_such_picture_to_come(app: WebHarness, path: str) -> None:
    await app.drawn()
    status, answer = await app.get(path)
    assert status == 404
    error_of(answer)


async def test_the_stored_picture_that_it_is_becomes_the_parent(app: WebHarness) -> None:
    first = await app.drawn(count="2")
    async with app.client.get(first["pictures"][1]["url"]) as response:
        data = await response.read()
    for _ in range(2):  # no button was pressed, so that none was pressed twice
        card = await app.started({"image": data}, parent=f"{first['job_id']}:2")
        assert card["kind"] == "start"
        assert (card["parent"]["job_id"], card["parent"]["index"]) == (first["job_id"], 1)
    _, answer = await app.get("/api/feed?kind=start")
    assert len(answer["cards"]) == 2


@pytest.mark.parametrize("parent", ["1:9", "999", "no number", ""])
async def test_a_parent_that_is_not_there_is_left_out(app: WebHarness, parent: str) -> None:
    await app.drawn()
    card = await app.started({"image": picture()}, parent=parent)
    assert (card["kind"], card["parent"]) == ("start", None)
    # Without a picture there is nothing that it could be.
    assert (await app.drawn(parent="1:1"))["parent"] is None
