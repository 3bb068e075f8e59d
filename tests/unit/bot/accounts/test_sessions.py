"""Sessions: what opens one, what it stands for, and what ends it."""

from __future__ import annotations

import pytest

from bot.accounts.sessions import (
    ADMIN_SECONDS,
    IDLE_SECONDS,
    LINK_SECONDS,
    LONGEST_SECONDS,
    TOUCH_SECONDS,
    create_chat_link,
)
from bot.core.errors import NotAllowed, NotFound, Unavailable
from bot.core.people import Actor, Place
from bot.core.sign_in import PAGE_OWNER, Identity, NewSession, SignInMethod
from bot.moderation import bans
from bot.moderation.bans import BanTarget
from tests.unit.bot.conftest import ADA, ALONE, BOB, HERE, OWNER, World

PAGE_TOKEN = "t" * 32


async def link(world: World, actor: Actor = ADA, place: Place = ALONE, *, admin: bool = False) -> str:
    async with world.db.write() as tx:
        return await create_chat_link(tx, actor, place, admin=admin, now=world.clock.now())


async def opened(world: World, actor: Actor = ADA, place: Place = ALONE, *, admin: bool = False) -> NewSession:
    return await world.studio.accounts.sessions.open_by_link(await link(world, actor, place, admin=admin))


async def identity(world: World, token: str) -> Identity | None:
    return await world.studio.accounts.sessions.identity(token, PAGE_TOKEN)


async def test_a_link_from_a_chat_acts_as_the_same_account(world: World) -> None:
    session = await opened(world)
    found = await identity(world, session.token)
    assert found is not None
    assert (found.actor.platform, found.actor.user_id, found.actor.name) == ("chat", "1", "Ada")
    assert not found.actor.is_owner
    assert not found.actor.is_admin
    assert found.method is SignInMethod.LINK
    assert await world.count("people") == 1
    assert await identity(world, session.token + "x") is None
    assert await identity(world, "") is None


async def test_a_link_works_once_and_not_for_long(world: World) -> None:
    token = await link(world)
    for _ in range(3):
        # Looking at it, as the preview of a chat does, does not use it up.
        assert (await world.studio.accounts.sessions.find_link(token)).name == "Ada"
    await world.studio.accounts.sessions.open_by_link(token)
    with pytest.raises(NotFound):
        await world.studio.accounts.sessions.open_by_link(token)
    token = await link(world)
    world.clock.advance(LINK_SECONDS)
    with pytest.raises(NotFound):
        await world.studio.accounts.sessions.find_link(token)
    with pytest.raises(NotFound):
        await world.studio.accounts.sessions.open_by_link(token)


async def test_a_new_link_ends_the_one_before(world: World) -> None:
    first, second = await link(world), await link(world)
    with pytest.raises(NotFound):
        await world.studio.accounts.sessions.open_by_link(first)
    assert await world.studio.accounts.sessions.open_by_link(second)


async def test_no_secret_is_stored(world: World) -> None:
    used, unused = await opened(world), await link(world, BOB)
    async with world.db.read() as tx:
        for table in ("sessions", "sign_in_links"):
            rows = [list(row) for row in await tx.execute_fetchall(f"SELECT * FROM {table}")]
            assert rows
            assert used.token not in str(rows)
            assert unused not in str(rows)


async def test_a_session_ends_without_use_and_in_any_case_in_the_end(world: World) -> None:
    idle, used = await opened(world), await opened(world, BOB)
    for _ in range(int(LONGEST_SECONDS / IDLE_SECONDS * 2)):
        assert await identity(world, used.token) is not None
        world.clock.advance(IDLE_SECONDS / 2)
    assert await identity(world, idle.token) is None
    assert await identity(world, used.token) is not None
    # It is not idle: only its age ends it.
    world.clock.advance(IDLE_SECONDS / 2)
    assert await identity(world, used.token) is None
    # The next sign-in removes their rows.
    await opened(world)
    assert await world.count("sessions") == 1


async def test_signing_in_again_ends_the_browser_s_earlier_session(world: World) -> None:
    first = await opened(world)
    second = await world.studio.accounts.sessions.open_by_link(await link(world, BOB), replaces=first.token)
    assert await identity(world, first.token) is None
    assert second.token != first.token


async def test_sessions_are_listed_and_ended_one_by_one_or_all(world: World) -> None:
    service = world.studio.accounts.sessions
    here, there, other = await opened(world), await opened(world), await opened(world, BOB)
    listed = await service.list(here.account_id)
    assert len(listed) == 2
    mine = await identity(world, here.token)
    assert mine is not None
    (elsewhere,) = [one for one in listed if one.id != mine.session_id]
    with pytest.raises(NotFound):
        await service.end(other.account_id, elsewhere.id)
    await service.end(here.account_id, elsewhere.id)
    assert await identity(world, there.token) is None
    pending = await link(world)
    await service.end_all(here.account_id)
    assert await identity(world, here.token) is None
    assert await identity(world, other.token) is not None
    with pytest.raises(NotFound):
        await service.open_by_link(pending)


async def test_who_is_banned_everywhere_has_no_session(world: World) -> None:
    session, pending = await opened(world), await link(world)
    await bans.ban(world.ctx, OWNER, ALONE, BanTarget("chat", "1"), seconds=None, reason="noise")
    with pytest.raises(NotAllowed, match="for_good"):
        await identity(world, session.token)
    with pytest.raises(NotAllowed):
        await world.studio.accounts.sessions.open_by_link(pending)
    await bans.unban(world.ctx, OWNER, ALONE, BanTarget("chat", "1"))
    assert await identity(world, session.token) is not None


async def test_an_owner_in_a_chat_is_one_on_the_page(world: World) -> None:
    session = await opened(world)
    world.studio.add_owners("chat", ["1"])
    found = await identity(world, session.token)
    assert found is not None
    assert found.actor.is_owner
    world.studio.add_owners("chat", [])
    found = await identity(world, session.token)
    assert found is not None
    assert not found.actor.is_owner


async def test_an_admin_s_link_gives_the_rights_of_that_place_for_a_day(world: World) -> None:
    session, member = await opened(world, place=HERE, admin=True), await opened(world, BOB, HERE)
    found = await identity(world, session.token)
    assert found is not None
    assert found.admin_of is not None
    assert (found.admin_of.platform, found.admin_of.guild) == (HERE.platform, HERE.guild)
    assert not found.actor.is_admin
    theirs = await identity(world, member.token)
    assert theirs is not None
    assert theirs.admin_of is None
    world.clock.advance(ADMIN_SECONDS)
    found = await identity(world, session.token)
    assert found is not None
    assert found.admin_of is None


async def test_a_new_token_of_the_page_ends_the_sessions_of_the_old_one(world: World) -> None:
    service = world.studio.accounts.sessions
    session = await service.open_by_token(PAGE_TOKEN)
    found = await service.identity(session.token, PAGE_TOKEN)
    assert found is not None
    assert found.actor == PAGE_OWNER
    assert await service.identity(session.token, "another token") is None


async def test_while_nothing_can_be_written_sessions_and_keys_are_still_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await opened(world)
    key = (await world.studio.accounts.keys.create(OWNER, "bridge")).key
    world.clock.advance(TOUCH_SECONDS + 1)

    def full() -> None:
        raise Unavailable("unavailable.disk_full")

    monkeypatch.setattr(world.db, "write", full)
    assert await identity(world, session.token) is not None
    assert await world.studio.accounts.keys.identity(key) is not None
