"""Connecting: refused tokens, dropped and missing connections, commands offered once, and an end without leftovers."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import SecretStr

from adapters.discord.service import DIGEST_FILE, DiscordService, build, check
from bot.model.errors import Unavailable
from bot.ports import Busy
from bot.settings import Settings
from tests.fakes.discord import FakeDiscord
from tests.unit.adapters.discord.conftest import running
from tests.unit.adapters.discord.scripted import Scripted, waiting


async def test_a_refused_token_turns_the_platform_off_loudly(
    settings: Settings, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = settings.model_copy(update={"discord_token": SecretStr("wrong-secret")})
    await asyncio.wait_for(build(wrong, scripted.studio).run(), 10)
    loud = [r for r in caplog.records if r.levelno >= logging.CRITICAL]
    assert ["Discord is off" in r.getMessage() for r in loud] == [True]
    assert "EASEL_DISCORD_TOKEN" in caplog.text
    assert "wrong-secret" not in caplog.text


@pytest.mark.parametrize(("code", "words"), [(4004, "token was refused"), (4014, "intents"), (4012, "code 4012")])
async def test_a_gateway_that_refuses_turns_the_platform_off_loudly(
    fake: FakeDiscord, settings: Settings, scripted: Scripted, caplog: pytest.LogCaptureFixture, code: int, words: str
) -> None:
    fake.gateway.refuse_with = code
    await asyncio.wait_for(build(settings, scripted.studio).run(), 10)
    assert words in caplog.text


async def test_an_unreachable_discord_is_tried_again_with_growing_pauses(
    fake: FakeDiscord, settings: Settings, scripted: Scripted
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 8:
            object.__setattr__(service, "_settings", settings)

    nobody = settings.model_copy(update={"discord_api_url": "http://127.0.0.1:9/api/v10"})
    service = DiscordService(nobody, scripted.studio, sleep)
    async with running(service) as task:
        while len(pauses) < 8:
            await asyncio.sleep(0)
            assert not task.done()
    assert pauses[:8] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


async def test_a_missing_gateway_is_tried_again(
    fake: FakeDiscord,
    settings: Settings,
    scripted: Scripted,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("discord.client.ExponentialBackoff.delay", lambda _self: 0.0)
    tried = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        tried.set()
        await asyncio.Event().wait()

    broken = settings.model_copy(update={"discord_gateway_url": "ws://127.0.0.1:9/gateway"})
    async with running(DiscordService(broken, scripted.studio, sleep)):
        await asyncio.wait_for(tried.wait(), 10)
    assert "gateway is away" in caplog.text
    assert "Traceback" not in caplog.text


async def test_commands_are_offered_only_when_they_changed(
    fake: FakeDiscord, settings: Settings, scripted: Scripted, tmp_path: Path
) -> None:
    for _ in range(2):
        async with running(build(settings, scripted.studio)):
            await fake.world.until(lambda: fake.gateway.connected, "a connection")
        await fake.world.until(lambda: not fake.gateway.connected, "its end")
    assert fake.world.syncs == 1
    (tmp_path / DIGEST_FILE).write_text("another\n")
    async with running(build(settings, scripted.studio)):
        await fake.world.until(lambda: fake.world.syncs == 2, "the new commands")


async def test_a_refused_sync_keeps_the_service_up_and_is_tried_at_the_next_start(
    fake: FakeDiscord, settings: Settings, scripted: Scripted, tmp_path: Path
) -> None:
    fake.rest.spoil = lambda name: 403 if name.startswith("PUT") else None
    async with running(build(settings, scripted.studio)):
        await fake.world.until(lambda: fake.gateway.connected, "a connection")
        assert "Done" not in (await (await fake.person("Ada").run("help")).answer()).text
    assert not (tmp_path / DIGEST_FILE).exists()


async def test_a_dropped_connection_resumes_and_misses_nothing(
    fake: FakeDiscord, service: DiscordService, scripted: Scripted
) -> None:
    await fake.gateway.drop()
    asked = await fake.person("Ada").draw("an apple")
    await asked.answer()
    assert (fake.gateway.identified, fake.gateway.resumed) == (1, 1)
    assert len(scripted.drawn) == 1


async def test_asked_to_reconnect_it_resumes(fake: FakeDiscord, service: DiscordService) -> None:
    await fake.gateway.ask_to_reconnect()
    await fake.world.until(lambda: fake.gateway.resumed == 1, "resuming")


async def test_a_session_that_is_over_begins_anew(fake: FakeDiscord, service: DiscordService) -> None:
    fake.gateway.forgetful = True
    await fake.gateway.drop()
    await fake.world.until(lambda: fake.gateway.identified == 2, "a new session", 30)
    await (await fake.person("Ada").draw("an apple")).answer()


async def test_closing_waits_for_answers_that_are_being_made(
    fake: FakeDiscord, settings: Settings, scripted: Scripted
) -> None:
    scripted.delay = asyncio.Event()
    async with running(build(settings, scripted.studio)) as task:
        await fake.connected()
        asked = await fake.person("Ada").draw("an apple")
        await fake.world.until(lambda: bool(scripted.drawn), "admission")
        task.cancel()
        scripted.delay.set()
    assert asked.interaction.original is not None
    assert len(scripted.bindings) == 1


async def test_after_the_end_delivery_is_told_to_wait(
    fake: FakeDiscord, settings: Settings, scripted: Scripted
) -> None:
    service = build(settings, scripted.studio)
    async with running(service):
        await fake.connected()
        card = await (await fake.person("Ada").draw("an apple")).answer()
        await fake.world.until(lambda: bool(scripted.bindings), "the message is known")
    address = scripted.bindings[0][1]
    assert address.message == str(card.id)
    with pytest.raises(Busy):
        await service.surface.edit(address, waiting(7))


async def test_a_proxy_is_used(fake: FakeDiscord, settings: Settings) -> None:
    asked: list[str] = []

    async def forward(request: web.Request) -> web.Response:
        asked.append(str(request.url))
        return web.Response(status=502)

    runner = web.ServerRunner(web.Server(forward))  # type: ignore[arg-type]  # a server hands over BaseRequest
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    through = settings.model_copy(update={"proxy": f"http://127.0.0.1:{port}"})
    checking = asyncio.create_task(check(through))
    await fake.world.until(lambda: bool(asked), "the proxy is asked")
    checking.cancel()
    await asyncio.wait({checking})
    await runner.cleanup()
    assert asked[0].startswith(settings.discord_api_url or "-")
    assert fake.rest.asked == []


async def test_a_socks_proxy_is_spoken_to(fake: FakeDiscord, settings: Settings) -> None:
    greeting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not greeting.done():
            greeting.set_result(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    through = settings.model_copy(update={"discord_proxy": f"socks5h://127.0.0.1:{port}"})
    with pytest.raises(Unavailable) as refused:
        await check(through)
    assert refused.value.key == "discord.check.away"
    assert await greeting == b"\x05"
    assert fake.rest.asked == []
    server.close()
    await server.wait_closed()


async def test_check_says_who_the_bot_is_or_what_is_wrong(fake: FakeDiscord, settings: Settings) -> None:
    assert "easel" in (await check(settings)).lower()
    for change, key in (
        ({"discord_token": SecretStr("wrong")}, "discord.check.refused"),
        ({"discord_api_url": "http://127.0.0.1:9/api/v10"}, "discord.check.away"),
        ({"discord_proxy": "ftp://proxy"}, "discord.check.proxy"),
    ):
        with pytest.raises(Unavailable) as refused:
            await check(settings.model_copy(update=change))
        assert refused.value.key == key


async def test_a_proxy_that_is_none_turns_the_platform_off(
    settings: Settings, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = settings.model_copy(update={"proxy": "ftp://proxy"})
    await asyncio.wait_for(build(wrong, scripted.studio).run(), 10)
    assert "EASEL_DISCORD_PROXY" in caplog.text
