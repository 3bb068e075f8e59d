"""Asking for pictures: what is admitted, what is refused, and that a refusal leaves nothing behind."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from bot.core.errors import OverQuota, Refusal
from bot.core.file_marks import XMP, embed_texts
from bot.core.inspection import SealState
from bot.provenance.aigc import KEYS
from bot.provenance.inspection import inspect
from bot.provenance.seal import Seal, check_seal
from bot.provenance.xmp import label_packet
from bot.storage import data_files, jobs
from engine.contract import Phase
from tests.fakes.bad_requests import BAD_REQUESTS
from tests.fakes.engine import FakeEngine
from tests.fakes.source_images import picture
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import LANGUAGES, Json, WebHarness, error_of, settings_of
from tests.unit.bot.provenance.marked_files import facts, marked, signing_keys

UUID = "3f1c2a9e-7b44-4a0e-9d0e-1d2f3a4b5c6d"


async def test_a_request_is_answered_with_its_card(held: WebHarness) -> None:
    status, answer = await held.post("/api/draw", {"key": UUID, "prompt": "a red apple", "seed": "7"})
    assert status == 201
    card = answer["card"]
    assert set(answer) == {"card"}
    assert set(card) == {
        "job_id",
        "tone",
        "status",
        "prompt",
        "progress",
        "notes",
        "facts",
        "pictures",
        "buttons",
        "final",
        "coming",
        "created_at",
        "kind",
        "platform",
        "started_at",
        "step",
        "steps",
        "seconds_left",
        "parent",
        "recipe",
    }
    assert card["coming"] == {"count": 1, "width": 192, "height": 192, "enlarge": 3, "previews": {}}
    assert card["prompt"] == "a red apple"
    assert not card["final"]
    assert card["pictures"] == []
    (button,) = card["buttons"][0]
    assert button["id"] == f"easel:cancel:{card['job_id']}"
    assert button["action"] == "cancel"
    assert button["danger"]


async def test_everything_that_can_be_asked_for_reaches_the_engine(app: WebHarness) -> None:
    form = {
        "size": "256x144",
        "count": "2",
        "seed": str(2**63 - 1),
        "steps": "3",
        "guidance": "2.5",
        "negative": "text",
        "model": "demo",
        "sampler": "heun",
    }
    card = await app.drawn("夜空中的一只猫", **form)
    assert card["prompt"] == "夜空中的一只猫"
    assert [p["seed"] for p in card["pictures"]] == [str(2**63 - 1), "0"]
    assert {(p["width"], p["height"], p["alt"]) for p in card["pictures"]} == {(256, 144, "夜空中的一只猫")}
    recipe = app.engine.painted[0]
    assert (recipe.steps, recipe.guidance, recipe.negative, recipe.model) == (3, 2.5, "text", "demo")
    assert recipe.sampler == "Heun"


async def test_flags_in_the_prompt_work_and_fields_win(app: WebHarness) -> None:
    card = await app.drawn("a cat —count 2 --seed 5", seed="9")
    assert card["prompt"] == "a cat"
    assert [p["seed"] for p in card["pictures"]] == ["9", "10"]


async def test_sixteen_pictures_may_be_asked_for(app: WebHarness) -> None:
    assert len((await app.drawn(count="16"))["pictures"]) == 16


async def test_a_label_is_drawn_for_one_request_and_kept_by_its_buttons(app: WebHarness) -> None:
    async def pixels(card: Json) -> Image.Image:
        with Image.open(io.BytesIO(await _file(app, card))) as opened:
            return opened.convert("RGB")

    plain, asked = [await app.drawn(seed="7", **form) for form in ({}, {"label": "yes"})]
    (typed,) = [await app.drawn("a red apple --label", seed="7")]
    assert (plain["recipe"]["label"], asked["recipe"]["label"]) == (False, True)
    labelled = await pixels(asked)
    box = ImageChops.difference(labelled, await pixels(plain)).getbbox()
    assert box is not None
    assert box[1] > labelled.height / 2
    assert ImageChops.difference(labelled, await pixels(typed)).getbbox() is None
    (reroll,) = [b["id"] for row in asked["buttons"] for b in row if b["action"] == "reroll"]
    status, answer = await app.post("/api/press", {"key": app.key(), "id": reroll})
    assert status == 200, answer
    async with app.db.read() as tx:
        newest = await jobs.get(tx, asked["job_id"] + 2)
    assert newest is not None
    assert newest.request.label
    assert (await app.post("/api/draw", {"key": app.key(), "prompt": "a cat", "label": "no"}))[0] == 400


async def test_the_aigc_label_of_an_upload_is_kept(app: WebHarness) -> None:
    keys = {**dict.fromkeys(KEYS, ""), "Label": "1", "ContentProducer": "P1", "ProduceID": "abc"}
    label = json.dumps(keys, separators=(",", ":"))
    upload = embed_texts(picture(), {XMP: label_packet(label).decode()})
    report = inspect(await _file(app, await app.started({"image": upload})))
    assert (report.label, report.label_faults) == (label, ())
    assert not inspect(await _file(app, await app.drawn())).label


async def test_where_pictures_are_signed_the_manifest_of_an_upload_goes_along(tmp_path: Path) -> None:
    c2pa = pytest.importorskip("c2pa", reason="the extra c2pa is not installed")
    keys, gate = signing_keys(), StepGate()
    gate.open()
    seal = Seal(keys.chain, keys.key)
    upload = seal.sign(marked(facts()), "image/png", facts())
    harness = WebHarness(tmp_path, FakeEngine(pause=gate), gate, settings_of())
    harness.more["seal"] = seal
    async with harness.opened() as app:
        data = await _file(app, await app.started({"image": upload}))
        hostile = bytearray(upload)
        hostile[upload.index(b"caBX") + 100 : upload.index(b"caBX") + 900] = bytes(800)
        assert inspect(await _file(app, await app.started({"image": bytes(hostile)}))).is_marked
        assert app.registry.get_sample_value("easel_signatures_total", {"outcome": "signed"}) == 2
    assert check_seal(data, "image/png", [keys.root]).state is SealState.TRUSTED
    with c2pa.Reader("image/png", io.BytesIO(data)) as reader:
        (ingredient,) = reader.get_active_manifest()["ingredients"]
    assert (ingredient["relationship"], "active_manifest" in ingredient) == ("inputTo", True)


async def _file(app: WebHarness, card: Json) -> bytes:
    async with app.client.get(card["pictures"][0]["url"]) as response:
        return await response.read()


async def test_null_means_not_given(app: WebHarness) -> None:
    status, _ = await app.post("/api/draw", {"key": UUID, "prompt": "a cat", "seed": None, "size": None})
    assert status == 201


async def test_the_same_key_is_the_same_job(app: WebHarness) -> None:
    body = {"key": UUID, "prompt": "a red apple"}
    answers = await asyncio.gather(*(app.post("/api/draw", body) for _ in range(5)))
    assert {status for status, _ in answers} == {201}
    (job,) = {answer["card"]["job_id"] for _, answer in answers}
    await app.final(job)
    again = await app.post("/api/draw", body)
    assert (again[0], again[1]["card"]["job_id"]) == (201, job)
    assert await app.count("jobs") == await app.count("pictures") == await app.charged() == 1
    assert len(app.engine.painted) == 1


@pytest.mark.parametrize("language", LANGUAGES)
async def test_bad_input_is_one_sentence_and_nothing_is_kept(app: WebHarness, language: str) -> None:
    for bad in BAD_REQUESTS:
        body = {"key": app.key(), "prompt": bad.prompt, **bad.fields}
        status, answer = await app.post("/api/draw", body, headers={"Accept-Language": LANGUAGES[language]})
        key, text = error_of(answer)
        assert (status, key) == (400, bad.key), f"{bad.what}: {answer}"
        assert bad.words(language, most=16) in text, f"{bad.what}: {text}"
        assert any("\u4e00" <= c <= "\u9fff" for c in text) is (language == "zh"), text
    for table in ("jobs", "ledger", "pictures"):
        assert await app.count(table) == 0
    assert app.engine.painted == []


@pytest.mark.parametrize(
    ("query", "header", "chinese"),
    [
        ("", "de-DE,de;q=0.9,zh-TW;q=0.8,en;q=0.7", True),
        ("", "fr", False),
        ("", "", False),
        ("?lang=zh", "en", True),
        ("?lang=zh_CN", "en", True),
        ("?lang=en", "zh-CN", False),
        ("?lang=xx", "zh-CN", True),
        ("?lang=" + "z" * 500, "en", False),
    ],
)
async def test_the_language_is_the_query_s_or_the_browser_s(
    app: WebHarness, query: str, header: str, chinese: bool
) -> None:
    _, answer = await app.post(f"/api/draw{query}", {"key": UUID, "prompt": ""}, headers={"Accept-Language": header})
    assert ("提示词" in error_of(answer)[1]) is chinese


BODIES: list[tuple[str, bytes, str]] = [
    ("nothing", b"", "JSON"),
    ("no JSON", b"prompt=a+cat", "JSON"),
    ("cut off", b'{"key": "' + UUID.encode(), "JSON"),
    ("a list", b"[]", "object"),
    ("null", b"null", "object"),
    ("a text", b'"a cat"', "object"),
    ("no UTF-8", b'{"key": "%s", "prompt": "\xff\xfe"}' % UUID.encode(), "JSON"),
    ("half a surrogate pair", b'{"key": "%s", "prompt": "\\ud800"}' % UUID.encode(), "JSON"),
    ("very deep", b"[" * 20_000 + b"]" * 20_000, "JSON"),
    ("no key", b'{"prompt": "a cat"}', "key"),
    ("no prompt", b'{"key": "%s"}' % UUID.encode(), "prompt"),
    ("prompt null", b'{"key": "%s", "prompt": null}' % UUID.encode(), "prompt"),
    ("prompt 7", b'{"key": "%s", "prompt": 7}' % UUID.encode(), "prompt"),
    ("prompt a list", b'{"key": "%s", "prompt": ["a cat"]}' % UUID.encode(), "prompt"),
    ("count true", b'{"key": "%s", "prompt": "a cat", "count": true}' % UUID.encode(), "count"),
    ("count a list", b'{"key": "%s", "prompt": "a cat", "count": [2]}' % UUID.encode(), "count"),
    ("size a number", b'{"key": "%s", "prompt": "a cat", "size": 512}' % UUID.encode(), "size"),
    ("unknown field", b'{"key": "%s", "prompt": "a cat", "owner": "x"}' % UUID.encode(), "owner"),
    ("key too short", b'{"key": "1234567", "prompt": "a cat"}', "key"),
    ("key too long", b'{"key": "%s", "prompt": "a cat"}' % (b"a" * 65), "key"),
    ("key with a line", b'{"key": "12345678\\n", "prompt": "a cat"}', "key"),
    ("key of others", b'{"key": "telegram:update:2", "prompt": "a cat"}', "key"),
    ("key no text", b'{"key": 12345678, "prompt": "a cat"}', "key"),
]


@pytest.mark.parametrize(("what", "body", "named"), BODIES, ids=[what for what, _, _ in BODIES])
async def test_a_body_of_another_form_is_refused(app: WebHarness, what: str, body: bytes, named: str) -> None:
    headers = {"Content-Type": "application/json"}
    async with app.client.post("/api/draw", data=body, headers=headers) as response:
        assert response.status == 400
        key, text = error_of(await response.json())
    assert key == "refusal.web.body"
    assert named in text
    assert await app.count("jobs") == 0


async def test_what_was_typed_is_not_repeated_at_length(app: WebHarness) -> None:
    status, answer = await app.post("/api/draw", {"key": UUID, "prompt": "a cat", "x\n" * 10_000: "y"})
    assert status == 400
    assert len(error_of(answer)[1]) < 300


@pytest.mark.parametrize("content", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_only_json_is_read(app: WebHarness, content: str) -> None:
    # What a form or a script of another site can send without asking first.
    job = (await app.drawn())["job_id"]
    for path, body in (("draw", {"prompt": "a cat"}), ("press", {"id": f"easel:reroll:{job}"})):
        data = json.dumps({"key": app.key(), **body}).encode()
        async with app.client.post(f"/api/{path}", data=data, headers={"Content-Type": content}) as response:
            # An empty multipart body is refused for its form.
            assert response.status == (400 if content == "multipart/form-data" and path == "draw" else 415)
            key, text = error_of(await response.json())
        assert key == "refusal.web.body"
        assert "application/json" in text or "multipart" in text
    assert await app.count("jobs") == 1


async def test_json_in_utf_8_by_name_is_read(app: WebHarness) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    body = json.dumps({"key": UUID, "prompt": "一只猫"}, ensure_ascii=False)
    async with app.client.post("/api/draw", data=body.encode(), headers=headers) as response:
        assert response.status == 201


@pytest.mark.parametrize("size", [65 * 1024, 3 * 1024 * 1024])
async def test_a_body_that_is_too_large_is_refused(app: WebHarness, size: int) -> None:
    body = io.BytesIO(json.dumps({"key": UUID, "id": "a" * size}).encode())
    headers = {"Content-Type": "application/json"}
    async with app.client.post("/api/press", data=body, headers=headers) as response:
        assert response.status == 413
        key, text = error_of(await response.json())
    assert key == "refusal.web.too_large"
    assert "64 KiB" in text
    assert (await app.get("/api/history"))[1]["cards"] == []


async def test_a_body_that_says_no_length_is_cut_off_too(app: WebHarness) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b" " * 1024

    headers = {"Content-Type": "application/json"}
    async with app.client.post("/api/press", data=endless(), headers=headers) as response:
        assert response.status == 413


@pytest.mark.parametrize(
    ("field", "value", "made"),
    [
        ("count", 2, {"count": 2}),
        ("count", 2.0, {"count": 2}),
        ("seed", 2**63 - 1, {"seed": 2**63 - 1}),
        ("seed", 0, {"seed": 0}),
        ("steps", 3, {"steps": 3}),
        ("guidance", 2.5, {"guidance": 2.5}),
        ("guidance", 3, {"guidance": 3.0}),
    ],
)
async def test_a_number_may_be_a_number(app: WebHarness, field: str, value: float, made: Json) -> None:
    status, answer = await app.post("/api/draw", {"key": UUID, "prompt": "a cat", field: value})
    assert status == 201, answer
    await app.final(answer["card"]["job_id"])
    async with app.db.read() as tx:
        job = await jobs.get(tx, answer["card"]["job_id"])
    assert job is not None
    assert {name: getattr(job.request, name) for name in made} == made


@pytest.mark.parametrize(
    ("field", "value", "key"),
    [
        ("count", 99, "refusal.count.range"),
        ("count", 1.5, "refusal.count.not_number"),
        ("seed", 2**63, "refusal.seed.range"),
        ("seed", 10**4000, "refusal.seed.range"),
        ("steps", 0, "refusal.steps.range"),
        ("guidance", 50, "refusal.guidance.range"),
        ("clip_skip", 2, "refusal.clip_skip.model"),
    ],
)
async def test_a_number_out_of_range_is_refused_like_a_text(
    app: WebHarness, field: str, value: float, key: str
) -> None:
    status, answer = await app.post("/api/draw", {"key": UUID, "prompt": "a cat", field: value})
    assert (status, error_of(answer)[0]) == (400, key)


@pytest.mark.parametrize(
    "other", [{"prompt": "something else"}, {"seed": "8"}, {"count": 2}, {"negative": ""}, {"prompt": "a red apple "}]
)
async def test_the_same_key_for_another_request_is_a_conflict(app: WebHarness, other: Json) -> None:
    body = {"key": UUID, "prompt": "a red apple"}
    status, answer = await app.post("/api/draw", body)
    assert status == 201
    await app.final(answer["card"]["job_id"])
    status, answer = await app.post("/api/draw", {**body, **other})
    assert (status, error_of(answer)[0]) == (409, "refusal.event.other")
    assert await app.count("jobs") == 1


async def test_a_number_and_its_text_are_the_same_request(app: WebHarness) -> None:
    body = {"key": UUID, "prompt": "a red apple"}
    assert (await app.post("/api/draw", {**body, "count": 2}))[0] == 201
    assert (await app.post("/api/draw", {**body, "count": "2"}))[0] == 201
    assert await app.count("jobs") == 1


async def test_another_picture_under_the_same_key_is_a_conflict(app: WebHarness) -> None:
    form = {"key": UUID, "prompt": "a cat"}
    assert (await app.upload(form, {"image": picture()}))[0] == 201
    assert (await app.upload(form, {"image": picture()}))[0] == 201
    status, answer = await app.upload(form, {"image": picture(64, 96)})
    assert (status, error_of(answer)[0]) == (409, "refusal.event.other")


async def test_another_button_under_the_same_key_is_a_conflict(app: WebHarness) -> None:
    job = (await app.drawn(count="2"))["job_id"]
    press = {"key": UUID, "id": f"easel:seed:{job}:0"}
    assert (await app.post("/api/press", press))[0] == (await app.post("/api/press", press))[0] == 200
    status, answer = await app.post("/api/press", {**press, "id": f"easel:seed:{job}:1"})
    assert (status, error_of(answer)[0]) == (409, "refusal.event.other")


@pytest.mark.parametrize(("wait", "said"), [({"wait": 90.2}, "91"), ({"wait": 0.0}, "1"), ({}, "60")])
async def test_too_much_says_when_to_come_back(
    app: WebHarness, monkeypatch: pytest.MonkeyPatch, wait: dict[str, float], said: str
) -> None:
    async def refuse(*_: object) -> object:
        raise OverQuota("refusal.export.soon" if wait else "refusal.quota.closed", **wait)

    monkeypatch.setattr(app.studio, "draw", refuse)
    async with app.client.post("/api/draw", json={"key": UUID, "prompt": "a cat"}) as response:
        assert response.status == 429
        assert response.headers["Retry-After"] == said


async def test_nothing_that_the_page_refuses_names_a_command_of_chats(app: WebHarness) -> None:
    job = (await app.drawn())["job_id"]
    async with app.db.write() as tx:
        await tx.execute_fetchall("UPDATE jobs SET forgotten = 1 WHERE id = ?", (job,))
    for language in LANGUAGES:
        for path, body in (
            ("press", {"key": app.key(), "id": "easel:reroll:999"}),
            ("press", {"key": app.key(), "id": f"easel:reroll:{job}"}),
            ("press", {"key": app.key(), "id": "easel:nonsense"}),
            ("draw", {"key": app.key(), "prompt": ""}),
        ):
            status, answer = await app.post(f"/api/{path}?lang={language}", body)
            assert status >= 400
            assert "/draw" not in error_of(answer)[1]
        status, answer = await app.get(f"/api/jobs/999?lang={language}")
        assert "/draw" not in error_of(answer)[1]


async def test_a_full_disk_is_said_and_nothing_is_kept(app: WebHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(app.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=data_files.MIN_FREE_BYTES - 1))
    status, answer = await app.post("/api/draw", {"key": UUID, "prompt": "a cat"}, params={"lang": "zh"})
    assert status == 503
    assert error_of(answer) == ("unavailable.disk_full", app.studio.text("unavailable.disk_full", "zh_CN"))
    assert await app.count("jobs") == await app.count("ledger") == 0


async def test_a_locked_database_is_said_and_nothing_is_kept(app: WebHarness) -> None:
    await app.db._writer.execute_fetchall("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(app.folder / "easel.db", isolation_level=None)
    try:
        async with app.db._writing:  # nobody else is in the middle of a transaction then
            other.execute("BEGIN IMMEDIATE")
        status, answer = await app.post("/api/draw", {"key": UUID, "prompt": "a cat"})
    finally:
        other.close()
    assert status == 503
    assert error_of(answer)[0] == "unavailable.database.locked"
    assert await app.count("jobs") == await app.count("ledger") == 0
    # The same request, once the database is free again.
    assert (await app.post("/api/draw", {"key": UUID, "prompt": "a cat"}))[0] == 201


async def test_a_request_waits_for_an_engine_that_is_lost(app: WebHarness) -> None:
    await app.engine.lose()
    card = await app.ask()
    status, info = await app.get("/api/info")
    assert status == 200
    assert info["engine"]["phase"] == Phase.LOST
    assert info["engine"]["text"]
    await app.engine.recover()
    assert len((await app.final(card["job_id"]))["pictures"]) == 1
    assert (await app.get("/api/info"))[1]["engine"]["text"] == ""


async def test_a_browser_that_leaves_while_it_asks_has_asked(held: WebHarness) -> None:
    asking = asyncio.ensure_future(held.ask())
    await held.until(lambda: held.gate.reached)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert await held.count("jobs") == await held.count("ledger") == 1


async def test_every_kind_of_refusal_has_its_status(app: WebHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = {}

    async def refuse(*_: object) -> object:
        raise kind("refusal.prompt.empty")

    monkeypatch.setattr(app.studio, "draw", refuse)
    for kind in Refusal.__subclasses__():
        statuses[kind.__name__], _ = await app.post("/api/draw", {"key": UUID, "prompt": "a cat"})
    assert statuses == {"BadInput": 400, "OverQuota": 429, "NotAllowed": 403, "NotFound": 404, "Unavailable": 503}
