"""When Telegram, the network or a handler fails: loud lines, growing pauses, and nothing lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.telegram.service import TelegramService, check
from bot.model.answers import Shown
from bot.model.errors import Unavailable
from bot.model.messages import Ref
from bot.present import i18n
from bot.settings import Settings
from engine.fake import FakeEngine
from tests.e2e.telegram.conftest import Start, photos
from tests.e2e.telegram.house import TelegramHouse
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_world import Chat


def settings(telegram: TelegramStandIn, **more: Any) -> Settings:
    """Settings for one Telegram."""
    return Settings(_env_file=None, **{"telegram_token": telegram.token, "telegram_api_url": telegram.url, **more})


@pytest.mark.parametrize("token", ["42:wrong", "nonsense"])
async def test_a_refused_token_turns_the_platform_off_and_says_so(
    tmp_path: Path, telegram: TelegramStandIn, caplog: pytest.LogCaptureFixture, token: str
) -> None:
    engine = FakeEngine()
    await engine.start()
    house = TelegramHouse(tmp_path, telegram, engine)
    house.settings = settings(telegram, telegram_token=token)
    await house.start()
    await house.ended()
    (line,) = [r for r in caplog.records if r.levelname == "CRITICAL"]
    assert "Telegram is off" in line.getMessage()
    assert "EASEL_TELEGRAM_TOKEN" in line.getMessage()
    assert token not in caplog.text
    assert await house.studio.healthy() == ()
    await house.stop()
    await engine.aclose()


async def test_a_second_reader_turns_the_platform_off_and_says_so(
    start: Start, telegram: TelegramStandIn, ann: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    house = await start()
    await telegram.until(lambda: telegram.polled)
    url = f"{telegram.url}/bot{telegram.token}/getUpdates"
    async with aiohttp.ClientSession() as http, http.post(url, data={"timeout": "0"}) as answer:
        assert answer.status == 200
    await house.ended()
    (line,) = [r for r in caplog.records if r.levelname == "CRITICAL"]
    assert "Another program reads this bot's messages" in line.getMessage()


async def test_a_token_that_is_revoked_meanwhile_turns_the_platform_off(
    start: Start, telegram: TelegramStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    house = await start()
    await telegram.until(lambda: telegram.polled)
    telegram.token = "43:another"
    telegram.push(
        {"message": telegram.world.add(telegram.private(telegram.person("x")), telegram.person("y"), text="z").json()}
    )
    await house.ended()
    assert "Telegram is off" in caplog.text


async def test_an_unreachable_telegram_is_tried_again_until_it_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = FakeEngine()
    await engine.start()
    telegram = TelegramStandIn()
    async with telegram.serve():
        port = int(telegram.url.rpartition(":")[2])
    house = TelegramHouse(tmp_path, telegram, engine)
    await house.start()
    async with asyncio.timeout(30):
        while caplog.text.count("can't be reached") < 3:  # noqa: ASYNC110 - log lines tell nobody that they come
            await asyncio.sleep(0.01)
    async with telegram.serve(port):
        ann = telegram.private(telegram.person("Ann"))
        telegram.writes(ann, ann.members[ann.id], "a cat")
        await telegram.until(lambda: photos(ann))
        await house.stop()
    assert telegram.token not in caplog.text
    await engine.aclose()


async def test_a_telegram_that_goes_away_for_a_while_loses_nothing(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    await start()
    await telegram.until(lambda: telegram.polled)
    for method in ("getUpdates", "sendMessage", "editMessageMedia"):
        telegram.refuse(method, 502, "Bad Gateway", times=2)
    telegram.writes(ann, ann.members[ann.id], "a cat")
    await telegram.until(lambda: photos(ann))
    await telegram.until(lambda: not telegram.updates)


class Failing:
    """Makes ``Studio.draw`` fail so many times before it works."""

    def __init__(self, house: TelegramHouse, times: float, error: Exception) -> None:
        self.calls: list[str] = []
        draw: Callable[..., Awaitable[Shown]] = house.studio.draw

        async def failing(*args: Any) -> Shown:
            ref: Ref = args[3]
            self.calls.append(ref.event)
            if len(self.calls) <= times:
                raise error
            return await draw(*args)

        self.error = error
        house.studio.draw = failing  # type: ignore[method-assign, assignment]

    async def never(self, *_: Any) -> None:
        raise self.error


async def test_an_update_is_not_confirmed_until_its_handler_has_saved(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    house = await start()
    await telegram.until(lambda: telegram.polled)
    failing = Failing(house, 2, RuntimeError("no"))
    person = ann.members[ann.id]
    telegram.writes(ann, person, "a cat")
    telegram.writes(ann, person, "a dog")
    await telegram.until(lambda: len(photos(ann)) == 2)
    assert failing.calls == ["telegram:update:1001"] * 3 + ["telegram:update:1002"]
    assert await house.count("jobs") == 2


async def test_an_update_that_always_fails_is_given_up_with_an_apology(
    start: Start, telegram: TelegramStandIn, ann: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    house = await start()
    await telegram.until(lambda: telegram.polled)
    Failing(house, 3, RuntimeError("secret inside"))
    person = ann.members[ann.id]
    telegram.writes(ann, person, "poison")
    (apology,) = await telegram.until(ann.by_bot)
    assert apology.words == i18n.text("en", "refusal.unavailable.internal")
    await telegram.until(lambda: not telegram.updates)
    telegram.writes(ann, person, "a cat")
    await telegram.until(lambda: photos(ann))
    assert "given up" in caplog.text


@pytest.mark.parametrize(
    ("key", "said"),
    [("unavailable.disk_full", "unavailable.disk_full"), ("unavailable.database.unwritable", "unavailable.storage")],
)
async def test_what_can_not_be_stored_is_said_at_once(
    start: Start, telegram: TelegramStandIn, ann: Chat, caplog: pytest.LogCaptureFixture, key: str, said: str
) -> None:
    house = await start()
    await telegram.until(lambda: telegram.polled)
    full = Failing(house, 99, Unavailable(key, path="/srv/secret/easel.db"))
    # The refusal can't be saved either.
    house.studio.post = full.never  # type: ignore[method-assign, assignment]
    telegram.writes(ann, ann.members[ann.id], "a cat")
    (answer,) = await telegram.until(ann.by_bot)
    assert answer.words == i18n.text("en", said)
    assert len(full.calls) == 1
    await telegram.until(lambda: not telegram.updates)
    assert [r for r in caplog.records if r.exc_info] == []


async def test_a_press_that_always_fails_is_answered_too(
    start: Start, telegram: TelegramStandIn, ann: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await start()
    telegram.writes(ann, ann.members[ann.id], "a cat")
    (card,) = await telegram.until(lambda: photos(ann))

    async def failing(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(house.studio, "press", failing)
    query = telegram.presses(card, ann.members[ann.id], "reroll")
    await telegram.until(lambda: query.answered)
    assert query.text == i18n.text("en", "refusal.unavailable.internal")


async def test_an_update_that_the_library_can_not_read_stops_nothing(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    await start()
    await telegram.until(lambda: telegram.polled)
    telegram.updates.append({"update_id": 1001, "message": {"message_id": "what?"}})
    next(telegram._update_ids)
    telegram.writes(ann, ann.members[ann.id], "a cat")
    await telegram.until(lambda: photos(ann))
    await telegram.until(lambda: not telegram.updates)


async def test_nothing_is_imported_or_asked_before_run(tmp_path: Path, telegram: TelegramStandIn) -> None:
    engine = FakeEngine()
    house = TelegramHouse(tmp_path, telegram, engine)
    await house.start()
    service = TelegramService(house.settings, house.studio, house.pace, house.patience)
    assert service.surface.abilities().pictures_in_card == 1
    await house.stop()
    await engine.aclose()


async def test_check_names_the_bot(telegram: TelegramStandIn) -> None:
    assert await check(settings(telegram)) == "@easel_bot"


@pytest.mark.parametrize("token", ["42:wrong", "nonsense", "a b"])
async def test_check_refuses_a_wrong_token(telegram: TelegramStandIn, token: str) -> None:
    with pytest.raises(Unavailable) as refusal:
        await check(settings(telegram, telegram_token=token))
    assert refusal.value.key == "telegram.check.refused"


async def test_check_says_what_is_in_the_way(telegram: TelegramStandIn) -> None:
    async with TelegramStandIn().serve() as gone:
        url = gone.url
    with pytest.raises(Unavailable) as refusal:
        await check(settings(telegram, telegram_api_url=url))
    assert refusal.value.key == "telegram.check.away"
    assert telegram.token not in str(refusal.value.params)
    with pytest.raises(Unavailable) as refusal:
        await check(settings(telegram, proxy="carrier-pigeon://x"))
    assert refusal.value.key == "telegram.check.proxy"


@asynccontextmanager
async def socks(seen: list[str]) -> AsyncIterator[int]:
    """A SOCKS5 proxy that leads everything to where it is asked to, and notes the hosts."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        kind = (await reader.readexactly(4))[3]
        host = (await reader.readexactly((await reader.readexactly(1))[0])).decode() if kind == 3 else ""
        if kind == 1:
            host = ".".join(str(b) for b in await reader.readexactly(4))
        port = int.from_bytes(await reader.readexactly(2), "big")
        seen.append(f"{host}:{port}")
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        await asyncio.gather(pipe(reader, back), pipe(there, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("setting", ["telegram_proxy", "proxy"])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_a_socks_proxy_is_used_for_every_call(telegram: TelegramStandIn, setting: str, scheme: str) -> None:
    seen: list[str] = []
    async with socks(seen) as port:
        name = await check(settings(telegram, **{setting: f"{scheme}://127.0.0.1:{port}"}))
    assert name == "@easel_bot"
    assert seen == [telegram.url.removeprefix("http://")]


async def test_a_proxy_that_is_down_is_said(telegram: TelegramStandIn) -> None:
    async with TelegramStandIn().serve() as gone:
        port = gone.url.rpartition(":")[2]
    with pytest.raises(Unavailable) as refusal:
        await check(settings(telegram, telegram_proxy=f"socks5://127.0.0.1:{port}"))
    assert refusal.value.key == "telegram.check.away"
