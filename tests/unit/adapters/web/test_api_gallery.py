"""Looking back: the history page by page, and the pictures' files."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from adapters.web.api import MAX_PAGE
from bot.core.strictness import SPOILER
from bot.storage import pictures
from tests.unit.adapters.web.harness import WebHarness, error_of


async def test_at_first_there_is_nothing(app: WebHarness) -> None:
    assert await app.get("/api/history") == (200, {"cards": [], "older": False})


async def test_history_is_newest_first_page_by_page(app: WebHarness) -> None:
    jobs = [(await app.drawn(f"picture {i}"))["job_id"] for i in range(5)][::-1]
    pages = []
    before = ""
    for _ in range(3):
        status, page = await app.get(f"/api/history?limit=2{before}")
        assert status == 200
        assert set(page) == {"cards", "older"}
        pages.append(([card["job_id"] for card in page["cards"]], page["older"]))
        before = f"&before={page['cards'][-1]['job_id']}"
    assert pages == [(jobs[0:2], True), (jobs[2:4], True), (jobs[4:], False)]
    # A page that ends with the oldest says that there is nothing more.
    assert (await app.get(f"/api/history?limit=2&before={jobs[2]}"))[1]["older"] is False
    assert (await app.get("/api/history?limit=5"))[1]["older"] is False
    assert (await app.get("/api/history?limit=4"))[1]["older"] is True
    assert await app.get(f"/api/history?before={jobs[4]}") == (200, {"cards": [], "older": False})
    # Jobs that are asked for meanwhile do not shift the page behind a job.
    await app.drawn()
    assert [c["job_id"] for c in (await app.get(f"/api/history?limit=2&before={jobs[1]}"))[1]["cards"]] == jobs[2:4]


async def test_history_holds_what_waits_too(held: WebHarness) -> None:
    job = (await held.ask())["job_id"]
    (card,) = (await held.get("/api/history"))[1]["cards"]
    assert (card["job_id"], card["final"]) == (job, False)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        f"limit={MAX_PAGE + 1}",
        "limit=x",
        "limit=",
        "limit=1.5",
        "limit=٣",
        "limit=" + "9" * 5000,
        "before=0",
        "before=-5",
        "before=x",
        "before=",
        f"before={2**63}",
        "before=" + "9" * 5000,
        "before=1;DROP TABLE jobs",
    ],
)
async def test_a_page_that_can_not_be(app: WebHarness, query: str) -> None:
    status, answer = await app.get(f"/api/history?{query}")
    key, text = error_of(answer)
    assert (status, key) == (400, "refusal.web.body")
    assert query.partition("=")[0] in text


async def test_the_widest_page_and_the_last_job(app: WebHarness) -> None:
    assert (await app.get(f"/api/history?limit={MAX_PAGE}&before={2**63 - 1}"))[0] == 200


async def test_a_picture_is_its_file(app: WebHarness) -> None:
    card = await app.drawn("a red apple on a blue background", seed="7", size="256x144")
    picture = card["pictures"][0]
    assert picture["url"] == f"/pictures/{card['job_id']}/0.png"
    assert picture["download"] == f"{picture['url']}?download=1"
    async with app.client.get(picture["url"]) as response:
        assert response.status == 200
        assert response.content_type == "image/png"
        assert response.headers["Content-Disposition"].startswith("inline")
        assert response.headers["Cache-Control"] == "private, no-cache"
        shown, tag = await response.read(), response.headers["ETag"]
    async with app.client.get(picture["url"], headers={"If-None-Match": tag}) as response:
        assert response.status == 304
    (file,) = (app.folder / "pictures").rglob("*.png")
    assert shown == file.read_bytes()


@pytest.mark.parametrize(
    "prompt", ["a red apple", "夜空中的一只猫", 'x"; filename="../../evil.exe', "a\nb", "../../../etc"]
)
async def test_a_download_has_a_safe_name_and_its_parameters(app: WebHarness, prompt: str) -> None:
    card = await app.drawn(prompt, seed="7", count="2", steps="3", guidance="2.5", negative="text")
    for index, picture in enumerate(card["pictures"]):
        async with app.client.get(picture["download"]) as response:
            assert response.status == 200
            name = f"easel-{card['job_id']}-{index + 1}.png"
            assert response.headers["Content-Disposition"] == f'attachment; filename="{name}"'
            data = await response.read()
        with Image.open(io.BytesIO(data)) as image:
            assert isinstance(image, PngImageFile)
            assert image.size == (picture["width"], picture["height"])
            lines = str(image.text["parameters"]).splitlines()
        assert lines[: len(prompt.splitlines())] == prompt.splitlines()
        assert lines[-2] == "Negative prompt: text"
        assert lines[-1].startswith("Steps: 3, Sampler: Euler, CFG scale: 2.5, ")
        assert f"Seed: {7 + index}, Size: 192x192, " in lines[-1]


async def test_a_part_of_a_picture_can_be_asked_for(app: WebHarness) -> None:
    url = (await app.drawn())["pictures"][0]["url"]
    async with app.client.get(url, headers={"Range": "bytes=0-7"}) as response:
        assert response.status == 206
        assert await response.read() == b"\x89PNG\r\n\x1a\n"
    async with app.client.head(url) as response:
        assert response.status == 200
        assert int(response.headers["Content-Length"]) > 100
        assert await response.read() == b""


AWAY = (
    "/pictures/1/1.png",
    "/pictures/2/0.png",
    "/pictures/0/0.png",
    "/pictures/-1/0.png",
    "/pictures/1/-1.png",
    "/pictures/x/0.png",
    "/pictures/1/x.png",
    "/pictures/1/0.jpg",
    "/pictures/1/0",
    "/pictures/1/",
    "/pictures/",
    "/pictures/1/0.png/",
    "/pictures/1/0.png%00",
    "/pictures/1/%00.png",
    "/pictures/1/" + "9" * 5000 + ".png",
    "/pictures/" + "9" * 19 + "/0.png",
    "/pictures/1/..%2f..%2feasel.db",
    "/pictures/1/..%2f..%2feasel.db.png",
    "/pictures/..%2f..%2f/easel.png",
    "/pictures/..%5c..%5c/easel.png",
    "/pictures/../easel.db",
    "/pictures/%2e%2e/easel.db",
    "/pictures//etc/passwd",
    "/pictures/%F0/0.png",
    "/static/../service.py",
    "/static/..%2fservice.py",
    "/static/%2e%2e%2fservice.py",
    "/static/..%5cservice.py",
    "/static/....//service.py",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/C:%5cWindows%5cwin.ini",
    "/static/%5c%5cserver%5cshare",
    "/static/main.js%00",
    "/static/main.js/",
    "/static/main.js/x",
    "/static/.",
    "/static/..",
    "/static/",
    "/static",
    "/static/" + "a" * 300,
    "/static/nope.js",
    "/easel.db",
    "/.env",
    "/index.html",
)


async def test_there_is_no_way_to_another_file(app: WebHarness) -> None:
    await app.drawn()
    for path in AWAY:
        status, answer = await app.raw(f"GET {path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n")
        assert status == 404, f"{path[:60]}: {answer}"
        key, _ = error_of(json.loads(answer.partition("\r\n\r\n")[2]))
        assert key in {"refusal.web.not_found", "refusal.picture.not_found", "refusal.job.not_found"}


async def test_a_file_that_is_gone_is_said_to_be(app: WebHarness) -> None:
    card = await app.drawn()
    for file in (app.folder / "pictures").rglob("*.png"):
        file.unlink()
    status, answer = await app.get(card["pictures"][0]["url"])
    assert (status, error_of(answer)[0]) == (404, "refusal.picture.not_found")


async def test_a_search_finds_ones_own_and_says_what_it_can_not_read(app: WebHarness) -> None:
    dog = (await app.drawn("两只小狗 with a ball"))["job_id"]
    cats = [(await app.drawn(f"a cat {i}"))["job_id"] for i in range(3)][::-1]
    _, page = await app.get("/api/history?q=CATS&limit=2")
    assert ([card["job_id"] for card in page["cards"]], page["older"]) == (cats[:2], True)
    _, rest = await app.get(f"/api/history?q=cat&limit=2&before={cats[1]}")
    assert ([card["job_id"] for card in rest["cards"]], rest["older"]) == (cats[2:], False)
    _, page = await app.get("/api/history", params={"q": "小狗 model:demo"})
    assert [card["job_id"] for card in page["cards"]] == [dog]
    assert len((await app.get("/api/history", params={"q": "  "}))[1]["cards"]) == 4
    status, answer = await app.get("/api/history?q=seed:x", headers={"Accept-Language": "zh-CN"})
    assert (status, error_of(answer)) == (400, ("refusal.search.seed", "x 不是种子，请写整数，例如 种子:7。"))


async def test_each_picture_has_a_star(app: WebHarness) -> None:
    card = await app.drawn("a cat", count="2")
    star = card["pictures"][1]["star"]
    assert [picture["favourite"] for picture in card["pictures"]] == [False, False]
    status, answer = await app.press(star)
    assert (status, answer["card"], answer["new"]) == (200, None, None)
    assert answer["notice"]
    _, page = await app.get("/api/history?q=is:favourite")
    assert [p["favourite"] for p in page["cards"][0]["pictures"]] == [False, True]
    await app.press(star)
    assert (await app.get("/api/history?q=is:favourite"))[1]["cards"] == []


async def test_a_covered_picture_says_so(app: WebHarness) -> None:
    job = (await app.drawn("two apples", count="2"))["job_id"]
    async with app.db.write() as tx:
        stored = await pictures.of_job(tx, job)
        await pictures.put_flag(tx, stored[1].id, SPOILER)
    (card,) = (await app.get("/api/history"))[1]["cards"]
    assert [picture["spoiler"] for picture in card["pictures"]] == [False, True]
