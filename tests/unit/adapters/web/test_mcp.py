"""MCP at ``/mcp``, by the protocol's own client: the tools, pictures, progress, errors, and calls that are given up."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
import mcp_types as types
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from PIL import Image
from yarl import URL

from adapters.mcp.tools import SHOWN_SIDE
from adapters.web import mcp as bridge
from adapters.web import request_checks
from adapters.web.request_checks import BodyReader
from bot.core.cards import Tone
from bot.core.errors import Unavailable
from bot.storage import jobs
from engine.contract import Capability, OutOfMemory, Range
from engine.families.z_image.spec import demo
from tests.fakes.engine import FakeEngine
from tests.fakes.source_images import png_of
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness, error_of, settings_of

EDITOR = replace(
    demo(), name="editor", title="Editor", can=frozenset({Capability.EDIT}), references=2, needs_reference=True
)
LARGE = replace(demo(), name="large", title="Large", side=Range(192, 64, 2048))


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[WebHarness]:
    """A bot with a model that edits."""
    gate = StepGate()
    gate.open()
    engine = FakeEngine([demo(), EDITOR, LARGE], pause=gate)
    async with WebHarness(tmp_path, engine, gate, settings_of()).opened() as one:
        yield one


@asynccontextmanager
async def connected(app: WebHarness, mode: str = "auto", **headers: str) -> AsyncIterator[Client]:
    url = str(app.client.make_url("/mcp"))
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


async def test_addresses_begin_as_the_client_has_called(tmp_path: Path) -> None:
    gate = StepGate()
    gate.open()
    settings = settings_of(public_url="https://easel.example", trusted_proxies="127.0.0.1")
    async with WebHarness(tmp_path, FakeEngine(pause=gate), gate, settings).opened() as app:
        key = await app.key_for()
        for headers, origin in (
            ({"Host": "easel.example"}, "https://easel.example"),
            ({"Host": "localhost", "X-Forwarded-Proto": "https"}, "https://localhost"),
        ):
            async with connected(app, **key, **headers) as client:
                result = await client.call_tool("draw", {"prompt": "a red apple"})
            assert f"{origin}/pictures/" in words(result)


def words(result: types.CallToolResult) -> str:
    return "\n".join(one.text for one in result.content if isinstance(one, types.TextContent))


def pictures(result: types.CallToolResult) -> list[Image.Image]:
    found = [one for one in result.content if isinstance(one, types.ImageContent)]
    assert {one.mime_type for one in found} <= {"image/webp"}
    return [Image.open(io.BytesIO(base64.b64decode(one.data))) for one in found]


def encoded(picture: Image.Image) -> str:
    return base64.b64encode(png_of(picture)).decode()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_it_draws_with_progress_in_both_eras_of_the_protocol(app: WebHarness, mode: str) -> None:
    seen: list[tuple[float, str]] = []

    async def report(progress: float, total: float | None, message: str | None) -> None:
        assert total == 1
        seen.append((progress, message or ""))

    async with connected(app, mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"draw", "edit", "history"}
        assert tools["draw"].input_schema["required"] == ["prompt"]
        result = await client.call_tool(
            "draw", {"prompt": "a red apple", "count": 2, "seed": 7}, progress_callback=report
        )
        assert not result.is_error
        assert [one.size for one in pictures(result)] == [(192, 192)] * 2
        text = words(result)
        assert result.structured_content is not None
        first = result.structured_content["pictures"][0]
        assert first["seed"] == "7"
        assert first["address"] in text
        async with app.client.get(URL(first["address"]).path) as response:
            assert response.headers["Content-Type"] == "image/png"
        assert seen
        assert all(0 <= progress <= 1 and message for progress, message in seen)
        assert [progress for progress, _ in seen] == sorted(progress for progress, _ in seen) or seen[-1][0] == 0


async def test_a_large_picture_comes_as_a_small_copy(app: WebHarness) -> None:
    async with connected(app) as client:
        result = await client.call_tool("draw", {"prompt": "a cat", "model": "large", "size": "2048x1024", "steps": 1})
        assert [one.size for one in pictures(result)] == [(SHOWN_SIDE, SHOWN_SIDE // 2)]
        assert result.structured_content is not None
        assert result.structured_content["pictures"][0]["width"] == 2048


async def test_edit_takes_pictures_of_the_history_and_sent_ones(app: WebHarness) -> None:
    async with connected(app) as client:
        nothing = await client.call_tool("edit", {"instruction": "make it blue"})
        assert (nothing.is_error, "no pictures yet" in words(nothing)) == (True, True)
        await client.call_tool("draw", {"prompt": "a red apple", "count": 2})
        white = encoded(Image.new("RGB", (64, 64), "white"))
        for picture in ({"job": "1:2"}, {"job": "#1"}, {}, {"image": f"data:image/png;base64,{white}"}):
            result = await client.call_tool("edit", {"instruction": "make it blue", **picture})
            assert not result.is_error, words(result)
            recipe = app.engine.painted[-1]
            assert (recipe.model, len(recipe.references), recipe.prompt) == ("editor", 1, "make it blue")
        # A mask, or a model that draws anew, starts from the picture.
        mask = {"mask": encoded(Image.new("L", (64, 64), 255)), "image": white}
        for more in (mask, {"model": "Easel demo", "strength": 0.3, "image": white}):
            result = await client.call_tool("edit", {"instruction": "an apple", **more})
            assert not result.is_error, words(result)
            assert (app.engine.painted[-1].model, bool(app.engine.painted[-1].image)) == ("demo", True)
        assert app.engine.painted[-1].strength == 0.3
        await client.call_tool("edit", {"instruction": "an apple", "image": white, "label": True})
        await client.call_tool("draw", {"prompt": "a red apple", "label": True})
    async with app.db.read() as tx:
        asked = [job.request.label for number in range(1, 10) if (job := await jobs.get(tx, number)) is not None]
    assert asked == [False] * 7 + [True] * 2


async def test_history_lists_and_searches(app: WebHarness) -> None:
    for prompt in ("a red apple", "a green pear", "a red door"):
        await app.drawn(prompt)
    async with connected(app) as client:
        result = await client.call_tool("history", {"limit": 2})
        assert words(result).splitlines() == [
            "3: a red door (1 picture)",
            "2: a green pear (1 picture)",
            "There are older ones: before=2.",
        ]
        assert len(pictures(result)) == 2
        rest = await client.call_tool("history", {"before": 2, "pictures": False})
        assert (words(rest), pictures(rest)) == ("1: a red apple (1 picture)", [])
        found = await client.call_tool("history", {"query": "red"})
        assert found.structured_content is not None
        assert [one["job"] for one in found.structured_content["jobs"]] == [3, 1]
        none = await client.call_tool("history", {"query": "zebra"})
        assert words(none) == "There is nothing."


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("draw", {}, "prompt: Field required"),
        ("draw", {"prompt": "x", "count": 9}, "count: "),
        ("draw", {"prompt": "x", "colour": "red"}, "colour: Extra inputs"),
        ("draw", {"prompt": "x", "model": "nowhere"}, "nowhere"),
        ("draw", {"prompt": "x", "size": "7x7"}, "7x7"),
        ("edit", {"instruction": "x", "job": "twelve"}, "twelve"),
        ("edit", {"instruction": "x", "job": "1:0"}, "1:0"),
        ("edit", {"instruction": "x", "job": "99"}, ""),
        ("edit", {"instruction": "x", "image": "%%"}, "image is not a picture"),
        ("history", {"limit": 0}, "limit: "),
        ("paint", {}, "no tool 'paint'"),
    ],
)
async def test_errors_are_results_with_a_sentence(
    app: WebHarness, name: str, arguments: dict[str, object], said: str
) -> None:
    async with connected(app) as client:
        result = await client.call_tool(name, arguments)
        assert result.is_error
        assert said in words(result)
        assert words(result).endswith((".", "?"))
    assert await app.count("jobs") == 0


async def test_a_job_that_fails_and_the_language_of_its_caller(app: WebHarness) -> None:
    app.engine._fail = lambda _: OutOfMemory("no room")
    async with connected(app, **{"Accept-Language": "zh-CN"}) as client:
        result = await client.call_tool("draw", {"prompt": "一个苹果"})
        assert result.is_error
        assert "内存" in words(result) or "显存" in words(result)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_that_is_given_up_cancels_its_job(
    held: WebHarness, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "WATCH_SECONDS", 0.01)
    async with connected(held, mode) as client:
        call = asyncio.create_task(client.call_tool("draw", {"prompt": "a red apple"}))
        await held.until(lambda: held.gate.reached)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    last = [card async for card in held.studio.watch(held.actor, 1)][-1]
    assert (last.tone, last.final) == (Tone.STOPPED, True)


@pytest.mark.parametrize("reports", [False, True])
async def test_a_stop_ends_open_calls_and_their_jobs_go_on(held: WebHarness, reports: bool) -> None:
    reported = asyncio.Event()

    async def report(progress: float, total: float | None, message: str | None) -> None:
        reported.set()

    ended: list[object] = []
    with contextlib.suppress(ExceptionGroup):
        async with connected(held) as client:
            how = report if reports else None
            call = asyncio.create_task(client.call_tool("draw", {"prompt": "a red apple"}, progress_callback=how))
            await held.until(lambda: held.gate.reached and (not reports or reported.is_set()))
            await held.server.app.shutdown()
            ended += await asyncio.gather(call, return_exceptions=True)
    assert isinstance(ended[0], Exception)
    held.gate.open()
    last = [card async for card in held.studio.watch(held.actor, 1)][-1]
    assert last.pictures


async def test_without_the_package_it_says_what_to_install(app: WebHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "is_installed", lambda: False)
    handlers = bridge.McpHandlers(app.studio, BodyReader(), lambda _: "")
    with pytest.raises(Unavailable) as refused:
        await handlers.message(None)  # type: ignore[arg-type]  # it is not looked at
    assert "easel[mcp]" in app.studio.text(refused.value.key, "en")
    await handlers.close()
    with pytest.raises(Unavailable) as refused:
        await handlers.message(None)  # type: ignore[arg-type]  # it is not looked at
    assert refused.value.key == "unavailable.mcp.stopping"


async def test_what_is_no_message(app: WebHarness) -> None:
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    async with app.client.post("/mcp", data="{", headers=headers) as response:
        assert response.status == 400
    async with app.client.post("/mcp", data=io.BytesIO(bytes(bridge.MAX_BODY + 1)), headers=headers) as response:
        assert response.status == 413
    async with app.client.get("/mcp") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")


async def test_a_message_that_does_not_arrive_keeps_no_memory(app: WebHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_checks, "BODY_SECONDS", 0.0)
    monkeypatch.setattr(request_checks, "RATE", 2**40)
    head = "POST /mcp HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Type: application/json\r\n"
    async with asyncio.timeout(10):
        assert (await app.raw(f"{head}Content-Length: 1000000\r\n\r\n{{"))[0] == 408


async def test_a_message_of_too_many_values_is_not_parsed(app: WebHarness) -> None:
    body = b'{"x": [' + b"[]," * request_checks.MOST_VALUES + b"1]}"
    async with app.client.post("/mcp", data=body, headers={"Content-Type": "application/json"}) as response:
        assert (response.status, error_of(await response.json())[0]) == (400, "refusal.web.body")
