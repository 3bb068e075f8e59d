"""The feed: pages of a person's jobs, what their cards tell, thumbnails, and the pictures that jobs start from."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image

from bot.core.errors import NotFound
from bot.core.messages import EventRef
from bot.core.people import Place
from bot.core.requests import DrawForm
from bot.privacy import undoable_deletion
from tests.fakes.engine import FakeEngine
from tests.fakes.source_images import picture
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import Json, WebHarness, error_of, settings_of


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
    card = await app.started({"image": picture(64, 64)})
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


async def zipped(app: WebHarness, pictures: list[list[int]]) -> tuple[zipfile.ZipFile, Json]:
    """Fetch a ZIP of pictures; returns it and its metadata."""
    async with app.client.post("/api/zip", json={"pictures": pictures}) as response:
        assert response.status == 200
        assert response.content_type == "application/zip"
        assert "Content-Encoding" not in response.headers
        archive = zipfile.ZipFile(io.BytesIO(await response.read()))
    assert archive.testzip() is None
    metadata: Json = json.loads(archive.read("metadata.json"))
    return archive, metadata


async def test_pictures_come_as_a_zip_with_how_they_were_drawn(app: WebHarness) -> None:
    card = await app.drawn("../../etc/passwd ü", count="2", seed="7")
    job = card["job_id"]
    archive, metadata = await zipped(app, [[job, 1], [job, 0], [job, 1]])
    assert archive.namelist() == [f"easel-{job}-2.png", f"easel-{job}-1.png", "metadata.json"]
    async with app.client.get(card["pictures"][1]["url"]) as response:
        assert archive.read(f"easel-{job}-2.png") == await response.read()
    assert [picture["seed"] for picture in metadata["pictures"]] == ["8", "7"]
    assert metadata["pictures"][0]["recipe"]["prompt"] == "../../etc/passwd ü"


async def test_a_zip_has_only_ones_own_pictures(app: WebHarness) -> None:
    other = replace(app.actor, user_id="other", is_owner=False)
    shown = await app.studio.draw(other, Place("web", None, "page"), DrawForm("secret"), EventRef("web:other"))
    async for _ in app.studio.watch(other, shown.job_id):
        pass
    own = (await app.drawn())["job_id"]
    for pictures in ([[shown.job_id, 0]], [[own, 0], [shown.job_id, 0]], [[own, 1]], [[999, 0]]):
        status, answer = await app.post("/api/zip", {"pictures": pictures})
        assert (status, error_of(answer)[0]) == (404, "refusal.picture.not_found")


async def test_a_picture_without_a_file_is_left_out_of_a_zip(app: WebHarness) -> None:
    job = (await app.drawn(count="2"))["job_id"]
    next(app.folder.glob(f"pictures/*/*/*/{job}-0.png")).unlink()
    archive, metadata = await zipped(app, [[job, 0], [job, 1]])
    assert archive.namelist() == [f"easel-{job}-2.png", "metadata.json"]
    assert len(metadata["pictures"]) == 1


@pytest.mark.parametrize("pictures", [[], [[1]], [[1, 2, 3]], [1, 2], [["1", 0]], [[1, -1]], [[1, 0]] * 501])
async def test_a_wrong_list_of_pictures_is_refused(app: WebHarness, pictures: object) -> None:
    status, answer = await app.post("/api/zip", {"pictures": pictures})
    assert (status, error_of(answer)[0]) == (400, "refusal.web.body")


async def deleted(app: WebHarness, jobs: list[int]) -> Json:
    """Delete jobs; returns the answer."""
    status, answer = await app.post("/api/delete", {"jobs": jobs, "key": app.key()})
    assert status == 200, answer
    return answer


async def test_deleted_jobs_are_hidden_at_once_and_come_back_when_it_is_undone(app: WebHarness) -> None:
    card, other = await app.drawn(), await app.drawn("a green pear")
    job = card["job_id"]
    assert (await app.press(card["pictures"][0]["star"]))[0] == 200
    answer = await deleted(app, [job])
    assert datetime.fromisoformat(answer["until"]).utcoffset() is not None
    for path in ("/api/feed", "/api/history", "/api/feed?kind=draw"):
        assert [one["job_id"] for one in (await app.get(path))[1]["cards"]] == [other["job_id"]]
    for path in ("/api/feed?q=apple", "/api/feed?starred=1", "/api/history?q=apple"):
        assert (await app.get(path))[1]["cards"] == []
    picture = card["pictures"][0]
    for path in (f"/api/jobs/{job}", picture["url"], picture["thumb"], picture["medium"]):
        assert (await app.get(path))[0] == 404
    assert (await app.press(f"easel:reroll:{job}"))[0] == 404
    assert (await app.post("/api/zip", {"pictures": [[job, 0]]}))[0] == 404
    status, undone = await app.post("/api/undo", {"undo": answer["undo"]})
    assert status == 200
    assert [one["job_id"] for one in undone["cards"]] == [job]
    assert [one["job_id"] for one in (await app.get("/api/feed"))[1]["cards"]] == [other["job_id"], job]
    assert (await app.client.get(picture["thumb"])).status == 200
    status, again = await app.post("/api/undo", {"undo": answer["undo"]})
    assert (status, error_of(again)[0]) == (404, "refusal.delete.undone")


async def test_a_deletion_that_is_due_can_t_be_undone_in_part(app: WebHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    # As while a long deletion is carried out, some jobs at a time.
    monkeypatch.setattr(undoable_deletion.DeletionWorker, "_delete_some", _nothing)
    monkeypatch.setattr(undoable_deletion, "UNDO_SECONDS", 0.0)
    answer = await deleted(app, [(await app.drawn())["job_id"]])
    status, late = await app.post("/api/undo", {"undo": answer["undo"]})
    assert (status, error_of(late)[0]) == (404, "refusal.delete.undone")


async def _nothing(*_: object) -> None:
    await asyncio.sleep(0.01)


async def test_a_deletion_takes_effect_when_the_time_to_undo_is_over(
    app: WebHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = [await app.drawn(f"picture {n}") for n in range(3)]
    jobs = [card["job_id"] for card in cards]
    for card in cards:
        assert (await app.client.get(card["pictures"][0]["thumb"])).status == 200
    monkeypatch.setattr(undoable_deletion, "UNDO_SECONDS", 0.0)
    monkeypatch.setattr(undoable_deletion, "_BATCH", 2)
    answer = await deleted(app, jobs)
    await app.until(lambda: not list(app.folder.glob("pictures/*/*/*/*.png")))
    await app.until(lambda: not list(app.folder.glob("thumbs/*")))
    assert await app.number("SELECT count(*) FROM jobs WHERE forgotten AND deletion_id IS NULL AND typed = ''") == 3
    status, late = await app.post("/api/undo", {"undo": answer["undo"]})
    assert (status, error_of(late)[0]) == (404, "refusal.delete.undone")
    assert await app.count("deletions") == 0


async def test_the_same_deletion_twice_is_one_and_nothing_foreign_or_unfinished_is_deleted(held: WebHarness) -> None:
    held.gate.open()
    job = (await held.drawn())["job_id"]
    key = held.key()
    answers = [await held.post("/api/delete", {"jobs": [job], "key": key}) for _ in range(2)]
    assert answers[0] == answers[1]
    assert await held.count("deletions") == 1
    other = replace(held.actor, user_id="other", is_owner=False)
    shown = await held.studio.draw(other, Place("web", None, "page"), DrawForm("secret"), EventRef("web:other"))
    async for _ in held.studio.watch(other, shown.job_id):
        pass
    own = (await held.drawn())["job_id"]
    held.gate.shut()
    waiting = (await held.ask())["job_id"]
    for jobs, status, refusal in (
        ([own, shown.job_id], 404, "refusal.job.not_found"),
        ([own, job], 404, "refusal.job.not_found"),
        ([own, waiting], 400, "refusal.delete.open"),
        ([], 400, "refusal.web.body"),
        ([0], 400, "refusal.web.body"),
    ):
        found, answer = await held.post("/api/delete", {"jobs": jobs, "key": held.key()})
        assert (found, error_of(answer)[0]) == (status, refusal)
    with pytest.raises(NotFound):
        await held.studio.undo_deletion(other, answers[0][1]["undo"])
    assert [card["job_id"] for card in (await held.get("/api/feed"))[1]["cards"]] == [waiting, own]
    foreign = await held.studio.delete_jobs(other, [shown.job_id], key)
    assert foreign.token != answers[0][1]["undo"], "a key of one person means nothing for another"
    assert await held.studio.undo_deletion(other, foreign.token) == (shown.job_id,)


async def test_a_deletion_that_a_stop_has_left_is_carried_out_at_the_next_start(tmp_path: Path) -> None:
    gate = StepGate()
    gate.open()
    async with WebHarness(tmp_path, FakeEngine(pause=gate), gate, settings_of()).opened() as app:
        await deleted(app, [(await app.drawn())["job_id"]])
        async with app.db.write() as tx:
            await tx.execute_fetchall("UPDATE deletions SET due_at = 0")
    async with WebHarness(tmp_path, FakeEngine(pause=gate), gate, settings_of()).opened() as app:
        await app.until(lambda: not list(tmp_path.glob("pictures/*/*/*/*.png")))
        assert await app.count("pictures") == 0


async def test_a_start_removes_thumbnails_of_no_picture(tmp_path: Path) -> None:
    gate = StepGate()
    gate.open()
    async with WebHarness(tmp_path, FakeEngine(pause=gate), gate, settings_of()).opened() as app:
        (picture,) = (await app.drawn())["pictures"]
        assert (await app.client.get(picture["thumb"])).status == 200
        assert (await app.client.get(picture["medium"])).status == 200
    folder = tmp_path / "thumbs"
    kept = {path.name for path in folder.iterdir()}
    assert len(kept) == 2
    for name in ("0" * 32 + "-320.webp", "0" * 32 + "-960.webp.12345678.part", "a friend's file"):
        (folder / name).touch()
    async with WebHarness(tmp_path, FakeEngine(pause=gate), gate, settings_of()).opened() as app:
        assert {path.name for path in folder.iterdir()} == {*kept, "a friend's file"}
