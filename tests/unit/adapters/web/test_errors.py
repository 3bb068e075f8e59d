"""Whatever goes wrong is one sentence with the right status, and says nothing of the inside."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, make_mocked_request

from adapters.web import service
from adapters.web.errors import ErrorMiddleware, mark_begun
from bot.core.errors import NotAllowed, Refusal
from engine.contract import BadRecipe, EngineError, Recipe
from tests.fakes.engine import FakeEngine
from tests.unit.adapters.web.harness import WebHarness, error_of

UUID = "3f1c2a9e-7b44-4a0e-9d0e-1d2f3a4b5c6d"


@pytest.mark.parametrize("path", ["/nowhere", "/api", "/api/", "/api/nowhere", "/api/jobs", "/api/jobs/1/", "/%00"])
async def test_an_address_that_is_none(app: WebHarness, path: str) -> None:
    status, answer = await app.get(path, params={"lang": "zh"})
    assert status == 404
    assert error_of(answer) == ("refusal.web.not_found", app.studio.text("refusal.web.not_found", "zh_CN"))


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/", {"GET", "HEAD"}),
        ("POST", "/api/info", {"GET", "HEAD"}),
        ("GET", "/api/draw", {"POST"}),
        ("GET", "/api/press", {"POST"}),
        ("DELETE", "/api/jobs/1", {"GET", "HEAD"}),
        ("PUT", "/api/history", {"GET", "HEAD"}),
        ("OPTIONS", "/api/draw", {"POST"}),
        ("PATCH", "/pictures/1/0.png", {"GET", "HEAD"}),
        ("POST", "/static/main.js", {"GET", "HEAD"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
    ],
)
async def test_a_method_that_an_address_does_not_take(
    app: WebHarness, method: str, path: str, allowed: set[str]
) -> None:
    async with app.client.request(method, path) as response:
        assert response.status == 405
        assert set(response.headers["Allow"].split(",")) == allowed
        assert error_of(await response.json())[0] == "refusal.web.method"


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/static/main.js", "/api/info", "/api/history", "/api/quota"])
async def test_head_is_get_without_the_body(app: WebHarness, path: str) -> None:
    async with app.client.get(path, auto_decompress=False) as response:
        full = await response.read()
    async with app.client.head(path) as response:
        assert response.status == 200
        assert await response.read() == b""
        assert int(response.headers["Content-Length"]) == len(full)


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/api/draw", 405), ("/api/history?limit=0", 400)])
async def test_somebody_at_the_address_bar_reads_the_sentence_itself(app: WebHarness, path: str, status: int) -> None:
    headers = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    async with app.client.get(path, headers=headers) as response:
        assert response.status == status
        assert response.content_type == "text/plain"
        text = await response.text()
    assert text.endswith(".")
    assert "{" not in text


@pytest.mark.parametrize(("lang", "locale"), [("en", "en"), ("zh", "zh_CN")])
async def test_what_nobody_expected_is_an_apology_here_and_a_stack_trace_in_the_log(
    app: WebHarness, lang: str, locale: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any) -> Any:
        raise RuntimeError("a secret of the inside")

    for name in ("draw", "press", "card", "items", "quota_show", "picture", "problems"):
        monkeypatch.setattr(app.studio, name, broken)
    asks = [
        app.post(f"/api/draw?lang={lang}", {"key": UUID, "prompt": "a cat"}),
        app.post(f"/api/press?lang={lang}", {"key": UUID, "id": "easel:reroll:1"}),
        *(
            app.get(f"{path}?lang={lang}")
            for path in (
                "/api/jobs/1",
                "/api/jobs/1/events",
                "/api/history",
                "/api/quota",
                "/pictures/1/0.png",
                "/readyz",
            )
        ),
    ]
    for ask in asks:
        caplog.clear()
        status, answer = await ask
        assert status == 500
        assert error_of(answer) == ("error.web", app.studio.text("error.web", locale))
        (record,) = [r for r in caplog.records if r.name.startswith("adapters.web")]
        assert record.levelname == "ERROR"
        assert record.exc_info is not None
        assert "a secret of the inside" in caplog.text


async def test_a_refusal_is_no_fault_and_is_not_logged(app: WebHarness, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    await app.post("/api/draw", {"key": UUID, "prompt": ""})
    await app.get("/nowhere")
    await app.get("/", headers={"Host": "evil.com"})
    assert not [r for r in caplog.records if r.name.startswith("adapters.web")]


async def test_what_was_asked_for_can_not_break_a_line_of_the_log(
    app: WebHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(app.studio, "picture", broken)
    await app.raw("GET /pictures/1/1%0aERROR%20forged.png HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n")
    assert "\nERROR forged" not in caplog.text


async def test_a_body_that_can_not_be_unpacked(app: WebHarness, caplog: pytest.LogCaptureFixture) -> None:
    status, answer = await app.raw(
        "POST /api/draw HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
        "Content-Length: 2\r\nConnection: close\r\n\r\n{}"
    )
    assert status == 415
    assert "refusal.web.body" in answer
    assert "gzip" in answer
    assert not [r for r in caplog.records if r.name.startswith("adapters.web")]


async def test_a_browser_that_leaves_before_it_has_said_all_is_no_fault(
    app: WebHarness, caplog: pytest.LogCaptureFixture
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", app.client.port)
    head = f"POST /api/draw HTTP/1.1\r\nHost: 127.0.0.1:{app.client.port}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: 999\r\n\r\n{{".encode())
    await writer.drain()
    # "Begun" is a moment before the handler runs; it waits for the rest of the body from its first step on.
    await app.until(lambda: app.server.handler.requests_count)
    assert app.answering()
    writer.close()
    await writer.wait_closed()
    await app.until(lambda: not app.answering())
    assert not [r for r in caplog.records if r.levelname in {"ERROR", "WARNING"}]
    assert await app.count("jobs") == 0


async def test_a_drawing_that_fails_says_why(app: WebHarness) -> None:
    def fail(recipe: Recipe) -> EngineError:
        return BadRecipe("RuntimeError: a secret of the inside")

    engine: FakeEngine = app.engine
    engine._fail = fail
    card = await app.drawn()
    assert card["tone"] == "problem"
    assert card["status"] == app.studio.text("error.engine.bad_recipe", "en")
    assert "secret" not in str(card)
    assert card["pictures"] == []
    assert await app.charged() == 0


SECRET = "a-search-that-nobody-shall-read"
MALFORMED = [
    f"GET /api/history?q={SECRET} NONSENSE\r\n\r\n",
    f"GET /api/history?q={SECRET} with blanks HTTP/1.1\r\n\r\n",
    f"G@T /api/history?q={SECRET} HTTP/1.1\r\n\r\n",
    f"GET /api/history?q={SECRET} HTTP/9.9.9\r\n\r\n",
    f"GET / HTTP/1.1\r\n{SECRET}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: HOST\r\nContent-Length: {SECRET}\r\n\r\n",
    f"GET /{'x' * 9000}?q={SECRET} HTTP/1.1\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: HOST\r\nX: {SECRET}{'x' * 9000}\r\n\r\n",
    f"POST /api/draw HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\nzz{SECRET}\r\n",
    f"{SECRET}\r\n\r\n",
]


@pytest.mark.parametrize("request_text", MALFORMED, ids=range(len(MALFORMED)))
async def test_a_malformed_request_is_not_repeated_in_the_log(
    app: WebHarness, request_text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    status, _ = await app.raw(request_text)
    assert status in {400, 403, 415}
    assert SECRET not in caplog.text


async def test_a_malformed_request_is_one_quiet_line(app: WebHarness, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await app.raw(MALFORMED[0])
    (record,) = [r for r in caplog.records if r.name == service.LOGGER]
    assert (record.levelname, record.exc_info) == ("INFO", None)
    assert "BadStatusLine" in record.getMessage()


async def test_what_fails_in_the_server_itself_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise RuntimeError("a fault of our own")
    except RuntimeError:
        service.server_logger().exception("Unhandled exception")
    assert "a fault of our own" in caplog.text


async def test_another_api_has_errors_of_its_own_form(app: WebHarness) -> None:
    def form(refusal: Refusal, sentence: str, status: int) -> web.Response:
        return web.json_response({"code": refusal.key, "message": sentence}, status=status + 10)

    middleware = ErrorMiddleware(app.studio, {"/other/": form})
    for path, status, fields in (("/other/x", 413, {"code", "message"}), ("/api/x", 403, {"error"})):
        request = make_mocked_request("GET", path)

        async def refuse(request: web.Request) -> web.StreamResponse:
            raise NotAllowed("refusal.web.origin")

        answer = await middleware.middleware(request, refuse)
        assert isinstance(answer, web.Response)
        assert answer.status == status
        assert answer.text is not None
        assert set(json.loads(answer.text)) == fields


@pytest.mark.parametrize("error", [NotAllowed("refusal.web.role.owner"), ValueError("secret")])
async def test_an_answer_that_has_begun_is_cut_and_gets_no_second_one(app: WebHarness, error: Exception) -> None:
    middleware = ErrorMiddleware(app.studio)

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"some of it")
        raise error

    own = web.Application(middlewares=[middleware.middleware])
    own.on_response_prepare.append(mark_begun)
    own.router.add_get("/", handler)
    async with TestServer(own) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = (await reader.read()).decode()
        writer.close()
    assert answer.count("HTTP/1.1") == 1
    assert "some of it" in answer
    assert "secret" not in answer
    assert not answer.endswith("0\r\n\r\n")
