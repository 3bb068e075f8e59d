"""The page as part of the service: what operators ask it, and how it starts and stops."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import cast

import aiohttp
import pytest
from aiohttp.test_utils import unused_port
from prometheus_client.parser import text_string_to_metric_families

from adapters.cli import serve
from adapters.cli.wiring import opened
from adapters.web import api, service
from bot.cards import i18n
from bot.core.errors import BadInput
from engine.contract import EngineError
from engine.multi_engine import MultiEngine
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import CORE, WebHarness, app_of, settings_of

STOP_SECONDS = 3.0
"""What the page may take to stop."""


@pytest.fixture
async def cold(tmp_path: Path) -> AsyncIterator[WebHarness]:
    """A bot whose engine does not get warm by itself."""
    gate = StepGate()
    gate.open()
    async with WebHarness(tmp_path, FakeEngine(pause=gate, auto_warm=False), gate, settings_of()).opened() as one:
        yield one


async def test_alive(cold: WebHarness) -> None:
    async with cold.client.get("/healthz") as response:
        assert (response.status, await response.text()) == (200, "ok")
    async with cold.client.head("/healthz") as response:
        assert response.status == 200


async def test_ready_only_while_the_engine_is_warm(cold: WebHarness) -> None:
    assert await cold.get("/readyz") == (503, {"ready": False, "problems": ["The engine is starting."]})
    await cold.engine.recover()
    assert await cold.get("/readyz") == (200, {"ready": True, "problems": []})
    await cold.engine.lose("The device's process was killed.")
    assert await cold.get("/readyz") == (503, {"ready": False, "problems": ["The device's process was killed."]})
    async with cold.client.head("/readyz") as response:
        assert response.status == 503
    await cold.engine.recover()
    await cold.engine.break_down(EngineError("The model's folder is damaged."))
    assert (await cold.get("/readyz"))[1]["problems"] == ["The model's folder is damaged."]


async def test_ready_with_one_of_two_devices_and_it_tells_of_the_other(tmp_path: Path) -> None:
    gate = StepGate()
    one, other = FakeEngine(pause=gate), FakeEngine(pause=gate, auto_warm=False)
    engine = MultiEngine({"cuda:0": one, "cuda:1": other})
    async with WebHarness(tmp_path, cast(FakeEngine, engine), gate, settings_of()).opened() as app:
        starting = {"cuda:1": "The engine is starting."}
        assert await app.get("/readyz") == (200, {"ready": True, "problems": [], "devices": starting})
        await other.break_down(EngineError("The model does not fit the memory of cuda:1."))
        _, found = await app.get("/readyz")
        assert found["devices"] == {"cuda:1": "The model does not fit the memory of cuda:1."}
        assert (await app.get("/api/owner/device"))[1]["engine"]["problem"] == (
            "cuda:1: The model does not fit the memory of cuda:1."
        )
        await one.lose("The device's process was killed.")
        status, found = await app.get("/readyz")
        assert (status, set(found["devices"])) == (503, {"cuda:0", "cuda:1"})


async def test_ready_tells_of_the_platforms(app: WebHarness) -> None:
    app.studio.connection_problem("discord", "Discord can't be reached.")
    status, answer = await app.get("/readyz")
    since = datetime.fromisoformat(answer["connections"]["discord"].pop("since"))
    assert since.tzinfo is not None
    assert (status, answer["problems"]) == (503, ["Discord can't be reached."])
    assert answer["connections"] == {"discord": {"state": "reconnecting"}}
    app.studio.connection_problem("discord", None)
    status, answer = await app.get("/readyz")
    assert (status, answer["connections"]["discord"]["state"]) == (200, "connected")


async def test_not_ready_while_the_database_can_not_be_written(app: WebHarness) -> None:
    await app.db._writer.execute_fetchall("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(app.folder / "easel.db", isolation_level=None)
    try:
        async with app.db._writing:  # nobody else is in the middle of a transaction then
            other.execute("BEGIN IMMEDIATE")
        status, answer = await app.get("/readyz")
    finally:
        other.close()
    assert (status, answer["problems"]) == (503, [app.studio.text("unavailable.database.locked", "en")])
    assert (await app.get("/readyz"))[0] == 200


async def test_metrics_are_prometheus_s(held: WebHarness) -> None:
    await held.ask()
    await held.until(lambda: held.gate.reached)
    await held.ask("another one", size="256x144")
    async with held.client.get("/metrics") as response:
        assert response.status == 200
        assert response.content_type == "text/plain"
        families = {f.name: f for f in text_string_to_metric_families(await response.text())}
    assert [sample.value for sample in families["easel_queue_length"].samples] == [1.0]
    phases = {sample.labels["phase"]: sample.value for sample in families["easel_engine_phase"].samples}
    assert [phase for phase, value in phases.items() if value] == ["warm"]


async def test_info_is_what_the_form_needs(cold: WebHarness) -> None:
    status, info = await cold.get("/api/info", headers={"Accept-Language": "zh-CN"})
    assert "ink" in info["styles"]
    assert status == 200
    described = {"version", "lang", "engine", "texts", "model", "models", "styles", "loras"}
    assert set(info) == described | {
        "edit_model",
        "max_count",
        "max_picture",
        "max_file",
        "max_upload",
        "max_loras",
        "account",
    }
    assert (info["lang"], info["max_count"]) == ("zh-CN", 16)
    assert info["models"] == [info["model"]]
    model = info["model"]
    assert (model["name"], model["multiple"], model["enlarge"]) == ("demo", 16, 3)
    assert model["side"] == {"default": 192, "low": 64, "high": 512}
    assert model["presets"]["square"] == [192, 192]
    assert model["negative"] == "with_guidance"
    assert info["engine"]["phase"] == "starting"
    assert info["engine"]["text"] == cold.studio.text("health.engine.starting", "zh_CN")
    assert info["texts"] == cold.studio.texts("web.", "zh_CN")


async def test_every_phase_has_its_sentence(cold: WebHarness) -> None:
    said: set[str] = set()
    for act in (cold.engine.lose, cold.engine.recover, lambda: cold.engine.break_down(EngineError("No model."))):
        await act()
        info = (await cold.get("/api/info"))[1]
        assert bool(info["engine"]["text"]) is (info["engine"]["phase"] != "warm")
        said.add(info["engine"]["text"])
    assert len(said) == 3
    assert info["engine"]["problem"] == "No model."


async def test_the_owner_at_the_page_has_no_quota(app: WebHarness) -> None:
    status, answer = await app.get("/api/quota")
    assert status == 200
    assert answer["card"]["status"] == app.studio.text("card.quota.unlimited", "en")


# ---- Start and stop


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


async def test_a_port_that_is_in_use_raises(app: WebHarness, taken: int) -> None:
    page = service.build(settings_of(port=taken), CORE, app.studio, app.registry)
    with pytest.raises(BadInput) as caught:
        await page.start()
    assert str(taken) in str(caught.value.params["reason"])
    await page.stop()


async def test_a_port_that_is_in_use_is_one_sentence_that_names_it(tmp_path: Path, taken: int) -> None:
    engine = FakeEngine()
    with pytest.raises(BadInput) as caught:
        async with opened(app_of(tmp_path, settings_of(port=taken)), lambda _: engine):
            pytest.fail("it was opened")
    assert caught.value.key == "cli.port.in_use"
    for locale in i18n.LOCALES:
        text = i18n.text(locale, caught.value.key, **caught.value.params)
        assert f"127.0.0.1:{taken}" in text
        assert "EASEL_WEB_PORT" in text
        assert "\n" not in text
    # What was opened before it is closed again: another try works.
    async with opened(app_of(tmp_path, settings_of(port=unused_port())), lambda _: FakeEngine()) as easel:
        assert [one.name for one in easel.services] == ["web"]


async def test_an_address_that_is_not_this_machine_s_is_one_sentence_too(tmp_path: Path) -> None:
    host = "203.0.113.7"  # for documentation alone: nobody has it
    config = app_of(tmp_path, settings_of(host=host, port=unused_port(), unsafe_bind=True))
    with pytest.raises(BadInput) as caught:
        async with opened(config, lambda _: FakeEngine()):
            pytest.fail("it was opened")
    assert caught.value.key == "cli.port.in_use"
    assert caught.value.params["host"] == host


@pytest.mark.parametrize(
    ("host", "named"),
    [("127.0.0.1", "127.0.0.1"), ("localhost", "localhost"), ("0.0.0.0", "127.0.0.1")],
)
async def test_it_listens_where_it_says(app: WebHarness, host: str, named: str) -> None:
    port = unused_port()
    page = service.build(settings_of(host=host, port=port, unsafe_bind=True), CORE, app.studio, app.registry)
    await page.start()
    url = page.url
    try:
        assert url == f"http://{named}:{port}/"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert response.status == 200
            assert response.content_type == "text/html"
    finally:
        await page.stop()


async def test_a_stop_ends_what_is_open_and_frees_the_port(held: WebHarness) -> None:
    port = unused_port()
    job = (await held.ask())["job_id"]
    await held.until(lambda: held.gate.reached)
    for _ in range(2):
        page = service.build(settings_of(port=port), CORE, held.studio, held.registry)
        await page.start()
        url = page.url
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}healthz") as idle:
                assert idle.status == 200
            stream = await session.get(f"{url}api/jobs/{job}/events")
            await stream.content.readline()
            async with asyncio.timeout(STOP_SECONDS):
                await page.stop()
            await stream.read()
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.get(f"{url}healthz")
    assert held.watched() == 0


async def test_a_probe_is_answered_however_slow_the_database_is(
    app: WebHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "READY_SECONDS", 0.01)
    async with app.db._writing:
        status, answer = await app.get("/readyz")
        assert (status, answer["ready"]) == (503, False)
        assert answer["problems"] == [app.studio.text("health.slow", "en", seconds="0.01")]
        async with app.client.get("/metrics") as response:
            assert response.status == 200
    monkeypatch.undo()
    assert (await app.get("/readyz"))[0] == 200


async def test_probes_are_answered_while_every_thread_is_busy(app: WebHarness) -> None:
    loop, release = asyncio.get_running_loop(), threading.Event()
    busy = [loop.run_in_executor(None, release.wait) for _ in range(64)]
    try:
        for path in ("/metrics", "/healthz"):
            async with asyncio.timeout(STOP_SECONDS), app.client.get(path) as response:
                assert response.status == 200
    finally:
        release.set()
        await asyncio.gather(*busy)


async def test_idle_connections_do_not_stop_the_page(app: WebHarness) -> None:
    port = unused_port()
    page = service.build(settings_of(port=port), CORE, app.studio, app.registry)
    await page.start()
    assert page._listener is not None
    page._listener._most = 20
    idle = []
    try:
        for _ in range(100):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nX-Half: ")
            idle.append(writer)
        async with aiohttp.ClientSession() as session:
            for path in ("healthz", "readyz", "metrics", "api/info"):
                async with asyncio.timeout(STOP_SECONDS), session.get(f"http://127.0.0.1:{port}/{path}") as response:
                    assert response.status == 200
    finally:
        for writer in idle:
            writer.close()
        await page.stop()


@pytest.mark.parametrize("exposed", [True, False])
async def test_the_start_says_loudly_that_others_can_reach_the_page(
    tmp_path: Path, exposed: bool, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    host = "0.0.0.0" if exposed else "127.0.0.1"
    config = app_of(tmp_path, settings_of(host=host, port=unused_port(), unsafe_bind=True))
    async with opened(config, lambda _: FakeEngine()) as easel:
        serve._announce(easel, config)
        (page,) = easel.services
    said = capsys.readouterr().out
    if not exposed:
        assert "token" not in said
        return
    token = (tmp_path / "web-token").read_text().strip()
    warning = page.notices[1]
    assert i18n.text("en", "cli.serve.open", **warning.params) in said
    assert f"?token={token}" in said
    assert token not in caplog.text
