"""When Telegram, the network or a handler fails: loud lines, growing pauses, and nothing lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.cli.clock import SystemClock
from adapters.telegram.client import identify
from adapters.telegram.service import TelegramService
from adapters.telegram.settings import TelegramSettings
from bot.cards import i18n
from bot.core.cards import Card
from bot.core.errors import Unavailable
from bot.core.messages import EventRef
from bot.settings import Settings
from tests.e2e.telegram.conftest import Start, photos
from tests.e2e.telegram.harness import TelegramHarness
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_world import Chat


def settings(telegram: TelegramStandIn, **more: Any) -> TelegramSettings:
    """Settings for one Telegram."""
    return TelegramSettings(_env_file=None, **{"token": telegram.token, "api_url": telegram.url, **more})


CORE = Settings(_env_file=None)


async def test_a_token_that_can_not_be_one_turns_the_platform_off_and_says_so(
    tmp_path: Path, telegram: TelegramStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    engine = FakeEngine()
    await engine.start()
    bot = TelegramHarness(tmp_path, telegram, engine)
    bot.settings = settings(telegram, token="nonsense")
    await bot.start()
    await bot.ended()
    (line,) = [r for r in caplog.records if r.levelname == "CRITICAL"]
    assert "Telegram is off" in line.getMessage()
    assert "EASEL_TELEGRAM_TOKEN" in line.getMessage()
    assert "nonsense" not in caplog.text
    (problem,) = await bot.studio.problems()
    assert "EASEL_TELEGRAM_TOKEN" in problem
    await bot.stop()
    await engine.aclose()


async def problems(bot: TelegramHarness, words: str) -> None:
    """Wait until what keeps this Easel from drawing contains these words; empty: until nothing does."""
    async with asyncio.timeout(30):
        while True:
            found = await bot.studio.problems()
            if (words and words in str(found)) or not (words or found):
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("method", ["getMe", "getUpdates"])
@pytest.mark.parametrize(("status", "description"), [(401, "Unauthorized"), (404, "Not Found")])
async def test_a_refusal_is_said_and_tried_again(
    start: Start,
    telegram: TelegramStandIn,
    ann: Chat,
    caplog: pytest.LogCaptureFixture,
    method: str,
    status: int,
    description: str,
) -> None:
    telegram.refuse(method, status, description, times=float("inf"))
    bot = await start()
    await problems(bot, "EASEL_TELEGRAM_TOKEN")
    telegram.mend()
    telegram.writes(ann, ann.members[ann.id], "a cat")
    await telegram.until(lambda: photos(ann))
    await problems(bot, "")
    assert "Telegram is off" in caplog.text
    assert telegram.token not in caplog.text


async def test_a_second_reader_is_said_and_waited_for(
    start: Start, telegram: TelegramStandIn, ann: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    bot = await start()
    await telegram.until(lambda: telegram.polled)
    url = f"{telegram.url}/bot{telegram.token}/getUpdates"
    async with aiohttp.ClientSession() as http, http.post(url, data={"timeout": "0"}) as answer:
        assert answer.status == 200
    await telegram.until(lambda: ("getUpdates", 409) in telegram.refused)
    telegram.writes(ann, ann.members[ann.id], "a cat")
    await telegram.until(lambda: photos(ann))
    await problems(bot, "")
    (line,) = [r for r in caplog.records if r.levelname == "CRITICAL"]
    assert "Another program reads this bot's messages" in line.getMessage()


async def test_a_webhook_that_was_left_over_is_removed(
    start: Start, telegram: TelegramStandIn, ann: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    telegram.world.webhook = "https://example.org/old"
    telegram.writes(ann, ann.members[ann.id], "a cat")
    await start()
    await telegram.until(lambda: photos(ann))
    assert "webhook" in caplog.text
    assert [p for name, p in telegram.calls if name == "deleteWebhook"] == [{"drop_pending_updates": False}]


async def test_a_webhook_that_comes_again_is_removed_once_and_then_waited_out(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    telegram.world.webhook = "https://example.org/old"
    bot = await start()
    await telegram.until(lambda: telegram.polled)
    # Another program sets its own: the two must not take the updates from each other for ever.
    telegram.sets_webhook("https://example.org/other")
    telegram.writes(ann, ann.members[ann.id], "a cat")
    await telegram.until(lambda: telegram.refused.count(("getUpdates", 409)) >= 3)
    await problems(bot, "webhook")
    telegram.world.webhook = ""
    await telegram.until(lambda: photos(ann))
    await problems(bot, "")
    assert len([name for name, _ in telegram.calls if name == "deleteWebhook"]) == 1


@pytest.mark.parametrize("method", ["getMe", "getUpdates"])
@pytest.mark.parametrize(("status", "description"), [(400, "Bad Request: logged out"), (403, "Forbidden: no")])
async def test_no_refusal_turns_the_platform_off(
    start: Start, telegram: TelegramStandIn, ann: Chat, method: str, status: int, description: str
) -> None:
    telegram.refuse(method, status, description, times=3)
    bot = await start()
    await problems(bot, description)
    telegram.writes(ann, ann.members[ann.id], "a cat")
    await telegram.until(lambda: photos(ann))
    await problems(bot, "")


async def test_the_first_sign_comes_before_the_answer(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    bot = await start()
    await telegram.until(lambda: telegram.polled)
    group = telegram.group("Painters", telegram.person("Bob"))
    bob = next(iter(group.members.values()))
    telegram.privacy = False
    full = Failing(bot, 99, Unavailable("unavailable.disk_full"))
    bot.studio.post_notice = full.never  # type: ignore[method-assign, assignment]
    telegram.writes(ann, ann.members[ann.id], "a cat")
    telegram.writes(group, bob, "I like cats")
    telegram.writes(group, bob, "/draw@easel_bot a cat")
    await telegram.until(lambda: ann.actions == ["typing"] and group.actions == ["typing"])


async def test_menus_that_telegram_puts_off_are_set_later(start: Start, telegram: TelegramStandIn) -> None:
    telegram.refuse("setMyCommands", 429, "Too Many Requests: retry after 1", retry_after=1)
    await start()
    await telegram.until(lambda: len(telegram.world.commands) == 6)


async def test_a_slow_answer_holds_nobody_else_up(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    bot = await start()
    bob = telegram.person("Bob")
    group = telegram.group("Painters", admin=bob)
    telegram.held.add("getChatMember")
    telegram.writes(group, bob, "/quota set 3/day")
    await telegram.until(lambda: any(name == "getChatMember" for name, _ in telegram.calls))
    telegram.writes(ann, ann.members[ann.id], "a cat")
    telegram.writes(group, ann.members[ann.id], "/draw a dog")
    await telegram.until(lambda: photos(ann) and photos(group))
    # It is not saved, so it is not confirmed, and neither is anything behind it.
    assert telegram.updates[0]["update_id"] == 1001
    telegram.answer("getChatMember")
    await telegram.until(lambda: not telegram.updates)
    assert await bot.count("policies") == 1
    assert await bot.count("jobs") == 2


async def test_slow_answers_in_any_number_hold_nobody_up(start: Start, telegram: TelegramStandIn, ann: Chat) -> None:
    """Each handler that waits for Telegram leaves its place to others."""
    bot = await start()
    telegram.held.add("getChatMember")
    bosses = [telegram.person(f"Boss {n}") for n in range(20)]
    groups = [telegram.group(f"Group {n}", admin=boss) for n, boss in enumerate(bosses)]
    for group, boss in zip(groups, bosses, strict=True):
        telegram.writes(group, boss, "/quota set 3/day")
    telegram.writes(ann, ann.members[ann.id], "a cat")
    await telegram.until(lambda: photos(ann))
    telegram.answer("getChatMember")
    await telegram.until(lambda: not telegram.updates)
    assert await bot.count("policies") == 20


async def test_a_press_behind_many_messages_is_answered_before_them(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    bot = await start()
    person = ann.members[ann.id]
    telegram.writes(ann, person, "a cat")
    (card,) = await telegram.until(lambda: photos(ann))
    await telegram.until(lambda: telegram.polled and not telegram.updates)
    draw: Callable[..., Awaitable[Card]] = bot.studio.draw_or_write
    admitted: list[str] = []
    before: list[int] = []

    async def counted(*args: Any) -> Card:
        shown = await draw(*args)
        admitted.append(args[3].event)
        return shown

    bot.studio.draw_or_write = counted  # type: ignore[method-assign, assignment]
    for n in range(120):
        chat = telegram.private(telegram.person(f"Person {n}"))
        telegram.writes(chat, chat.members[chat.id], "a dog")
    query = telegram.presses(card, person, "easel:more")

    def answered() -> bool:
        if query.answered and not before:
            before.append(len(admitted))
        return query.answered

    await telegram.until(answered)
    # Telegram tells a hundred at a time; the rest is asked for once a few of them are saved.
    assert before[0] < 60
    await telegram.until(lambda: len(admitted) == 120)


async def test_what_could_be_shown_nowhere_is_said_at_the_next_message(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    gate = StepGate()
    await start(gate)
    person = ann.members[ann.id]
    telegram.writes(ann, person, "a cat")
    await telegram.until(ann.by_bot)
    ann.blocked = True
    gate.open()
    await telegram.until(lambda: ("sendPhoto", 403) in telegram.refused)
    ann.blocked = False
    for _ in range(2):
        telegram.writes(ann, person, "/help")
    await telegram.until(lambda: [m for m in ann.by_bot() if "could not be shown" in m.words])
    await telegram.until(lambda: not telegram.updates)
    assert len([m for m in ann.by_bot() if "could not be shown" in m.words]) == 1


async def test_a_clock_that_jumps_back_stops_no_answer(
    start: Start, telegram: TelegramStandIn, ann: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    await start()
    person = ann.members[ann.id]
    telegram.writes(ann, person, "a cat")
    await telegram.until(lambda: photos(ann))
    now = time.time
    for days in (2, 400):
        monkeypatch.setattr(SystemClock, "now", lambda _, days=days: now() - days * 86400)
        seen = len(photos(ann))
        telegram.writes(ann, person, "a dog")
        await telegram.until(lambda seen=seen: len(photos(ann)) == seen + 1)  # type: ignore[misc]


async def test_an_unreachable_telegram_is_tried_again_until_it_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = FakeEngine()
    await engine.start()
    telegram = TelegramStandIn()
    async with telegram.serve():
        port = int(telegram.url.rpartition(":")[2])
    bot = TelegramHarness(tmp_path, telegram, engine)
    await bot.start()
    async with asyncio.timeout(30):
        while caplog.text.count("can't be reached") < 3:  # noqa: ASYNC110 - log lines tell nobody that they come
            await asyncio.sleep(0.01)
    async with telegram.serve(port):
        ann = telegram.private(telegram.person("Ann"))
        telegram.writes(ann, ann.members[ann.id], "a cat")
        await telegram.until(lambda: photos(ann))
        await bot.stop()
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
    """Makes ``Studio.draw_or_write`` fail ``times`` times before it works."""

    def __init__(self, bot: TelegramHarness, times: float, error: Exception) -> None:
        self.calls: list[str] = []
        draw: Callable[..., Awaitable[Card]] = bot.studio.draw_or_write

        async def failing(*args: Any) -> Card:
            ref: EventRef = args[3]
            self.calls.append(ref.event)
            if len(self.calls) <= times:
                raise error
            return await draw(*args)

        self.error = error
        bot.studio.draw_or_write = failing  # type: ignore[method-assign, assignment]

    async def never(self, *_: Any) -> None:
        raise self.error


async def test_an_update_is_not_confirmed_until_its_handler_has_saved(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    bot = await start()
    await telegram.until(lambda: telegram.polled)
    error = Unavailable("unavailable.disk_full")
    failing = Failing(bot, 4, error)
    post: Callable[..., Awaitable[None]] = bot.studio.post_notice

    async def failing_post(*args: Any) -> None:
        if len(failing.calls) <= 4:
            raise error
        await post(*args)

    bot.studio.post_notice = failing_post  # type: ignore[method-assign, assignment]
    person = ann.members[ann.id]
    telegram.writes(ann, person, "a cat")
    telegram.writes(ann, person, "a dog")
    await telegram.until(lambda: len(photos(ann)) == 2)
    assert failing.calls == ["telegram:update:1001"] * 5 + ["telegram:update:1002"]
    assert await bot.count("jobs") == 2
    # The sender is told once, and at once.
    (told,) = await telegram.until(lambda: [m for m in ann.by_bot() if m.photo is None])
    assert told.words == f"{i18n.text('en', 'unavailable.disk_full')} {i18n.text('en', 'telegram.held')}"


async def test_an_update_that_fails_is_answered_and_passed_at_once(
    start: Start, telegram: TelegramStandIn, ann: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    bot = await start()
    await telegram.until(lambda: telegram.polled)
    failing = Failing(bot, 1, OverflowError("Python int too large to convert to SQLite INTEGER"))
    bob = telegram.private(telegram.person("Bob"))
    telegram.writes(ann, ann.members[ann.id], "poison")
    telegram.writes(bob, bob.members[bob.id], "a cat")
    await telegram.until(lambda: photos(bob))
    (apology,) = await telegram.until(ann.by_bot)
    assert apology.words == i18n.text("en", "refusal.unavailable.internal")
    await telegram.until(lambda: not telegram.updates)
    assert len(failing.calls) == 2
    assert "passed over" in caplog.text


@pytest.mark.parametrize("status", [400, 403, 429])
async def test_a_press_whose_rights_telegram_does_not_tell_is_answered(
    start: Start, telegram: TelegramStandIn, ann: Chat, status: int
) -> None:
    await start()
    person = ann.members[ann.id]
    group = telegram.group("Painters", person)
    telegram.writes(group, person, "/draw a cat")
    (card,) = await telegram.until(lambda: photos(group))
    telegram.refuse("getChatMember", status, "no", times=float("inf"), **({"retry_after": 60} if status == 429 else {}))
    query = telegram.sends_press(card, person, "easel:hide:1")
    await telegram.until(lambda: query.answered)
    assert query.text == i18n.text("en", "telegram.admin_unclear")
    await telegram.until(lambda: not telegram.updates)


@pytest.mark.parametrize(
    ("key", "said"),
    [("unavailable.disk_full", "unavailable.disk_full"), ("unavailable.database.unwritable", "unavailable.storage")],
)
async def test_what_can_not_be_stored_is_said_at_once(
    start: Start, telegram: TelegramStandIn, ann: Chat, caplog: pytest.LogCaptureFixture, key: str, said: str
) -> None:
    bot = await start()
    await telegram.until(lambda: telegram.polled)
    full = Failing(bot, 99, Unavailable(key, path="/srv/secret/easel.db"))
    # The refusal can't be saved either.
    bot.studio.post_notice = full.never  # type: ignore[method-assign, assignment]
    telegram.writes(ann, ann.members[ann.id], "a cat")
    (answer,) = await telegram.until(ann.by_bot)
    assert answer.words == f"{i18n.text('en', said)} {i18n.text('en', 'telegram.held')}"
    assert len(telegram.updates) == 1
    assert [r for r in caplog.records if r.exc_info] == []


async def test_so_much_that_can_not_be_stored_keeps_nobody_from_being_told(
    start: Start, telegram: TelegramStandIn, ann: Chat
) -> None:
    """Telegram tells 100 updates at a time: those that wait must leave room for others' to be answered."""
    bot = await start()
    await telegram.until(lambda: telegram.polled)
    full = Failing(bot, float("inf"), Unavailable("unavailable.disk_full"))
    bot.studio.post_notice = full.never  # type: ignore[method-assign, assignment]
    chats = [telegram.private(telegram.person(f"Person {n}")) for n in range(130)]
    for chat in chats:
        telegram.writes(chat, chat.members[chat.id], "a cat")
    await telegram.until(lambda: all(chat.by_bot() for chat in chats))


async def test_a_press_that_always_fails_is_answered_too(
    start: Start, telegram: TelegramStandIn, ann: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = await start()
    telegram.writes(ann, ann.members[ann.id], "a cat")
    (card,) = await telegram.until(lambda: photos(ann))

    async def failing(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(bot.studio, "press", failing)
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
    bot = TelegramHarness(tmp_path, telegram, engine)
    await bot.start()
    service = TelegramService(bot.settings, bot.core, bot.studio, bot.rate_limiter, bot.options)
    assert service.surface.abilities().pictures_in_card == 1
    await bot.stop()
    await engine.aclose()


async def test_check_names_the_bot(telegram: TelegramStandIn) -> None:
    assert await identify(settings(telegram), CORE) == "@easel_bot"


@pytest.mark.parametrize("token", ["42:wrong", "nonsense", "a b"])
async def test_check_refuses_a_wrong_token(telegram: TelegramStandIn, token: str) -> None:
    with pytest.raises(Unavailable) as refusal:
        await identify(settings(telegram, token=token), CORE)
    assert refusal.value.key == "telegram.check.refused"


async def test_check_says_what_is_in_the_way(telegram: TelegramStandIn) -> None:
    async with TelegramStandIn().serve() as gone:
        url = gone.url
    with pytest.raises(Unavailable) as refusal:
        await identify(settings(telegram, api_url=url), CORE)
    assert refusal.value.key == "telegram.check.away"
    assert telegram.token not in str(refusal.value.params)
    with pytest.raises(Unavailable) as refusal:
        await identify(settings(telegram, proxy="carrier-pigeon://x"), CORE)
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


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_a_socks_proxy_is_used_for_every_call(telegram: TelegramStandIn, own: bool, scheme: str) -> None:
    seen: list[str] = []
    async with socks(seen) as port:
        proxy = f"{scheme}://127.0.0.1:{port}"
        core = CORE if own else CORE.model_copy(update={"proxy": proxy})
        name = await identify(settings(telegram, proxy=proxy if own else None), core)
    assert name == "@easel_bot"
    assert seen == [telegram.url.removeprefix("http://")]


async def test_a_proxy_that_is_down_is_said(telegram: TelegramStandIn) -> None:
    async with TelegramStandIn().serve() as gone:
        port = gone.url.rpartition(":")[2]
    with pytest.raises(Unavailable) as refusal:
        await identify(settings(telegram, proxy=f"socks5://127.0.0.1:{port}"), CORE)
    assert refusal.value.key == "telegram.check.away"
