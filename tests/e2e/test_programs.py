"""Programs of others against real services: A1111's client, the openai package, and MCP over standard streams and HTTP."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import re
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import numpy as np
import pytest
import webuiapi
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, ImageContent, TextContent
from openai import NotFoundError, OpenAI
from PIL import Image, ImageChops, ImageStat

from bot.cards.i18n import text
from tests.e2e.conftest import Typed
from tests.e2e.service import Service, easel, environment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[socket.socket]:
    """The socket on which systemd listens to a service."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path_factory.mktemp("run") / "notify"))
        one.settimeout(30)
        yield one


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, systemd: socket.socket) -> Iterator[Service]:
    """A service that systemd watches, and that logs everything as JSON."""
    watched = {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "3000000"}
    env = {"EASEL_LOG_FORMAT": "json", "EASEL_LOG_LEVEL": "DEBUG", **watched}
    one = Service(tmp_path_factory.mktemp("service"), env)
    one.start()
    yield one
    one.end()


@asynccontextmanager
async def over_stdio(folder: Path, env: Mapping[str, str], *args: str) -> AsyncIterator[Client]:
    """`easel mcp` as a client's child process."""
    command = ["-m", "adapters.cli.main", "mcp", *args]
    server = StdioServerParameters(command=sys.executable, args=command, env=environment(env), cwd=str(folder))
    async with Client(server, read_timeout_seconds=100) as client:
        yield client


def words(result: CallToolResult) -> str:
    return "\n".join(one.text for one in result.content if isinstance(one, TextContent))


def apart(first: bytes, second: bytes) -> float:
    """Mean difference of two pictures, 0 to 255."""
    one, other = (Image.open(io.BytesIO(data)).convert("RGB") for data in (first, second))
    return float(np.mean(ImageStat.Stat(ImageChops.difference(one, other)).mean))


async def drawn(client: Client) -> CallToolResult:
    """Draw, with at least one report of progress."""
    reports: list[float] = []

    async def report(progress: float, total: float | None, message: str | None) -> None:
        reports.append(progress)

    result = await client.call_tool("draw", {"prompt": "a red apple", "seed": 7}, progress_callback=report)
    assert not result.is_error, words(result)
    assert reports
    assert sum(isinstance(one, ImageContent) for one in result.content) == 1
    return result


async def test_mcp_without_a_service_draws_in_its_own_process(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with over_stdio(tmp_path, {"EASEL_DATA_DIR": str(data), "EASEL_WEB_PORT": "0"}) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"draw", "edit", "history"}
        result = await drawn(client)
        assert result.structured_content is not None
        original = Path(result.structured_content["pictures"][0]["address"].removeprefix("file://"))
        assert original.is_relative_to(data)
        assert await asyncio.to_thread(original.is_file)
        history = await client.call_tool("history", {})
        assert words(history).startswith("1: a red apple")


async def test_programs_of_one_service(service: Service) -> None:
    def a1111() -> None:
        api = webuiapi.WebUIApi(port=service.port, sampler="Euler", steps=4)
        result = api.txt2img(prompt="a red apple", seed=7, cfg_scale=0, width=192, height=192)
        assert result.image.size == (192, 192)
        assert result.info["all_seeds"] == [7]
        assert result.image.info["parameters"] == result.info["infotexts"][0]
        assert result.info["notes"] == [text("en", "note.demo")]

    await asyncio.to_thread(a1111)
    # It finds the running service by the lock of its data folder.
    async with over_stdio(service.folder, service.env) as client:
        result = await drawn(client)
        assert f"{service.url}/pictures/2/0.png" in words(result)
        assert (await client.call_tool("draw", {"prompt": ""})).is_error
    made = easel("key", "create", "--name", "model", "--quota", "1/day", cwd=service.folder, env=service.env)
    key = made.stdout.splitlines()[-1]
    # By address and key: another person, whose quota it is.
    env = {"EASEL_API_KEY": key, "EASEL_DATA_DIR": str(service.folder / "elsewhere")}
    async with over_stdio(service.folder, env, "--url", service.url) as client:
        assert words(await client.call_tool("history", {})) == "There is nothing."
        await drawn(client)
        refused = await client.call_tool("draw", {"prompt": "a red apple"})
        assert refused.is_error
        assert "1" in words(refused)
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60) as http,
        Client(streamable_http_client(f"{service.url}/mcp", http_client=http)) as client,
    ):
        assert words(await client.call_tool("history", {})).startswith("3: a red apple")

    def with_a_key() -> None:
        api = webuiapi.WebUIApi(port=service.port, username="anybody", password=key)
        with pytest.raises(RuntimeError) as refused:
            api.txt2img(prompt="a red apple", steps=4, cfg_scale=0, width=192, height=192)
        assert refused.value.args[0] == 429

    await asyncio.to_thread(with_a_key)

    def with_openai() -> None:
        with OpenAI(base_url=f"{service.url}/v1", api_key="unused", max_retries=0) as client:
            more = {"seed": 7, "steps": 4}
            drawn = client.images.generate(prompt="a red apple", size="192x192", n=2, extra_body=more)
            assert drawn.data is not None
            first, second = (base64.b64decode(image.b64_json or "") for image in drawn.data)
            assert apart(first, second) > 1
            stream = client.images.generate(
                prompt="a red apple", size="192x192", stream=True, partial_images=2, extra_body=more
            )
            *partial, finished = stream
            assert {event.type for event in partial} <= {"image_generation.partial_image"}
            assert finished.type == "image_generation.completed"
            # The same seed is the same picture, whether it was drawn beside another one or alone.
            assert apart(base64.b64decode(finished.b64_json), first) < 1
            changed = client.images.edit(image=first, prompt="a green apple", response_format="url", extra_body=more)
            assert changed.data is not None
            url = changed.data[0].url or ""
            assert apart(httpx2.get(url).raise_for_status().content, first) > 1
            with pytest.raises(NotFoundError):
                client.images.generate(prompt="a red apple", model="nothing")

    await asyncio.to_thread(with_openai)


def test_the_log_tells_of_one_job_from_both_processes(service: Service) -> None:
    job = service.draw("a prompt that no line holds", steps="2")
    service.finished(job)
    found = [json.loads(line) for line in service.log.splitlines() if line.startswith("{")]
    lines = [line for line in found if line.get("job") == job]
    said = [line["message"] for line in lines]
    own = [one for one in said if not one.startswith("device process: ")]
    for part, texts in (
        (own, ("admitted: 1 pictures of demo", "1 pictures go to slot 0", "1 of 1 pictures of demo were drawn")),
        (sorted(set(said) - set(own)), ("A picture of demo begins: 192x192, 2 steps", "The picture was drawn in ")),
    ):
        for start in texts:
            assert any(start in one for one in part), (start, said)
    # Lines of the engine's process name the request too.
    (request,) = {line["request"] for line in lines if "pictures" in line["message"] or "executor" in line["message"]}
    assert len(request) == 16
    assert "a prompt that no line holds" not in service.log


def test_systemd_is_told_that_it_is_ready_and_alive_and_stops(service: Service, systemd: socket.socket) -> None:
    assert systemd.recv(1000).decode().splitlines()[0] == "READY=1"
    ping, status = systemd.recv(1000).decode().splitlines()
    assert ping == "WATCHDOG=1"
    assert re.fullmatch(r"STATUS=Easel demo: [a-z]+, [0-9]+ waiting", status)
    # A full queue takes no more messages; systemd itself reads at once.
    systemd.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while systemd.recv(1000):
            pass
    systemd.settimeout(30)
    service.stop()
    said = ""
    while "STOPPING=1" not in said:
        said = systemd.recv(1000).decode()


def test_mcp_says_why_it_can_not_start(typed: Typed) -> None:
    code, out, err = typed("mcp", "--url", "http://127.0.0.1:9")
    assert (code, out) == (1, "")
    assert "http://127.0.0.1:9" in err
    code, _, err = typed("mcp", "--url", "http://127.0.0.1:9", lang="zh_CN.UTF-8")
    assert (code, "无法连接" in err) == (1, True)
