"""Connecting: refused tokens, dropped and missing connections, commands offered once, and an end without leftovers."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import SimpleNamespace

import discord
import pytest
import yarl
from aiohttp import web
from pydantic import SecretStr

from adapters.discord.platform import PLATFORM
from adapters.discord.service import DIGEST_FILE, DiscordService, build, identify
from adapters.discord.settings import DiscordSettings
from adapters.platform import CheckContext
from bot.core.errors import Unavailable
from bot.core.ports import RetryLater
from bot.settings import Settings
from tests.fakes.discord import FakeDiscord
from tests.unit.adapters.discord.conftest import running
from tests.unit.adapters.discord.scripted import Scripted, waiting


def without_sleep() -> SimpleNamespace:
    """asyncio as a library sees it, but nothing in it waits for time."""

    async def sleep(_seconds: float, result: object = None) -> object:
        return await asyncio.sleep(0, result)

    return SimpleNamespace(**{**vars(asyncio), "sleep": sleep})


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions begin at once; Discord asks for 5 s between two."""

    async def at_once(_self: object, _shard: int | None, *, initial: bool = False) -> None:
        """Wait for nothing."""

    monkeypatch.setattr("discord.Client.before_identify_hook", at_once)


class Pauses:
    """Instead of waiting: remembers how long, and goes on when ``limit`` allows one more pause."""

    def __init__(self, limit: int = 10**9) -> None:
        self.seconds: list[float] = []
        self.limit = limit

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if len(self.seconds) >= self.limit:
            await asyncio.Event().wait()
        await asyncio.sleep(0)


def loud(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.CRITICAL]


async def test_a_refused_token_is_said_loudly_and_tried_again(
    fake: FakeDiscord, settings: DiscordSettings, core: Settings, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = settings.model_copy(update={"token": SecretStr("wrong-secret")})
    pauses = Pauses(9)
    async with running(DiscordService(wrong, core, scripted.studio, pauses)) as task:
        await fake.world.until(lambda: len(pauses.seconds) == 9, "nine tries")
        assert not task.done()
    assert pauses.seconds == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]
    assert len(loud(caplog)) == 9
    assert all("Discord is off" in line and "EASEL_DISCORD_TOKEN" in line for line in loud(caplog))
    assert scripted.problems[-1] is not None
    assert "EASEL_DISCORD_TOKEN" in scripted.problems[-1]
    assert "wrong-secret" not in caplog.text + str(scripted.problems)


@pytest.mark.parametrize("status", [401, 403, 404, 500])
async def test_a_login_that_is_refused_once_is_made_again(
    fake: FakeDiscord,
    settings: DiscordSettings,
    core: Settings,
    scripted: Scripted,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("discord.http.asyncio", without_sleep())
    fake.rest.broken = [status] * (5 if status == 500 else 1)
    async with running(DiscordService(settings, core, scripted.studio, Pauses())):
        await fake.connected()
        await (await fake.person("Ada").draw("an apple")).answer()
    assert scripted.problems[0] is not None
    assert scripted.problems[-1] is None, "it serves again, and says so"


@pytest.mark.parametrize(
    ("code", "words"),
    [(4004, "token was refused"), (4014, "intents"), (4012, "code 4012"), (4013, "code 4013"), (4010, "code 4010")],
)
async def test_a_gateway_that_refuses_once_is_asked_again(
    fake: FakeDiscord,
    settings: DiscordSettings,
    core: Settings,
    scripted: Scripted,
    caplog: pytest.LogCaptureFixture,
    code: int,
    words: str,
) -> None:
    fake.gateway.refusals = [code]
    async with running(DiscordService(settings, core, scripted.studio, Pauses())):
        await fake.connected()
        await (await fake.person("Ada").draw("an apple")).answer()
    assert any(words in line for line in loud(caplog))
    assert words in str(scripted.problems[0])
    assert scripted.problems[-1] is None


async def test_a_gateway_that_refuses_a_running_bot_is_asked_again(
    fake: FakeDiscord, settings: DiscordSettings, core: Settings, scripted: Scripted
) -> None:
    async with running(DiscordService(settings, core, scripted.studio, Pauses())):
        await fake.connected()
        await fake.gateway.drop(code=4004)
        await fake.world.until(lambda: fake.gateway.identified == 2, "a new session")
        await (await fake.person("Ada").draw("an apple")).answer()
    assert "token was refused" in str(scripted.problems)
    assert scripted.problems[-1] is None


@pytest.mark.usefixtures("hurried")
async def test_a_shard_that_stays_away_is_a_problem_until_it_is_back(
    fake: FakeDiscord, service: DiscordService, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("discord.shard.ExponentialBackoff.delay", lambda _self: 0.01)
    monkeypatch.setattr("adapters.discord.client.GRACE_SECONDS", 0.0)
    scripted.problems.clear()
    fake.gateway.away = True
    await fake.gateway.drop()
    await fake.world.until(lambda: "connection" in str(scripted.problems), "the problem")
    fake.gateway.away = False
    await fake.world.until(lambda: scripted.problems[-1] is None, "the end of the problem")
    await (await fake.person("Ada").draw("an apple")).answer()


async def test_a_stop_in_the_middle_of_a_reconnect_ends_the_service(
    fake: FakeDiscord, settings: DiscordSettings, core: Settings, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconnecting = asyncio.Event()

    async def never(*_: object, **__: object) -> None:
        reconnecting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(build(settings, core, scripted.studio).run())
    await fake.connected()
    monkeypatch.setattr("discord.shard.DiscordWebSocket.from_client", never)
    await fake.gateway.drop()
    await asyncio.wait_for(reconnecting.wait(), 30)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=30)
    assert done


@pytest.mark.parametrize("shards", [2, 3])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.usefixtures("hurried")
async def test_a_gateway_that_asks_for_shards_gets_them(
    fake: FakeDiscord, settings: DiscordSettings, core: Settings, scripted: Scripted, shards: int, named: bool
) -> None:
    fake.world.shards = shards
    if not named:
        settings = settings.model_copy(update={"gateway_url": None})
    async with running(DiscordService(settings, core, scripted.studio, Pauses())):
        await fake.world.until(lambda: len(fake.gateway.shards) == shards, "every shard")
        assert fake.gateway.shards == {(n, shards) for n in range(shards)}
        ada = fake.person("Ada")
        await (await ada.draw("an apple")).answer()
        await (await ada.draw("a pear", channel=fake.world.direct(ada.user))).answer()
    assert len(scripted.drawn) == 2


@pytest.mark.usefixtures("hurried")
async def test_the_address_of_the_settings_wins_over_discords_own(
    fake: FakeDiscord, settings: DiscordSettings, core: Settings, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = "ws://127.0.0.1:9/elsewhere"
    monkeypatch.setattr(fake.rest, "gateway_url", lambda: nowhere)
    fake.gateway.resume_at = nowhere
    fake.world.shards = 2
    async with running(DiscordService(settings, core, scripted.studio, Pauses())):
        await fake.world.until(lambda: len(fake.gateway.shards) == 2, "both shards")
        await fake.connected()
        await (await fake.person("Ada").draw("an apple")).answer()
        await fake.gateway.drop()
        await fake.world.until(lambda: fake.gateway.resumed == 2, "the old sessions")


async def test_no_session_is_begun_above_discords_daily_limit(
    fake: FakeDiscord, settings: DiscordSettings, core: Settings, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    fake.rest.sessions, pauses = 0, Pauses(1)
    async with running(DiscordService(settings, core, scripted.studio, pauses)):
        await fake.world.until(lambda: pauses.seconds != [], "a pause")
    assert pauses.seconds == [60.0]
    assert fake.gateway.identified == 0
    assert scripted.is_refused
    assert "no more sessions" in loud(caplog)[0]


@pytest.mark.usefixtures("hurried")
async def test_shards_come_also_where_nobody_says_how_many(
    fake: FakeDiscord, settings: DiscordSettings, core: Settings, scripted: Scripted
) -> None:
    fake.rest.spoil = lambda name: 404 if "/gateway/bot" in name else None
    fake.world.shards = 3
    async with running(DiscordService(settings, core, scripted.studio, Pauses())):
        await fake.world.until(lambda: len(fake.gateway.shards) == 4, "enough shards")


async def test_an_unreachable_discord_is_tried_again_with_growing_pauses(
    fake: FakeDiscord, settings: DiscordSettings, core: Settings, scripted: Scripted
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 8:
            object.__setattr__(service, "_settings", settings)

    nobody = settings.model_copy(update={"api_url": "http://127.0.0.1:9/api/v10"})
    service = DiscordService(nobody, core, scripted.studio, sleep)
    async with running(service) as task:
        while len(pauses) < 8:
            await asyncio.sleep(0)
            assert not task.done()
    assert pauses[:8] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


async def test_a_missing_gateway_is_tried_again(
    fake: FakeDiscord,
    settings: DiscordSettings,
    core: Settings,
    scripted: Scripted,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("discord.shard.asyncio", without_sleep())
    tried = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        tried.set()
        await asyncio.Event().wait()

    broken = settings.model_copy(update={"gateway_url": "ws://127.0.0.1:9/gateway"})
    async with running(DiscordService(broken, core, scripted.studio, sleep)):
        await asyncio.wait_for(tried.wait(), 10)
    assert "gateway is away" in caplog.text
    assert "Traceback" not in caplog.text
    assert "gateway" in str(scripted.problems[-1])


async def test_commands_are_offered_only_when_they_changed(
    fake: FakeDiscord, settings: DiscordSettings, core: Settings, scripted: Scripted, tmp_path: Path
) -> None:
    for _ in range(2):
        async with running(build(settings, core, scripted.studio)):
            await fake.world.until(lambda: fake.gateway.connected, "a connection")
        await fake.world.until(lambda: not fake.gateway.connected, "its end")
    assert fake.world.syncs == 1
    (tmp_path / DIGEST_FILE).write_text("another\n")
    async with running(build(settings, core, scripted.studio)):
        await fake.world.until(lambda: fake.world.syncs == 2, "the new commands")


async def test_a_refused_sync_keeps_the_service_up_and_is_tried_at_the_next_start(
    fake: FakeDiscord, settings: DiscordSettings, core: Settings, scripted: Scripted, tmp_path: Path
) -> None:
    fake.rest.spoil = lambda name: 403 if name.startswith("PUT") else None
    async with running(build(settings, core, scripted.studio)):
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


@pytest.mark.usefixtures("hurried")
async def test_a_session_that_is_over_begins_anew(fake: FakeDiscord, service: DiscordService) -> None:
    await fake.world.until(lambda: fake.gateway.presences == {0: ["Type /draw"]}, "the presence")
    fake.gateway.forgetful = True
    await fake.gateway.drop()
    await fake.world.until(lambda: fake.gateway.identified == 2, "a new session", 30)
    await (await fake.person("Ada").draw("an apple")).answer()


async def test_closing_waits_for_answers_that_are_being_made(
    fake: FakeDiscord, settings: DiscordSettings, core: Settings, scripted: Scripted
) -> None:
    scripted.delay = asyncio.Event()
    async with running(build(settings, core, scripted.studio)) as task:
        await fake.connected()
        asked = await fake.person("Ada").draw("an apple")
        await fake.world.until(lambda: bool(scripted.drawn), "admission")
        task.cancel()
        scripted.delay.set()
    assert asked.interaction.original is not None
    assert len(scripted.bindings) == 1


async def test_an_answer_that_comes_after_the_end_is_left_to_delivery(
    fake: FakeDiscord,
    settings: DiscordSettings,
    core: Settings,
    scripted: Scripted,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("adapters.discord.service.DRAIN_SECONDS", 0.0)
    scripted.delay = asyncio.Event()
    async with running(build(settings, core, scripted.studio)):
        await fake.connected()
        await fake.person("Ada").draw("an apple")
        await fake.world.until(lambda: bool(scripted.drawn), "admission")
    scripted.delay.set()
    await fake.world.until(lambda: bool(scripted.unbindings), "delivery has it")
    assert scripted.unbindings == [7]
    assert "Traceback" not in caplog.text


async def test_after_the_end_delivery_is_told_to_wait(
    fake: FakeDiscord, settings: DiscordSettings, core: Settings, scripted: Scripted
) -> None:
    service = build(settings, core, scripted.studio)
    async with running(service):
        await fake.connected()
        card = await (await fake.person("Ada").draw("an apple")).answer()
        await fake.world.until(lambda: bool(scripted.bindings), "the message is known")
    address = scripted.bindings[0][1]
    assert address.message == str(card.id)
    with pytest.raises(RetryLater):
        await service.surface.edit(address, waiting(7))


async def test_a_proxy_is_used(fake: FakeDiscord, settings: DiscordSettings, core: Settings) -> None:
    asked: list[str] = []

    async def forward(request: web.Request) -> web.Response:
        asked.append(str(request.url))
        return web.Response(status=502)

    runner = web.ServerRunner(web.Server(forward))  # type: ignore[arg-type]  # a server hands over BaseRequest
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    through = core.model_copy(update={"proxy": f"http://127.0.0.1:{port}"})
    checking = asyncio.create_task(identify(settings, through))
    await fake.world.until(lambda: bool(asked), "the proxy is asked")
    checking.cancel()
    await asyncio.wait({checking})
    await runner.cleanup()
    assert asked[0].startswith(settings.api_url or "-")
    assert fake.rest.asked == []


async def test_a_socks_proxy_is_spoken_to(fake: FakeDiscord, settings: DiscordSettings, core: Settings) -> None:
    greeting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not greeting.done():
            greeting.set_result(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    through = settings.model_copy(update={"proxy": f"socks5h://127.0.0.1:{port}"})
    with pytest.raises(Unavailable) as refused:
        await identify(through, core)
    assert refused.value.key == "discord.check.away"
    assert await greeting == b"\x05"
    assert fake.rest.asked == []
    server.close()
    await server.wait_closed()


async def test_the_doctor_prints_the_link_where_the_token_is_taken(
    fake: FakeDiscord, settings: DiscordSettings, core: Settings
) -> None:
    async def lines(settings: DiscordSettings) -> list[tuple[str, bool]]:
        context = CheckContext(core, lambda: None)
        return [(line.name, line.ok) async for line in PLATFORM.check(settings, context)]

    assert await lines(settings) == [("discord", True), ("invite", True)]
    assert await lines(settings.model_copy(update={"token": SecretStr("wrong")})) == [("discord", False)]
    assert await lines(settings.model_copy(update={"token": None})) == [("discord", True)]


async def test_check_says_who_the_bot_is_or_what_is_wrong(
    fake: FakeDiscord, settings: DiscordSettings, core: Settings
) -> None:
    name, link = await identify(settings, core)
    assert "easel" in name.lower()
    asked = yarl.URL(link)
    assert asked.query["client_id"] == str(fake.world.application_id)
    assert set(asked.query["scope"].split()) == {"bot", "applications.commands"}
    rights = {name for name, on in discord.Permissions(int(asked.query["permissions"])) if on}
    assert rights == {"read_messages", "send_messages", "send_messages_in_threads", "attach_files"}
    for change, key in (
        ({"token": SecretStr("wrong")}, "discord.check.refused"),
        ({"api_url": "http://127.0.0.1:9/api/v10"}, "discord.check.away"),
        ({"proxy": "ftp://proxy"}, "discord.check.proxy"),
    ):
        with pytest.raises(Unavailable) as refused:
            await identify(settings.model_copy(update=change), core)
        assert refused.value.key == key


async def test_a_proxy_that_is_none_is_said_loudly(
    fake: FakeDiscord, settings: DiscordSettings, core: Settings, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = settings.model_copy(update={"proxy": "ftp://proxy"})
    pauses = Pauses(1)
    async with running(DiscordService(wrong, core, scripted.studio, pauses)):
        await fake.world.until(lambda: pauses.seconds != [], "a try")
    assert "EASEL_DISCORD_PROXY" in loud(caplog)[0]
    assert "EASEL_DISCORD_PROXY" in str(scripted.problems)
