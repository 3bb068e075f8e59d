"""A1111's txt2img, img2img, progress and interrupt over HTTP, also as its clients call them."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Sequence
from typing import Any

import pytest
import webuiapi
from PIL import Image

from adapters.web.a1111 import drawing
from adapters.web.a1111.bodies import A1111DrawBody
from adapters.web.a1111.drawing import NOTES_HEADER, header_of
from adapters.web.a1111.translation import Translated, translate
from bot.cards.i18n import text
from bot.core.errors import Unavailable
from engine.contract import OutOfMemory, Profile
from tests.fakes.source_images import png_of
from tests.unit.adapters.web.harness import Json, WebHarness

SILLY_TAVERN: Json = {
    "url": "http://127.0.0.1:7860",
    "auth": "any:key",
    "prompt": "a red apple",
    "negative_prompt": "",
    "sampler_name": "Euler",
    "scheduler": "Automatic",
    "steps": 4,
    "cfg_scale": 2,
    "width": 128,
    "height": 192,
    "restore_faces": False,
    "enable_hr": False,
    "hr_upscaler": "Latent",
    "hr_scale": 2,
    "hr_additional_modules": [],
    "denoising_strength": 0.7,
    "hr_second_pass_steps": 0,
    "override_settings": {"CLIP_stop_at_last_layers": 1},
    "override_settings_restore_afterwards": True,
    "clip_skip": 1,
    "save_images": True,
    "send_images": True,
    "do_not_save_grid": False,
    "do_not_save_samples": False,
}
"""What SillyTavern's server sends, with what its page sent to that server."""

OPEN_WEBUI: Json = {"prompt": "a red apple", "batch_size": 2, "width": 192, "height": 192, "steps": 4}
"""What Open WebUI sends in its AUTOMATIC1111 mode."""


def picture(size: tuple[int, int] = (128, 128), colour: str = "white") -> Image.Image:
    return Image.new("RGB", size, colour)


def encoded(image: Image.Image) -> str:
    return base64.b64encode(png_of(image)).decode()


def decoded(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


async def call(app: WebHarness, name: str, body: Json) -> Json:
    status, answer = await app.post(f"/sdapi/v1/{name}", body)
    assert status == 200, answer
    answer["info"] = json.loads(answer["info"])
    return answer


def client(app: WebHarness) -> webuiapi.WebUIApi:
    return webuiapi.WebUIApi(host="127.0.0.1", port=app.client.port, sampler="Euler", steps=4)


async def test_sillytaverns_request(app: WebHarness) -> None:
    answer = await call(app, "txt2img", SILLY_TAVERN)
    (one,) = answer["images"]
    assert decoded(one).size == (128, 192)
    info = answer["info"]
    # The person's first picture of the demo model says what that knows.
    assert info["notes"] == [text("en", "note.demo")]
    assert (info["steps"], info["cfg_scale"], info["sampler_name"]) == (4, 2.0, "Euler")
    assert info["all_seeds"] == [info["seed"]] == [app.engine.painted[0].seed]
    assert info["infotexts"][0].startswith("a red apple\nSteps: 4, Sampler: Euler, CFG scale: 2, Seed: ")
    assert answer["parameters"]["prompt"] == "a red apple"
    assert "auth" not in answer["parameters"]


async def test_open_webuis_request(app: WebHarness) -> None:
    answer = await call(app, "txt2img", OPEN_WEBUI)
    first, second = answer["info"]["all_seeds"]
    assert second == first + 1
    assert [decoded(one).size for one in answer["images"]] == [(192, 192)] * 2
    # Without numbers, the model's own count.
    assert answer["info"]["cfg_scale"] == app.engine.profiles()[0].guidance.default


async def test_a_picture_has_its_metadata_and_its_place_in_the_history(app: WebHarness) -> None:
    answer = await call(app, "txt2img", {"prompt": "a red apple", "seed": 7, "steps": 2})
    with decoded(answer["images"][0]) as found:
        assert found.info["parameters"] == answer["info"]["infotexts"][0]
    _, history = await app.get("/api/history")
    assert [card["job_id"] for card in history["cards"]] == [answer["info"]["job_id"]]


async def test_what_the_model_can_not_do_is_fitted_and_said(app: WebHarness) -> None:
    body = {
        "prompt": "a red apple",
        "width": 130,
        "height": 1000,
        "cfg_scale": 7,
        "steps": 300,
        "sampler_name": "Euler a",
        "scheduler": "Karras",
        "enable_hr": True,
        "restore_faces": True,
        "subseed_strength": 0.5,
        "tiling": True,
        "styles": ["ink", "photo"],
        "alwayson_scripts": {"ADetailer": {"args": [True, {"ad_model": "face"}]}, "Off": {"args": [False]}},
        "override_settings": {"sd_vae": "some.vae", "CLIP_stop_at_last_layers": 2},
    }
    async with app.client.post("/sdapi/v1/txt2img", json=body) as response:
        answer = await response.json()
        header = response.headers[NOTES_HEADER]
    (recipe,) = app.engine.painted
    assert (recipe.width, recipe.height, recipe.guidance, recipe.steps, recipe.sampler) == (128, 512, 5.0, 50, "")
    notes = json.loads(answer["info"])["notes"]
    said = " ".join(notes)
    for word in (
        "130x1000 became 128x512",
        "cfg_scale 7 became 5",
        "steps 300 became 50",
        "Euler a became Euler",
        "scheduler Karras",
        "enable_hr",
        "restore_faces",
        "subseed_strength",
        "tiling",
        "not photo",
        "ADetailer",
        "sd_vae",
        "Clip skip 2",
    ):
        assert word in said, word
    assert "Off" not in said
    assert header == header_of(notes)
    assert header.isascii()


async def test_a_model_for_one_request_and_for_all_that_follow(app: WebHarness) -> None:
    settings = {"sd_model_checkpoint": "sdxl.safetensors [31e35c80fc]"}
    body = {"prompt": "a red apple", "steps": 2, "override_settings": settings}
    answer = await call(app, "txt2img", body)
    assert answer["info"]["sd_model_name"] == app.engine.profiles()[1].title
    await call(app, "txt2img", {"prompt": "a red apple", "steps": 2})
    await call(app, "txt2img", body | {"override_settings_restore_afterwards": False})
    await call(app, "txt2img", {"prompt": "a red apple", "steps": 2})
    assert [recipe.model for recipe in app.engine.painted] == ["sdxl", "demo", "sdxl", "sdxl"]


async def test_a_sampler_and_a_scheduler_are_one_name(app: WebHarness) -> None:
    settings = {"sd_model_checkpoint": "sdxl", "CLIP_stop_at_last_layers": 3}
    body = {"prompt": "a cat", "steps": 2, "sampler_name": "DPM++ 2M", "scheduler": "karras"}
    answer = await call(app, "txt2img", body | {"override_settings": settings})
    assert (answer["info"]["notes"], answer["info"]["clip_skip"]) == ([], 3)
    assert (app.engine.painted[0].sampler, app.engine.painted[0].clip_skip) == ("DPM++ 2M Karras", 3)


async def test_a_control_picture(app: WebHarness) -> None:
    unit = {"image": encoded(picture()), "model": "controlnet-canny-sdxl [abc]", "weight": 0.5, "enabled": True}
    body = {
        "prompt": "a cat",
        "steps": 2,
        "override_settings": {"sd_model_checkpoint": "sdxl"},
        "alwayson_scripts": {"ControlNet": {"args": [unit, {"enabled": False}]}},
    }
    answer = await call(app, "txt2img", body)
    (recipe,) = app.engine.painted
    assert (recipe.control, recipe.control_weight, bool(recipe.image)) == ("canny", 0.5, True)
    assert answer["info"]["notes"] == []
    body["alwayson_scripts"] = {"ControlNet": {"args": [unit | {"model": "tile"}]}}
    answer = await call(app, "txt2img", body)
    assert "ControlNet was not applied" in " ".join(answer["info"]["notes"])
    assert not app.engine.painted[1].control


async def test_drawing_from_a_picture_with_a_mask_of_another_size(app: WebHarness) -> None:
    mask = picture((64, 64), "black")
    mask.paste("white", (0, 0, 32, 64))
    body = {
        "prompt": "a red apple",
        "steps": 2,
        "init_images": ["data:image/png;base64," + encoded(picture())],
        "mask": encoded(mask),
        "inpainting_mask_invert": 1,
        "denoising_strength": 1,
        "mask_blur": 8,
        "resize_mode": 3,
        "inpainting_fill": 2,
        "inpaint_full_res": False,
        "inpaint_full_res_padding": 12,
    }
    answer = await call(app, "img2img", body)
    drawn = decoded(answer["images"][0]).convert("RGB")
    width, height = drawn.size
    # Inverted, the left half stays.
    assert drawn.getpixel((2, height // 2)) == (255, 255, 255)
    assert drawn.getpixel((width - 2, height // 2)) != (255, 255, 255)
    notes = " ".join(answer["info"]["notes"])
    for word in ("mask_blur", "resize_mode", "inpainting_fill", "inpaint_full_res", "inpaint_full_res_padding"):
        assert word in notes
    assert answer["parameters"]["init_images"] is None
    assert answer["parameters"]["mask"] is None
    assert answer["info"]["denoising_strength"] == 1


async def test_a_model_that_edits_takes_the_pictures_as_references(app: WebHarness) -> None:
    body = {
        "prompt": "make it blue",
        "steps": 2,
        "init_images": [encoded(picture())] * 3,
        "mask": encoded(picture()),
        "include_init_images": True,
        "override_settings": {"sd_model_checkpoint": "Editor"},
    }
    answer = await call(app, "img2img", body)
    assert len(app.engine.painted[0].references) == 2
    assert len(answer["parameters"]["init_images"]) == 3
    notes = " ".join(answer["info"]["notes"])
    assert "The mask was not applied" in notes
    assert "takes 2 pictures" in notes


@pytest.mark.parametrize(
    ("name", "body", "loc", "message"),
    [
        ("txt2img", {"prompt": "x", "steps": "many"}, ["body", "steps"], "valid integer"),
        ("txt2img", {"prompt": "x", "steps": 0}, ["body", "steps"], "greater than or equal to 1"),
        ("txt2img", {"prompt": "x", "cfg_scale": None, "width": 1.5}, ["body", "width"], "integer"),
        ("txt2img", {"prompt": ""}, ["body", "prompt"], ""),
        ("txt2img", {"prompt": "x", "batch_size": 9, "n_iter": 9}, ["body", "batch_size"], "16"),
        ("txt2img", {"prompt": "x", "styles": ["nowhere"]}, ["body", "styles"], "nowhere"),
        ("txt2img", {"prompt": "x <lora:inkk:1>"}, ["body", "prompt"], "ink"),
        (
            "txt2img",
            {"prompt": "x", "script_name": "X/Y/Z plot"},
            ["body", "script_name"],
            "Script 'X/Y/Z plot' not found",
        ),
        (
            "txt2img",
            {"prompt": "x", "override_settings": {"sd_model_checkpoint": "nowhere"}},
            ["body", "override_settings", "sd_model_checkpoint"],
            "demo, sdxl",
        ),
        ("img2img", {"prompt": "x"}, ["body", "init_images"], "Init image not found"),
        ("img2img", {"prompt": "x", "init_images": ["%%%"]}, ["body", "init_images", 0], "Invalid encoded image"),
        ("img2img", {"prompt": "x", "init_images": ["http://127.0.0.1/a"]}, ["body", "init_images", 0], "not allowed"),
        ("img2img", {"prompt": "x", "init_images": ["YWFh"]}, ["body", "init_images"], ""),
    ],
)
async def test_errors_have_fastapis_form(app: WebHarness, name: str, body: Json, loc: list[Any], message: str) -> None:
    status, answer = await app.post(f"/sdapi/v1/{name}", body)
    assert status == 422
    assert answer["detail"][0]["loc"] == loc
    assert message in answer["detail"][0]["msg"]
    assert await app.count("jobs") == 0


async def test_errors_of_the_address_and_of_the_body(app: WebHarness) -> None:
    status, answer = await app.get("/sdapi/v1/nowhere")
    assert (status, isinstance(answer["detail"], str)) == (404, True)
    async with app.client.post("/sdapi/v1/txt2img", data="{", headers={"Content-Type": "application/json"}) as response:
        assert response.status == 422
        assert (await response.json())["detail"][0]["loc"] == ["body"]
    async with app.client.post("/sdapi/v1/txt2img", data="x") as response:
        assert response.status == 415


async def test_progress_with_a_preview_and_interrupt(held: WebHarness) -> None:
    _, idle = await held.get("/sdapi/v1/progress")
    assert (idle["progress"], idle["state"]["job_count"], idle["current_image"]) == (0, 0, None)
    drawing = asyncio.create_task(call(held, "txt2img", {"prompt": "a red apple", "steps": 4}))
    await held.until(lambda: held.gate.reached)
    _, answer = await held.get("/sdapi/v1/progress", params={"skip_current_image": "true"})
    assert answer["state"]["job_count"] == 1
    assert answer.get("current_image") is None
    _, answer = await held.get("/sdapi/v1/progress")
    await held.until(lambda: held.engine.previewed)
    held.gate.let(2)
    # The card tells of a step a moment after its preview is there.
    async with asyncio.timeout(10):
        while answer["current_image"] is None or not answer["progress"]:
            await asyncio.sleep(0.001)
            _, answer = await held.get("/sdapi/v1/progress")
    assert 0 < answer["progress"] < 1
    assert answer["state"]["sampling_steps"] == 4
    assert answer["state"]["sampling_step"] == round(answer["progress"] * 4)
    assert answer["eta_relative"] > 0
    assert decoded(answer["current_image"]).size
    status, ended = await held.post("/sdapi/v1/interrupt", None)
    assert (status, ended) == (200, {})
    result = await drawing
    assert result["images"] == []
    assert result["info"]["notes"]
    _, after = await held.get("/sdapi/v1/progress")
    assert after["state"]["job_count"] == 0
    await held.until(lambda: not held.engine.previewed)


async def test_interrupt_leaves_the_pages_own_jobs(held: WebHarness) -> None:
    card = await held.ask()
    for name in ("interrupt", "skip"):
        assert await held.post(f"/sdapi/v1/{name}", None) == (200, {})
    held.gate.open()
    assert (await held.final(card["job_id"]))["pictures"]


async def test_an_interrupt_that_fails_is_logged(
    held: WebHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(*_: object) -> None:
        raise Unavailable("unavailable.storage")

    drawing = asyncio.create_task(call(held, "txt2img", {"prompt": "a red apple"}))
    await held.until(lambda: held.gate.reached)
    caplog.set_level("INFO")
    monkeypatch.setattr(held.studio, "press", refuse)
    assert await held.post("/sdapi/v1/interrupt", None) == (200, {})
    assert "was not interrupted (unavailable.storage)" in caplog.text
    held.gate.open()
    assert (await drawing)["images"]


async def test_a_job_that_fails_is_an_error_with_its_reason(app: WebHarness) -> None:
    app.engine._fail = lambda _: OutOfMemory("no room")
    status, answer = await app.post("/sdapi/v1/txt2img", {"prompt": "a red apple"})
    assert status == 500
    assert answer["detail"] == answer["errors"]
    assert "memory" in answer["detail"]


async def test_a_stop_answers_and_the_job_goes_on(held: WebHarness) -> None:
    drawing = asyncio.create_task(held.post("/sdapi/v1/txt2img", {"prompt": "a red apple"}))
    await held.until(lambda: held.gate.reached)
    await held.server.app.shutdown()
    status, answer = await drawing
    assert status == 503
    assert "Request 1 goes on" in answer["detail"]
    held.gate.open()
    last = [card async for card in held.studio.watch(held.actor, 1)][-1]
    assert last.pictures


async def test_webuiapi_unmodified(app: WebHarness) -> None:
    def walk() -> None:
        api = client(app)
        drawn = api.txt2img(prompt="a red apple", seed=7, cfg_scale=2, width=128, height=128, batch_size=2)
        assert [one.size for one in drawn.images] == [(128, 128)] * 2
        assert drawn.info["all_seeds"] == [7, 8]
        assert drawn.info["notes"] == [text("en", "note.demo")]
        again = api.img2img(
            images=[drawn.image],
            mask_image=Image.new("L", (128, 128), 255),
            prompt="a green apple",
            denoising_strength=0.5,
            width=128,
            height=128,
            cfg_scale=2,
            inpainting_fill=1,
        )
        assert again.image.size == (128, 128)
        assert again.info["notes"] == []
        assert api.get_progress()["state"]["job_count"] == 0
        api.util_wait_for_ready()
        assert api.interrupt() == {}
        assert api.skip() == {}
        assert "demo" in api.util_get_current_model().lower()
        title = app.engine.profiles()[1].title
        api.util_set_model(title, find_closest=False)
        assert api.util_get_current_model() == title
        assert api.txt2img(prompt="a red apple", width=128, height=128).info["sd_model_name"] == title
        with pytest.raises(RuntimeError) as refused:
            api.txt2img(prompt="a red apple", seed=-5)
        assert refused.value.args[0] == 422

    await asyncio.to_thread(walk)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 10**400),
        ("width", 10**400),
        ("batch_size", 10**4000),
        ("override_settings", {"CLIP_stop_at_last_layers": 10**400}),
        ("alwayson_scripts", {"controlnet": {"args": [1, None]}}),
    ],
)
async def test_no_value_is_a_fault_of_the_service(app: WebHarness, field: str, value: object) -> None:
    body = {"prompt": "a red apple", "steps": 1, field: value}
    async with app.client.post("/sdapi/v1/txt2img", json=body) as response:
        assert response.status == (200 if isinstance(value, dict) else 422), await response.text()


async def test_masks_are_fitted_one_after_the_other(app: WebHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    now, most = 0, 0

    async def counted(body: A1111DrawBody, models: Sequence[Profile]) -> Translated:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        translated = await translate(body, models)
        now -= 1
        return translated

    monkeypatch.setattr(drawing, "translate", counted)
    body = {"prompt": "a red apple", "steps": 1}
    answers = await asyncio.gather(*(app.post("/sdapi/v1/txt2img", body) for _ in range(3)))
    assert [status for status, _ in answers] == [200] * 3
    assert most == 1
