"""Who is an administrator: asked seldom, read leniently, and never an error that stops a handler."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.telegram.admins import Admins
from bot.core.errors import NotAllowed
from tests.fakes.telegram_world import Chat
from tests.unit.adapters.telegram.conftest import Hand, Wire

BOSS, BOB = 501, 502


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def admins(wire: Wire, clock: Hand) -> Admins:
    return Admins(wire.bot, clock=clock)


@pytest.fixture
def group(wire: Wire) -> Chat:
    boss, bob = wire.telegram.person("Boss"), wire.telegram.person("Bob")
    return wire.telegram.group("Painters", bob, admin=boss)


def asked(wire: Wire) -> int:
    """How often Telegram was asked, whatever it said."""
    names = [name for name, _ in wire.telegram.calls] + [name for name, _ in wire.telegram.refused]
    return names.count("getChatMember")


async def test_an_answer_counts_for_a_minute(wire: Wire, group: Chat, admins: Admins, clock: Hand) -> None:
    assert await admins.includes(group.id, BOSS)
    assert not await admins.includes(group.id, BOB)
    assert await admins.includes(group.id, BOSS)
    assert asked(wire) == 2
    group.admins.clear()
    clock.now += 61
    assert not await admins.includes(group.id, BOSS)


async def test_nothing_counts_but_the_status(wire: Wire, group: Chat, admins: Admins) -> None:
    wire.telegram.loose = group.bare_admins = True
    assert await admins.includes(group.id, BOSS)


@pytest.mark.parametrize(
    ("status", "more"), [(400, {}), (403, {}), (401, {}), (404, {}), (500, {}), (429, {"retry_after": 30})]
)
async def test_a_refusal_is_a_sentence_and_is_not_asked_again_at_once(
    wire: Wire, group: Chat, admins: Admins, clock: Hand, status: int, more: dict[str, Any]
) -> None:
    wire.telegram.refuse("getChatMember", status, "no", **more)
    for _ in range(3):
        with pytest.raises(NotAllowed) as refusal:
            await admins.includes(group.id, BOSS)
        assert refusal.value.key == "telegram.admin_unclear"
    assert asked(wire) == 1
    clock.now += 31
    assert await admins.includes(group.id, BOSS)


async def test_flood_control_counts_for_every_group(wire: Wire, group: Chat, admins: Admins, clock: Hand) -> None:
    other = wire.telegram.group("Sculptors", admin=wire.telegram.person("Carl"))
    wire.telegram.refuse("getChatMember", 429, "Too Many Requests: retry after 30", retry_after=30)
    for chat, user in ((group.id, BOSS), (other.id, 503)):
        with pytest.raises(NotAllowed):
            await admins.includes(chat, user)
    assert asked(wire) == 1
    clock.now += 31
    assert await admins.includes(other.id, 503)


async def test_a_chat_that_refuses_holds_up_no_other_question(wire: Wire, group: Chat, admins: Admins) -> None:
    with pytest.raises(NotAllowed):
        await admins.includes(-99999, BOSS)
    assert await admins.includes(group.id, BOSS)
