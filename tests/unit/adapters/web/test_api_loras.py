"""LoRAs over the page's API: they are described, reach the engine, and stand on the card and in the file."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from engine.contract import LoraInfo, LoraRequest
from engine.families.z_image.spec import demo
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import Json, WebHarness, settings_of

LORAS = (
    LoraInfo("ink", "Ink Wash", ("ink wash",), demo().family, ("admins",), 0.8),
    LoraInfo("oil", "Oil"),
    LoraInfo("theirs", "Theirs", (), "other"),
)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[WebHarness]:
    """A bot with LoRAs."""
    gate = StepGate()
    gate.open()
    async with WebHarness(tmp_path, FakeEngine(pause=gate, loras=LORAS), gate, settings_of()).opened() as one:
        yield one


def facts(card: Json) -> dict[str, str]:
    return {fact["label"]: fact["value"] for fact in card["facts"]}


async def test_the_form_is_told_of_them(app: WebHarness) -> None:
    _, info = await app.get("/api/info")
    assert info["max_loras"] == 3
    assert info["loras"][0] == {
        "name": "ink",
        "title": "Ink Wash",
        "triggers": ["ink wash"],
        "family": info["model"]["family"],
        "weight": 0.8,
    }
    assert [lora["name"] for lora in info["loras"]] == ["ink", "oil", "theirs"]


async def test_they_reach_the_engine_the_card_and_the_file(app: WebHarness) -> None:
    card = await app.drawn("a red apple <lora:oil:0.5>", lora="ink", seed="7")
    assert app.engine.painted[0].loras == (LoraRequest("oil", 0.5), LoraRequest("ink", 0.8))
    assert card["prompt"] == app.engine.painted[0].prompt == "a red apple"
    assert facts(card)["LoRAs"] == "Oil 0.5, Ink Wash 0.8"
    assert card["notes"] == ["The LoRA Ink Wash shows best with one of its trigger words in the prompt: ink wash."]
    async with app.client.get(card["pictures"][0]["url"]) as response:
        with Image.open(io.BytesIO(await response.read())) as picture:
            assert picture.info["parameters"].startswith("a red apple <lora:oil:0.5> <lora:ink:0.8>\n")


async def test_buttons_keep_them_and_the_copied_prompt_asks_for_them(app: WebHarness) -> None:
    card = await app.drawn("a red apple", lora="ink:1.5", seed="7")
    for action in ("reroll", "vary:0", "upscale:0"):
        name, _, index = action.partition(":")
        button = f"easel:{name}:{card['job_id']}" + (f":{index}" if index else "")
        _, answer = await app.press(button)
        await app.final(answer["new"]["job_id"])
        assert app.engine.painted[-1].loras == (LoraRequest("ink", 1.5),)
    _, answer = await app.press(f"easel:prompt:{card['job_id']}")
    assert "--lora ink:1.5" in answer["card"]["prompt"]
    again = await app.drawn(answer["card"]["prompt"])
    assert facts(again)["LoRAs"] == "Ink Wash 1.5"
    assert app.engine.painted[-1].seed == 7


async def test_a_bad_one_is_refused_at_its_field(app: WebHarness) -> None:
    status, answer = await app.post("/api/draw", {"key": app.key(), "prompt": "a cat", "lora": "theirs"})
    assert (status, answer["error"]["key"]) == (400, "refusal.lora.no_model")
    assert await app.count("jobs") == 0


async def test_a_refusal_names_the_forms_field_and_no_command_of_chats(app: WebHarness) -> None:
    status, answer = await app.post("/api/draw", {"key": app.key(), "prompt": "a cat", "lora": "inkk"})
    assert status == 400
    assert answer["error"]["key"] == "refusal.lora.unknown"
    assert answer["error"]["text"].endswith("did you mean ink? The form's field “LoRAs” lists them.")
