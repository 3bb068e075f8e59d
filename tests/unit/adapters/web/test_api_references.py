"""Edits by the API: several files of one field, in their order, within the limits of all uploads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from adapters.web import request_checks
from tests.fakes.editing import EDITOR, PLAIN
from tests.fakes.engine import FakeEngine
from tests.fakes.source_images import BLUE, RED, bomb, opened, picture
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness, error_of, settings_of

GIVEN = (picture(96, 64, RED), picture(64, 64, BLUE))


@pytest.fixture
async def editing(tmp_path: Path) -> AsyncIterator[WebHarness]:
    """The page of an Easel with a default model that takes no references, and one that edits."""
    gate = StepGate()
    gate.open()
    engine = FakeEngine((PLAIN, EDITOR), gate, edit_model="editor")
    async with WebHarness(tmp_path, engine, gate, settings_of()).opened() as one:
        yield one


async def test_references_are_edited_in_their_order(editing: WebHarness) -> None:
    card = await editing.started({}, GIVEN)
    (shown,) = card["pictures"]
    assert (shown["width"], shown["height"]) == (240, 160)
    async with editing.client.get(shown["url"]) as response:
        drawn = opened(await response.read())
    assert [drawn.getpixel((x, 150)) for x in (10, 230)] == [RED, BLUE]
    assert {"label": "Edited from", "value": "2 pictures"} in card["facts"]


async def test_other_references_under_the_same_key_are_another_request(editing: WebHarness) -> None:
    form = {"key": editing.key(), "prompt": "make it night"}
    status, first = await editing.upload(form, {}, GIVEN)
    assert status == 201
    status, again = await editing.upload(form, {}, GIVEN)
    assert (status, again["card"]["job_id"]) == (201, first["card"]["job_id"])
    for other in (GIVEN[::-1], GIVEN[:1]):
        status, answer = await editing.upload(form, {}, other)
        assert (status, error_of(answer)[0]) == (409, "refusal.event.other")
    assert await editing.count("jobs") == 1


@pytest.mark.parametrize(
    ("references", "form", "key"),
    [
        ([GIVEN[0], b"no picture"], {}, "unreadable"),
        ([b""], {}, "unreadable"),
        ([bomb()], {}, "too_large"),
        (GIVEN * 2, {}, "too_many"),
        ([GIVEN[0]] * 5, {}, "limit"),
        (GIVEN, {"model": "demo"}, "model"),
    ],
)
async def test_what_is_wrong_with_them_is_one_sentence(
    editing: WebHarness, references: Sequence[bytes], form: dict[str, str], key: str
) -> None:
    status, answer = await editing.upload({"key": editing.key(), "prompt": "make it night", **form}, {}, references)
    assert (status, error_of(answer)[0]) == (400, f"refusal.references.{key}")
    assert await editing.count("jobs") == 0
    assert not list((editing.folder / "inputs").glob("*"))


async def test_a_start_picture_beside_them_is_refused(editing: WebHarness) -> None:
    form = {"key": editing.key(), "prompt": "make it night"}
    status, answer = await editing.upload(form, {"image": GIVEN[0]}, GIVEN)
    assert (status, error_of(answer)[0]) == (400, "refusal.references.image")


async def test_in_json_they_are_told_how_they_come(editing: WebHarness) -> None:
    body = {"key": editing.key(), "prompt": "make it night", "references": ["iVBORw0KGgo="]}
    status, answer = await editing.post("/api/draw", body)
    key, sentence = error_of(answer)
    assert (status, key, "references" in sentence) == (415, "refusal.web.picture_in_json", True)


async def test_where_no_model_edits_it_is_said(app: WebHarness) -> None:
    status, answer = await app.upload({"key": app.key(), "prompt": "make it night"}, {}, GIVEN)
    assert (status, error_of(answer)[0]) == (400, "refusal.references.no_model")


async def test_the_page_is_told_which_model_edits(editing: WebHarness) -> None:
    _, info = await editing.get("/api/info")
    assert info["edit_model"] == "editor"
    assert [(model["references"], "edit" in model["can"]) for model in info["models"]] == [(0, False), (3, True)]
    assert info["max_picture"] < info["max_upload"] < request_checks.MAX_MULTIPART
