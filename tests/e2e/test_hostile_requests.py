"""Hostile requests to every route of the page and its APIs: they are refused and counted, and tell nothing."""

from __future__ import annotations

import asyncio
import gzip
import io
import re
import resource
import socket
import struct
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from aiohttp import FormData
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from adapters.web import access
from adapters.web.routes import ROUTES
from tests.e2e.service import Service
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness, settings_of

SAFE = {"GET", "HEAD"}
CLIMBS = (
    "..", "../../easel.db", "..%2f..%2feasel.db", "%2e%2e%2feasel.db", "..%5c..%5ceasel.db", "....//easel.db", "%00", "1%00.png",
    "/etc/passwd", "%2fetc%2fpasswd", "..%252feasel.db", "1/../../easel.db", "C:%5cWindows%5cwin.ini", "\u202e1".encode().hex(),
    "9" * 400, "-1", "1e9", "%ff%fe", "{0}", "'%20OR%201=1--",
)  # fmt: skip
SECRETS = (b"SQLite format 3", b"root:x:", b"Traceback", b"/dev/shm", b"/tmp/")


@pytest.fixture
async def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WebHarness]:
    """A page without limits of rate, which would answer most of these requests."""
    for limit in ("FAILURES", "READS", "WRITES"):
        monkeypatch.setattr(access, limit, 10**6)
    gate = StepGate()
    gate.open()
    async with WebHarness(tmp_path, FakeEngine(pause=gate), gate, settings_of()).opened() as one:
        yield one


def routes(app: WebHarness) -> list[tuple[str, str]]:
    """Return method and path of every route."""
    found = sorted(app.server.app[ROUTES].roles())
    assert len(found) > 60
    return found


def filled(path: str, value: str = "1") -> str:
    return re.sub(r"\{[^}]*\}", lambda _: value, path)


async def asked(
    app: WebHarness, method: str, path: str, headers: dict[str, str], body: bytes = b""
) -> tuple[int, bytes]:
    """Send a request as it is, without a client's own corrections; return status and what follows, up to 64 kB."""
    reader, writer = await asyncio.open_connection("127.0.0.1", app.client.port)
    lines = {"Host": f"127.0.0.1:{app.client.port}", "Connection": "close", **headers}
    if body or method not in SAFE:
        lines["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    try:
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1", "replace") + body)
        async with asyncio.timeout(20):
            first = await reader.readline()
            rest = await reader.read(2**16)
    finally:
        writer.close()
    return int(first.split(b" ")[1]), rest


async def test_other_names_and_other_sites_reach_no_route(app: WebHarness) -> None:
    everybody = {"/healthz", "/readyz"}
    refused = {"host": 0, "origin": 0}
    for method, path in routes(app):
        if path in everybody:
            continue
        status, rest = await asked(app, method, filled(path), {"Host": "rebound.example"})
        assert status == 403, (method, path, status)
        assert b"rebound.example" in rest or method == "HEAD"
        refused["host"] += 1
        if method in SAFE:
            continue
        status, _ = await asked(app, method, filled(path), {"Origin": "https://evil.example"})
        assert status == 403, (method, path, status)
        status, _ = await asked(app, method, filled(path), {"Sec-Fetch-Site": "cross-site"})
        assert status == 403, (method, path, status)
        refused["origin"] += 2
    assert {reason: app.refusals(reason) for reason in refused} == refused
    assert await app.count("jobs") == 0


async def test_no_path_leads_out_of_its_folder(app: WebHarness) -> None:
    await app.drawn()
    for method, path in routes(app):
        if "{" not in path or method == "HEAD" or path.endswith("/events"):
            continue
        for climb in CLIMBS:
            status, rest = await asked(app, method, filled(path, climb), {})
            assert 400 <= status < 500 or (status, method) == (200, "GET"), (method, path, climb, status)
            assert status != 429
            assert not any(secret in rest for secret in SECRETS), (method, path, climb, rest[:300])
    assert await app.count("jobs") == 1


def bomb_png(side: int = 60_000) -> bytes:
    """A PNG of some kilobytes that says that it is as large as a house."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"\0" * 1_000_000, 9)
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def text_bomb_png() -> bytes:
    """A small PNG whose parameters unpack to 100 MB."""
    out = io.BytesIO()
    packed = b"parameters\0\0" + zlib.compress(b"a" * 100_000_000, 9)
    Image.new("RGB", (8, 8)).save(out, "PNG")
    data = out.getvalue()
    text = struct.pack(">I", len(packed)) + b"zTXt" + packed + struct.pack(">I", zlib.crc32(b"zTXt" + packed))
    return data[:33] + text + data[33:]


async def test_bombs_are_refused_by_every_route(app: WebHarness) -> None:
    """Each gets an answer that blames the sender, and memory does not grow by what the bombs unpack to."""
    me = psutil.Process()
    before = me.memory_info().rss
    deep = b'{"prompt":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    packed = gzip.compress(b'{"prompt":"' + b"a" * 50_000_000 + b'"}')
    json_type = {"Content-Type": "application/json"}
    part = b'--b\r\nContent-Disposition: form-data; name="field%d"\r\n\r\nx\r\n'
    parts = b"".join(part % number for number in range(3000)) + b"--b--\r\n"
    bombs = {
        "deep": (json_type, deep),
        "packed": ({**json_type, "Content-Encoding": "gzip"}, packed),
        "parts": ({"Content-Type": "multipart/form-data; boundary=b"}, parts),
    }
    for method, path in routes(app):
        if method in SAFE:
            continue
        for what, (headers, body) in bombs.items():
            status, rest = await asked(app, method, filled(path), headers, body)
            assert 400 <= status < 500 or status in {200, 204, 303}, (method, path, what, status, rest[:200])
            assert status != 429
    for bomb in (bomb_png(), text_bomb_png()):
        for field, path in (("init", "/api/draw"), ("file", "/api/parameters"), ("file", "/api/inspect")):
            form = FormData(default_to_multipart=True)
            form.add_field("key", "0000-bomb")
            form.add_field("prompt", "a cat")
            form.add_field(field, io.BytesIO(bomb), filename="bomb.png", content_type="image/png")
            async with app.client.post(path, data=form) as response:
                assert response.status < 500, await response.text()
    assert me.memory_info().rss - before < 60_000_000
    assert await app.count("jobs") == 0


# Slow connections, against the real service.


@pytest.fixture
def descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def slow(service: Service, number: int, seconds: float) -> None:
    """Keep this number of connections open whose requests never arrive, and see that others are served meanwhile."""
    half = f"POST /api/draw HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nContent-Length: 90\r\n".encode()
    starts = (b"", half, half + b"Content-Type: application/json\r\n\r\n{")
    served = psutil.Process(service.process.pid)
    with ExitStack() as stack:
        open_ones = []
        for one in range(number):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=30))
            client.sendall(starts[one % 3])
            open_ones.append(client)
        end = time.monotonic() + seconds
        while True:
            assert service.status("/healthz") == 200
            assert service.call("/api/info")["lang"] == "en"
            assert len(served.net_connections("tcp")) <= 600
            for client in open_ones:  # another byte from each that is still there
                try:
                    client.send(b"x")
                except OSError:
                    continue
            if time.monotonic() >= end:
                break
            time.sleep(0.5)
        assert service.finished(service.draw("a red apple"))["final"]
    text = service.get("/metrics").decode()
    (family,) = (one for one in text_string_to_metric_families(text) if one.name == "easel_web_refused")
    counted = {sample.labels["reason"]: sample.value for sample in family.samples if sample.name.endswith("_total")}
    assert counted["slow"] >= number - 512
    assert "Traceback" not in service.log


@pytest.mark.slow
@pytest.mark.usefixtures("descriptors")
def test_slow_connections_keep_nobody_out(service: Service) -> None:
    slow(service, 600, 0)


@pytest.mark.soak
@pytest.mark.usefixtures("descriptors")
def test_a_thousand_slow_connections_keep_nobody_out(service: Service) -> None:
    slow(service, 1000, 60)
