"""The feed: pages of a person's jobs, what their cards tell, thumbnails, and the pictures that jobs start from."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime

import pytest
from PIL import Image

from bot.core.messages import EventRef
from bot.core.people import Place
from bot.core.requests import DrawForm
from tests.unit.adapters.web.harness import WebHarness, error_of


def png(width: int = 64, height: int = 64) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(out, "PNG")
    return out.getvalue()


async def test_a_card_tells_what_the_form_needs_to_draw_it_again(app: WebHarness) -> None:
    card = await app.drawn(
        "a red apple", size="64x96", steps="5", seed="18446744073709", count="2", negative="blurry", guidance="3"
    )
    recipe = card["recipe"]
    assert recipe["prompt"] == "a red apple"
    assert (recipe["width"], recipe["height"], recipe["steps"], recipe["count"]) == (64, 96, 5, 2)
    assert recipe["seed"] == "18446744073709"
    assert (recipe["start"], recipe["mask"], recipe["references"]) == (None, None, [])
    assert (card["kind"], card["platform"], card["parent"]) == ("draw", "web", None)
    assert datetime.fromisoformat(card["created_at"]).utcoffset() is not None
    assert datetime.fromisoformat(card["started_at"]) >= datetime.fromisoformat(card["created_at"])


@pytest.mark.parametrize("action", ["vary", "reroll", "upscale"])
async def test_a_job_of_a_button_tells_its_kind_and_the_picture_that_it_was_made_from(
    app: WebHarness, action: str
) -> None:
    parent = await app.drawn(count="2", size="64x64")
    status, answer = await app.press(f"easel:{action}:{parent['job_id']}:1")
    assert status == 200
    card = await app.final(answer["new"]["job_id"])
    assert answer["new"]["kind"] == card["kind"] == action
    assert card["parent"] == {
        "job_id": parent["job_id"],
        "index": 1,
        "thumb": parent["pictures"][1]["thumb"],
    }


async def test_a_job_starts_from_an_uploaded_picture_that_can_be_had_again(app: WebHarness) -> None:
    card = await app.started({"image": png()})
    assert card["kind"] == "start"
    async with app.client.get(card["recipe"]["start"]) as response:
        assert response.status == 200
        assert response.content_type == "image/png"
        assert Image.open(io.BytesIO(await response.read())).size == (64, 64)
    for path in (f"/jobs/{card['job_id']}/mask.png", f"/jobs/{card['job_id']}/0.png", "/jobs/999/start.png"):
        assert (await app.get(path))[0] == 404


async def test_the_feed_has_unfinished_jobs_and_turns_pages(held: WebHarness) -> None:
    jobs = [(await held.ask(f"picture {n}"))["job_id"] for n in range(5)]
    _, first = await held.get("/api/feed?limit=3")
    assert [card["job_id"] for card in first["cards"]] == jobs[:1:-1]
    assert first["older"]
    _, second = await held.get(f"/api/feed?limit=3&before={jobs[2]}")
    assert [card["job_id"] for card in second["cards"]] == jobs[1::-1]
    assert not second["older"]


async def test_the_feed_is_filtered_by_kind_star_and_words(app: WebHarness) -> None:
    apple, pear = await app.drawn("a red apple"), await app.drawn("a green pear")
    _, answer = await app.press(f"easel:vary:{apple['job_id']}:0")
    varied = await app.final(answer["new"]["job_id"])
    assert (await app.press(pear["pictures"][0]["star"]))[0] == 200

    async def found(query: str) -> list[int]:
        status, page = await app.get(f"/api/feed?{query}")
        assert status == 200
        return [card["job_id"] for card in page["cards"]]

    assert await found("kind=vary") == [varied["job_id"]]
    assert await found("kind=draw") == [pear["job_id"], apple["job_id"]]
    assert await found("starred=1") == [pear["job_id"]]
    assert await found("q=apple") == [varied["job_id"], apple["job_id"]]
    assert await found("q=apple&kind=draw") == [apple["job_id"]]
    assert await found("q=green&starred=1") == [pear["job_id"]]
    assert await found("q=apple&starred=1") == []
    assert await found("starred=1&kind=vary") == []
    assert await found(f"kind=draw&before={pear['job_id']}") == [apple["job_id"]]


@pytest.mark.parametrize("query", ["kind=Draw", "kind=a'b", "limit=0", "limit=49", "before=x"])
async def test_a_wrong_filter_is_refused(app: WebHarness, query: str) -> None:
    status, answer = await app.get(f"/api/feed?{query}")
    assert (status, error_of(answer)[0]) == (400, "refusal.web.body")


async def test_thumbnails_are_small_and_are_kept_for_good(app: WebHarness) -> None:
    (picture,) = (await app.drawn(size="512x256"))["pictures"]
    for name, size in (("thumb", (320, 160)), ("medium", (512, 256))):
        async with app.client.get(picture[name]) as response:
            assert response.status == 200
            assert response.content_type == "image/webp"
            assert response.headers["Cache-Control"] == "private, max-age=31536000, immutable"
            assert Image.open(io.BytesIO(await response.read())).size == size


async def test_the_thumbnails_of_others_are_not_found(app: WebHarness) -> None:
    other = replace(app.actor, user_id="other", is_owner=False)
    shown = await app.studio.draw(other, Place("web", None, "page"), DrawForm("secret"), EventRef("web:other"))
    async for card in app.studio.watch(other, shown.job_id):
        last = card
    digest = last.pictures[0].digest
    assert len(digest) == 32
    assert (await app.get(f"/thumbs/{digest}-320.webp"))[0] == 404
    await app.drawn("mine")
    assert (await app.get(f"/thumbs/{digest}-320.webp"))[0] == 404
    assert (await app.studio.thumbnail(other, digest, 320)).exists()


@pytest.mark.parametrize("name", ["x-320", "0" * 32 + "-320", "0" * 32 + "-1", "..%2F..%2Feasel.db-320", "-320"])
async def test_an_unknown_thumbnail_is_not_found(app: WebHarness, name: str) -> None:
    await app.drawn()
    assert (await app.get(f"/thumbs/{name}.webp"))[0] == 404


async def test_the_size_of_a_thumbnail_is_one_of_two(app: WebHarness) -> None:
    (picture,) = (await app.drawn())["pictures"]
    for side in ("319", "1", "20000", "9" * 30):
        assert (await app.get(picture["thumb"].replace("-320.", f"-{side}.")))[0] == 404
