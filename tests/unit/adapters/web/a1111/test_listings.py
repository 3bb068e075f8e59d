"""A1111's listings, as clients read them."""

from __future__ import annotations

import asyncio
import io

import webuiapi
from PIL import Image

from adapters.web.a1111.listings import NONE_OF, REFRESHED
from tests.unit.adapters.web.harness import WebHarness


async def test_webuiapi_reads_all_of_them(app: WebHarness) -> None:
    def walk() -> None:
        api = webuiapi.WebUIApi(port=app.client.port)
        models = api.get_sd_models()
        assert [one["model_name"] for one in models] == ["demo", "sdxl", "fixed", "editor"]
        assert models[0]["title"] == "Easel demo"
        assert not any("/" in one["filename"] for one in models)
        names = api.util_get_sampler_names()
        assert {"Euler", "DPM++ 2M Karras"} <= set(names)
        assert len(names) == len(set(names))
        assert api.util_get_scheduler_names() == ["automatic", "karras"]
        (lora,) = api.get_loras()
        assert (lora["name"], lora["metadata"]["trigger_words"]) == ("ink", ["ink wash"])
        styles = {one["name"]: one for one in api.get_prompt_styles()}
        assert "{prompt}" in styles["ink"]["prompt"]
        assert styles["ink"]["negative_prompt"]
        assert api.get_cmd_flags()["api"] is True
        memory = api.get_memory()["ram"]
        assert memory["free"] + memory["used"] == memory["total"]
        assert [one["name"] for one in api.get_upscalers()] == ["None"]
        assert api.get_latent_upscale_modes() == []
        assert api.get_embeddings() == {"loaded": {}, "skipped": {}}
        assert api.refresh_checkpoints() is None

    await asyncio.to_thread(walk)


async def test_every_other_listing_is_there(app: WebHarness) -> None:
    for name, value in NONE_OF.items():
        assert await app.get(f"/sdapi/v1/{name}") == (200, value)
    for name in REFRESHED:
        status, answer = await app.post(f"/sdapi/v1/{name}", None)
        assert (status, bool(answer)) == (200, False)


async def test_a_pictures_file_tells_how_it_was_drawn(app: WebHarness) -> None:
    card = await app.drawn("a red apple", seed="7", steps="2")

    def walk(data: bytes) -> None:
        api = webuiapi.WebUIApi(port=app.client.port)
        with Image.open(io.BytesIO(data)) as picture:
            found = api.png_info(picture)
        assert found.info.startswith("a red apple\nSteps: 2, ")
        assert found.parameters["Prompt"] == "a red apple"
        assert (found.parameters["Seed"], found.parameters["Size-1"]) == ("7", 192)
        assert api.png_info(Image.new("RGB", (8, 8))).parameters == {}

    async with app.client.get(card["pictures"][0]["url"]) as response:
        await asyncio.to_thread(walk, await response.read())


async def test_a_file_that_is_no_picture(app: WebHarness) -> None:
    for image, message in (("YWFh", "PNG"), ("%", "Invalid")):
        status, answer = await app.post("/sdapi/v1/png-info", {"image": image})
        assert (status, message in answer["detail"][0]["msg"]) == (422, True)
