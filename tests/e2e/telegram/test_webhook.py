"""The webhook: updates come by Telegram's own calls, each with the secret token, and each is saved once."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from adapters.telegram.webhook import MAX_BODY, SECRET_HEADER
from bot.core.errors import BadInput, Unavailable
from tests.e2e.service import free_port
from tests.e2e.telegram.conftest import photos
from tests.e2e.telegram.harness import TelegramHarness
from tests.e2e.telegram.test_service import Failing, problems
from tests.fakes.engine import FakeEngine
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_world import Chat


@pytest.fixture
async def bot(tmp_path: Path, telegram: TelegramStandIn) -> AsyncIterator[TelegramHarness]:
    """An Easel with a webhook that is set."""
    engine = FakeEngine()
    await engine.start()
    harness = TelegramHarness(tmp_path, telegram, engine)
    port = free_port()
    harness.settings = harness.settings.model_copy(
        update={"webhook_url": f"http://127.0.0.1:{port}/telegram", "webhook_port": port}
    )
    harness.options = replace(harness.options, webhook_check=0.05)
    await harness.start()
    await telegram.until(lambda: telegram.world.webhook)
    yield harness
    await harness.stop()
    await harness.service.stop()
    await engine.aclose()


async def post(bot: TelegramHarness, body: bytes, secret: str | None) -> int:
    """Call the webhook as anybody can; returns the status."""
    headers = {} if secret is None else {SECRET_HEADER: secret}
    url = bot.settings.webhook_url
    assert url is not None
    async with aiohttp.ClientSession() as http, http.post(url, data=io.BytesIO(body), headers=headers) as answer:
        return answer.status


async def test_an_update_is_saved_once_however_often_it_comes(
    bot: TelegramHarness, telegram: TelegramStandIn, ann: Chat
) -> None:
    telegram.writes(ann, ann.members[ann.id], "a cat")
    again = json.dumps(telegram.updates[0]).encode()
    (card,) = await telegram.until(lambda: photos(ann))
    await telegram.until(lambda: not telegram.updates)
    assert await post(bot, again, telegram.world.webhook_secret) == 200
    query = telegram.presses(card, ann.members[ann.id], "easel:more")
    await telegram.until(lambda: query.answered)
    assert await bot.count("jobs") == 1
    assert "message" in telegram.world.webhook_kinds
    assert not any(name == "getUpdates" for name, _ in telegram.calls)


@pytest.mark.parametrize("secret", [None, "", "wrong", "\udcff"])
async def test_nobody_without_the_secret_is_heard(
    bot: TelegramHarness, telegram: TelegramStandIn, ann: Chat, secret: str | None
) -> None:
    forged = {"update_id": 9, "message": telegram.world.add(ann, ann.members[ann.id], text="a cat").json()}
    if secret == "\udcff":
        secret = "ÿ"
    assert await post(bot, json.dumps(forged).encode(), secret) == 401
    assert await bot.count("jobs") == 0


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"what?", 400), (b"[]", 400), (b"x" * (MAX_BODY + 1), 413), (b'{"update_id": 9, "message": 1}', 200)],
)
async def test_a_body_that_is_no_update_harms_nothing(
    bot: TelegramHarness, telegram: TelegramStandIn, body: bytes, status: int
) -> None:
    assert await post(bot, body, telegram.world.webhook_secret) == status


async def test_what_can_not_be_saved_comes_again(bot: TelegramHarness, telegram: TelegramStandIn, ann: Chat) -> None:
    failing = Failing(bot, 2, Unavailable("unavailable.database.locked"))
    bot.studio.post_notice = failing.never  # type: ignore[method-assign, assignment]
    telegram.writes(ann, ann.members[ann.id], "a cat")
    await telegram.until(lambda: photos(ann))
    await telegram.until(lambda: not telegram.updates)
    assert len(failing.calls) == 3
    assert await bot.count("jobs") == 1


async def test_a_webhook_that_another_program_took_is_set_again(
    bot: TelegramHarness, telegram: TelegramStandIn, ann: Chat
) -> None:
    telegram.world.webhook = "http://127.0.0.1:9/other"
    await telegram.until(lambda: telegram.world.webhook == bot.settings.webhook_url)
    telegram.writes(ann, ann.members[ann.id], "a cat")
    await telegram.until(lambda: photos(ann))


async def test_a_webhook_that_telegram_can_not_reach_is_said_until_an_update_comes(
    bot: TelegramHarness, telegram: TelegramStandIn, ann: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str | None] = []
    report = bot.studio.connection_problem

    def recorded(name: str, problem: str | None) -> None:
        said.append(problem)
        report(name, problem)

    monkeypatch.setattr(bot.studio, "connection_problem", recorded)
    monkeypatch.setattr(telegram.world, "pending", lambda: 3)
    # Telegram waits longer and longer before it tries again, and tells the same error meanwhile.
    telegram.world.webhook_failed_at = 1_700_000_000
    telegram.world.webhook_error = "SSL error"
    await problems(bot, "SSL error")
    said.clear()
    looks = [name for name, _ in telegram.calls].count("getWebhookInfo")
    await telegram.until(lambda: [name for name, _ in telegram.calls].count("getWebhookInfo") >= looks + 3)
    assert any("SSL error" in (problem or "") for problem in said)
    telegram.writes(ann, ann.members[ann.id], "a cat")
    await problems(bot, "")


async def test_a_port_that_is_taken_is_a_sentence(bot: TelegramHarness) -> None:
    with pytest.raises(BadInput) as refusal:
        await bot.service.start()
    assert refusal.value.key == "telegram.webhook.port"
    assert refusal.value.params["port"] == str(bot.settings.webhook_port)


async def test_polling_removes_a_webhook_that_this_easel_has_set(
    bot: TelegramHarness, telegram: TelegramStandIn, ann: Chat
) -> None:
    await bot.stop()
    await bot.service.stop()
    telegram.world.webhook_secret = ""
    bot.settings = bot.settings.model_copy(update={"webhook_url": None})
    await bot.start()
    telegram.writes(ann, ann.members[ann.id], "a cat")
    await telegram.until(lambda: photos(ann))
    assert telegram.world.webhook == ""
