"""Streams of partial pictures as the ``openai`` package reads them."""

from __future__ import annotations

import asyncio
import base64
import io

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from PIL import Image

from tests.fakes.source_images import picture
from tests.unit.adapters.web.harness import WebHarness


def format_of(b64: str) -> str | None:
    return Image.open(io.BytesIO(base64.b64decode(b64))).format


async def test_partial_pictures_come_before_the_finished_one(client: AsyncOpenAI, app: WebHarness) -> None:
    app.gate.shut()
    stream = await _opened(client, app)
    partial, finished = [], []
    async for event in stream:
        if event.type == "image_generation.partial_image":
            partial.append(event)
            app.gate.let(9)
        else:
            assert event.type == "image_generation.completed"
            finished.append(event)
    assert [event.partial_image_index for event in partial] == list(range(len(partial)))
    assert 1 <= len(partial) <= 2
    assert {format_of(event.b64_json) for event in partial} == {"WEBP"}
    assert len(finished) == 1
    assert format_of(finished[0].b64_json) == "WEBP"
    assert (finished[0].size, finished[0].output_format) == ("64x64", "webp")
    assert finished[0].usage.total_tokens == 0
    assert not app.watched()


async def _opened(client: AsyncOpenAI, app: WebHarness) -> openai.AsyncStream[openai.types.ImageGenStreamEvent]:
    """Return a stream of a job whose third step has begun; the previews are watched from before the first."""
    opening = asyncio.ensure_future(
        client.images.generate(prompt="a red apple", size="64x64", stream=True, partial_images=2, output_format="webp")
    )
    # Previews are asked for once a picture is being drawn.
    app.gate.let(1)
    await app.until(lambda: app.engine.previewed)
    app.gate.let(2)
    return await opening


async def _types(stream: openai.AsyncStream[openai.types.ImageGenStreamEvent]) -> list[str]:
    return [event.type async for event in stream]


async def test_an_edit_has_events_of_its_own(blocking: OpenAI) -> None:
    def edit() -> list[str]:
        with blocking.images.edit(image=picture(), prompt="make it night", stream=True) as stream:
            return [event.type for event in stream]

    assert await asyncio.to_thread(edit) == ["image_edit.completed"]


async def test_each_picture_of_several_is_completed(client: AsyncOpenAI) -> None:
    stream = await client.images.generate(prompt="a red apple", n=2, stream=True)
    assert await _types(stream) == ["image_generation.completed"] * 2


async def test_a_refusal_is_the_answer_and_no_stream(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        await client.images.generate(prompt="", stream=True)


async def test_a_job_that_is_cancelled_after_the_stream_has_begun_is_an_error_event(
    client: AsyncOpenAI, app: WebHarness
) -> None:
    app.gate.shut()
    stream = await _opened(client, app)
    assert (await app.press("easel:cancel:1"))[0] == 200
    with pytest.raises(openai.APIError) as failed:
        await _types(stream)
    assert failed.value.code == "card.cancelled"
