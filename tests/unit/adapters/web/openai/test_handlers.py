"""The ``openai`` package draws and edits: models, counts, formats, addresses, keys and disconnected clients."""

from __future__ import annotations

import asyncio
import base64
import io
from pathlib import Path

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import Image, ImagesResponse
from PIL import Image as Pillow

from adapters.web import following
from tests.fakes.engine import FakeEngine
from tests.fakes.source_images import BLUE, GREEN, RED, opened, picture, png_of
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness, settings_of


def file_of(image: Image) -> Pillow.Image:
    assert image.b64_json is not None
    return Pillow.open(io.BytesIO(base64.b64decode(image.b64_json)))


def files_of(response: ImagesResponse) -> list[Pillow.Image]:
    assert response.data is not None
    return [file_of(image) for image in response.data]


def mask(width: int = 96, height: int = 64, *, mode: str = "RGBA") -> bytes:
    """A mask whose right half is fully transparent."""
    whole = Pillow.new(mode, (width, height), "black")
    if mode == "RGBA":
        whole.paste((0, 0, 0, 0), (width // 2, 0, width, height))
    return png_of(whole)


async def test_models_are_listed_and_found_by_name(client: AsyncOpenAI) -> None:
    models = [model async for model in client.models.list()]
    assert [(model.id, model.object, model.owned_by) for model in models] == [
        ("demo", "model", "easel"),
        ("editor", "model", "easel"),
    ]
    assert (await client.models.retrieve("editor")).id == "editor"
    with pytest.raises(openai.NotFoundError) as refused:
        await client.models.retrieve("nothing")
    assert refused.value.code == "model_not_found"


async def test_several_pictures_come_in_base64_with_their_seeds(client: AsyncOpenAI, app: WebHarness) -> None:
    response = await client.images.generate(
        model="demo", prompt="a red apple", n=3, size="64x64", extra_body={"seed": 7, "steps": 3, "negative_prompt": ""}
    )
    assert [file.size for file in files_of(response)] == [(64, 64)] * 3
    assert (response.size, response.output_format, response.background) == ("64x64", "png", "opaque")
    assert response.usage is not None
    assert response.model_extra is not None
    assert response.model_extra["easel"]["seeds"] == ["7", "8", "9"]
    assert [recipe.steps for recipe in app.engine.painted] == [3, 3, 3]
    assert await app.charged() == 3


async def test_the_synchronous_client_draws(blocking: OpenAI) -> None:
    response = await asyncio.to_thread(lambda: blocking.images.generate(prompt="a red apple", model="dall-e-3"))
    (file,) = files_of(response)
    assert file.format == "PNG"
    assert "a red apple" in file.info["parameters"]


@pytest.mark.parametrize(("asked", "drawn"), [("1024x1024", (512, 512)), ("70x100", (64, 96)), ("3:4", (160, 224))])
async def test_a_size_is_moved_to_what_the_model_can_draw(
    client: AsyncOpenAI, asked: str, drawn: tuple[int, int]
) -> None:
    response = await client.images.generate(prompt="a red apple", size=asked)
    (file,) = files_of(response)
    assert file.size == drawn
    assert response.size == "{}x{}".format(*drawn)


@pytest.mark.parametrize(("quality", "steps"), [("low", 4), ("auto", 8), ("high", 12)])
async def test_quality_is_a_number_of_steps(client: AsyncOpenAI, app: WebHarness, quality: str, steps: int) -> None:
    await client.images.generate(prompt="a red apple", quality=quality)  # type: ignore[call-overload]
    assert app.engine.painted[-1].steps == steps


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
async def test_other_formats_keep_how_the_picture_was_drawn(client: AsyncOpenAI, kind: str) -> None:
    response = await client.images.generate(
        prompt="a red apple",
        output_format=kind,
        output_compression=80,
        extra_body={"seed": 7},  # type: ignore[call-overload]
    )
    (file,) = files_of(response)
    assert file.format == kind.upper()
    comment = file.getexif().get_ifd(0x8769)[0x9286]
    assert "Seed: 7" in comment.removeprefix(b"UNICODE\0").decode("utf-16-be")


async def test_other_formats_are_signed(client: AsyncOpenAI, app: WebHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    def sign(data: bytes, mime: str, original: bytes) -> bytes:
        assert Pillow.open(io.BytesIO(original)).format == "PNG"
        return data + mime.encode()

    monkeypatch.setattr(app.studio, "sign_copy", sign)
    for kind, end in (("png", b"IEND\xaeB`\x82"), ("jpeg", b"image/jpeg"), ("webp", b"image/webp")):
        response = await client.images.generate(prompt="a red apple", output_format=kind)  # type: ignore[call-overload]
        assert base64.b64decode(response.data[0].b64_json).endswith(end)


async def test_an_address_needs_no_key_and_can_not_be_changed(client: AsyncOpenAI, app: WebHarness) -> None:
    response = await client.images.generate(prompt="a red apple", response_format="url", output_format="webp")
    assert response.data is not None
    url = response.data[0].url
    assert url is not None
    assert url.startswith(str(app.server.make_url("/v1/images/files/1-0.webp")))
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as fetched:
            assert (fetched.status, fetched.content_type) == (200, "image/webp")
            assert fetched.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
            assert Pillow.open(io.BytesIO(await fetched.read())).format == "WEBP"
        for other in (url.replace("1-0", "2-0"), url.replace("webp", "png"), url[:-1] + "x", url.partition("?")[0]):
            async with session.get(other) as fetched:
                assert fetched.status == 404
                assert (await fetched.json())["error"]["code"] == "not_found"


async def test_an_address_begins_as_the_client_has_called(tmp_path: Path) -> None:
    gate = StepGate()
    gate.open()
    settings = settings_of(public_url="https://easel.example", trusted_proxies="127.0.0.1")
    async with WebHarness(tmp_path, FakeEngine(pause=gate), gate, settings).opened() as app:
        key = await app.key_for()
        for headers, origin in (
            ({"Host": "easel.example"}, "https://easel.example/"),
            ({"Host": "localhost:7860"}, "http://localhost:7860/"),
            ({"Host": "localhost", "X-Forwarded-Proto": "https"}, "https://localhost/"),
        ):
            form = {"prompt": "a red apple", "response_format": "url"}
            status, answer = await app.post("/v1/images/generations", form, headers={**key, **headers})
            assert status == 200
            assert answer["data"][0]["url"].startswith(f"{origin}v1/images/files/")


async def test_two_pictures_are_edited_in_their_order_by_the_model_that_edits(
    client: AsyncOpenAI, app: WebHarness
) -> None:
    response = await client.images.edit(
        image=[("a.png", picture(96, 64, RED)), ("b.png", picture(64, 64, BLUE))], prompt="make it night"
    )
    (file,) = files_of(response)
    assert [file.convert("RGB").getpixel((x, file.height - 5)) for x in (5, file.width - 5)] == [RED, BLUE]
    assert app.engine.painted[-1].model == "editor"


async def test_a_mask_changes_only_what_is_transparent(client: AsyncOpenAI, app: WebHarness) -> None:
    response = await client.images.edit(
        image=picture(96, 64, GREEN), mask=mask(), prompt="a red apple", size="96x64", extra_body={"strength": 1}
    )
    (file,) = files_of(response)
    left, right = (file.convert("RGB").getpixel((x, 32)) for x in (5, 90))
    assert left == GREEN
    assert right != GREEN
    assert app.engine.painted[-1].model == "demo"


@pytest.mark.parametrize("model", [None, "editor"])
async def test_two_pictures_and_a_mask_change_only_what_is_transparent(
    client: AsyncOpenAI, app: WebHarness, model: str | None
) -> None:
    pictures = [picture(96, 64, GREEN), picture(64, 64, BLUE)]
    response = await client.images.edit(image=pictures, mask=mask(), prompt="make it night", model=model, size="96x64")
    (file,) = files_of(response)
    # The fake engine shows the references in a strip along the bottom.
    left, right = (file.convert("RGB").getpixel((x, 60)) for x in (5, 90))
    assert (left, right) == (GREEN, BLUE)
    assert file.convert("RGB").getpixel((5, 5)) == GREEN
    recipe = app.engine.painted[-1]
    assert (recipe.model, len(recipe.references), bool(recipe.mask), recipe.strength) == ("editor", 2, True, 1.0)


async def test_a_mask_for_a_model_that_only_edits_goes_with_the_edit(client: AsyncOpenAI, app: WebHarness) -> None:
    await client.images.edit(image=picture(96, 64, GREEN), mask=mask(), prompt="make it night", model="editor")
    recipe = app.engine.painted[-1]
    assert (recipe.model, len(recipe.references), bool(recipe.mask)) == ("editor", 1, True)


async def test_a_model_that_does_not_edit_starts_from_one_picture(client: AsyncOpenAI, app: WebHarness) -> None:
    await client.images.edit(image=picture(96, 64, GREEN), prompt="a red apple", model="demo")
    recipe = app.engine.painted[-1]
    assert recipe.image
    assert not recipe.references


@pytest.mark.parametrize(
    ("sent", "parameter"),
    [
        ({"mask": mask(mode="RGB")}, "mask"),
        ({"mask": mask(64, 64)}, "mask"),
        ({"image": b"no picture"}, "image"),
        ({"image": [picture(), picture()], "model": "demo"}, "image"),
    ],
)
async def test_what_can_not_be_edited_is_refused(
    client: AsyncOpenAI, app: WebHarness, sent: dict[str, object], parameter: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.images.edit(**{"image": picture(), "prompt": "a red apple", **sent})  # type: ignore[call-overload]
    assert refused.value.param == parameter
    assert await app.count("jobs") == 0


async def test_a_key_is_drawn_once_and_means_one_request(client: AsyncOpenAI, app: WebHarness) -> None:
    key = {"Idempotency-Key": "order 1"}
    first = await client.images.generate(prompt="a red apple", extra_headers=key)
    again = await client.images.generate(prompt="a red apple", extra_headers=key)
    assert first.data == again.data
    assert await app.count("jobs") == 1
    with pytest.raises(openai.ConflictError) as refused:
        await client.images.generate(prompt="a green apple", extra_headers=key)
    assert refused.value.code == "idempotency_key_reused"
    assert refused.value.response.headers["x-should-retry"] == "false"


async def test_the_job_of_a_disconnected_client_is_cancelled_unless_it_has_a_key(
    client: AsyncOpenAI, app: WebHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "POLL_SECONDS", 0.01)
    app.gate.shut()
    asking = asyncio.ensure_future(client.images.generate(prompt="a red apple"))
    keyed = asyncio.ensure_future(
        client.images.generate(prompt="a green apple", extra_headers={"Idempotency-Key": "order 1"})
    )
    await app.until(lambda: app.watched() == 2)
    asking.cancel()
    keyed.cancel()
    await app.until(lambda: app.watched() == 0 and app.answering() == 0)
    app.gate.open()
    again = await client.images.generate(prompt="a green apple", extra_headers={"Idempotency-Key": "order 1"})
    assert len(files_of(again)) == 1
    async with app.db.read() as tx:
        rows = await tx.execute_fetchall("SELECT typed, state FROM jobs ORDER BY typed")
    assert [(row[0], row[1] == "cancelled") for row in rows] == [("a green apple", False), ("a red apple", True)]


async def test_a_stop_tells_waiting_clients_that_their_job_goes_on(client: AsyncOpenAI, app: WebHarness) -> None:
    app.gate.shut()
    asking = asyncio.ensure_future(client.images.generate(prompt="a red apple"))
    await app.until(lambda: app.watched() == 1)
    await app.server.app.shutdown()
    with pytest.raises(openai.InternalServerError) as refused:
        await asking
    assert refused.value.status_code == 503
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert "Request 1 goes on" in refused.value.message


async def test_requests_as_open_webui_sends_them(app: WebHarness) -> None:
    form = {"model": "gpt-image-1", "prompt": "a red apple", "n": 1, "size": "512x512", "response_format": "b64_json"}
    status, answer = await app.post("/v1/images/generations?api-version=2025-04-01", form)
    assert status == 200
    assert opened(base64.b64decode(answer["data"][0]["b64_json"])).size == (512, 512)
    data = aiohttp.FormData()
    for name, value in {"model": "editor", "prompt": "make it night", "n": "1", "response_format": "b64_json"}.items():
        data.add_field(name, value)
    for _ in range(2):
        data.add_field("image[]", picture(), filename="a.png", content_type="image/png")
    async with app.client.post("/v1/images/edits", data=data, headers={"Authorization": "Bearer x"}) as response:
        assert response.status == 200
        assert len((await response.json())["data"]) == 1


async def test_a_request_as_sillytavern_sends_it(app: WebHarness) -> None:
    form = {
        "prompt": "a red apple",
        "model": "dall-e-3",
        "size": "1024x1792",
        "n": 1,
        "quality": "standard",
        "style": "vivid",
        "response_format": "b64_json",
    }
    status, answer = await app.post("/v1/images/generations", form)
    assert status == 200
    assert opened(base64.b64decode(answer["data"][0]["b64_json"])).size == (288, 512)
