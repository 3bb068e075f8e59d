"""API keys: whom they act as, their rules, and what ends them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.commands.model import Invocation
from bot.core.errors import BadInput, NotAllowed, NotFound
from bot.core.people import Actor
from bot.core.requests import DrawForm
from bot.core.sign_in import KEY_PREFIX, PAGE, NewKey
from bot.features import COMMANDS
from bot.moderation import bans
from bot.moderation.bans import BanTarget
from bot.storage import people
from tests.unit.bot.conftest import ADA, ALONE, HERE, OWNER, World, ref, run


async def made(world: World, name: str = "bot", quota: str = "", person: str = "") -> NewKey:
    return await world.studio.accounts.keys.create(OWNER, name, quota=quota, person=person)


async def actor_of(world: World, key: NewKey) -> Actor:
    found = await world.studio.accounts.keys.identity(key.key)
    assert found is not None
    return found.actor


async def test_a_key_has_a_person_a_quota_and_a_history_of_its_own(world: World) -> None:
    one, other = await made(world, "one", "2/day"), await made(world, "other")
    assert one.key.startswith(KEY_PREFIX)
    first, second = await actor_of(world, one), await actor_of(world, other)
    assert (first.platform, first.name, first.is_owner, first.is_admin) == ("web", "one", False, False)
    assert first.user_id != second.user_id
    job = await world.studio.draw(first, PAGE, DrawForm("a cat"), ref("1", channel=None))
    with pytest.raises(NotFound):
        await world.studio.card(second, job.job_id)
    assert [card.job_id for card in await world.studio.items(first)] == [job.job_id]
    assert "2" in (await world.studio.quota_show(first, PAGE)).facts[0].value
    assert "5" in (await world.studio.quota_show(second, PAGE)).facts[0].value


async def test_a_key_of_a_person_is_that_person(world: World) -> None:
    with pytest.raises(NotFound, match="person_unknown"):
        await made(world, person="chat:1")
    job = await world.studio.draw(ADA, HERE, DrawForm("a cat"), ref())
    key = await made(world, person="chat:1")
    actor = await actor_of(world, key)
    assert (actor.platform, actor.user_id) == ("chat", "1")
    assert [card.job_id for card in await world.studio.items(actor)] == [job.job_id]
    with pytest.raises(BadInput, match="quota"):
        await made(world, "second", quota="2/day", person="chat:1")


async def test_a_key_of_an_owner_has_no_owner_s_rights(world: World) -> None:
    await world.studio.draw(ADA, HERE, DrawForm("a cat"), ref())
    world.studio.add_owners("chat", ["1"])
    assert not (await actor_of(world, await made(world, person="chat:1"))).is_owner


async def test_a_revoked_key_is_none(world: World) -> None:
    keys = world.studio.accounts.keys
    one, other = await made(world, "one"), await made(world, "other")
    await keys.revoke(OWNER, "one")
    await keys.revoke(OWNER, str(other.info.id))
    for key in (one.key, other.key, one.key[:-1], "", KEY_PREFIX):
        assert await keys.identity(key) is None
    with pytest.raises(NotFound):
        await keys.revoke(OWNER, "one")
    # Its name is free again.
    assert (await made(world, "one")).key != one.key
    assert [key.revoked_at is None for key in await keys.list_all()] == [True, False, False]


@pytest.mark.parametrize(("name", "why"), [("", "name"), ("  ", "name"), ("x" * 41, "name"), ("7", "number")])
async def test_a_name_is_one(world: World, name: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        await made(world, name)
    assert await world.count("api_keys") == 0


async def test_a_valid_key_s_name_is_taken(world: World) -> None:
    await made(world, "one")
    with pytest.raises(BadInput, match="taken"):
        await made(world, " one ")
    assert await world.count("people") == 1


async def test_a_rule_that_can_t_be_read_makes_no_key(world: World) -> None:
    with pytest.raises(BadInput):
        await made(world, quota="many")
    assert await world.count("api_keys") + await world.count("accounts") == 0


async def test_the_key_itself_is_not_stored_and_not_in_its_text_form(world: World) -> None:
    key = await made(world)
    async with world.db.read() as tx:
        for table in ("api_keys", "audit", "accounts"):
            assert key.key not in str([list(row) for row in await tx.execute_fetchall(f"SELECT * FROM {table}")])
    assert key.key not in repr(key)
    assert key.key.startswith(key.info.prefix)
    assert len(key.info.prefix) < len(key.key) / 2


async def test_its_last_use_is_known_to_a_minute(world: World) -> None:
    key = await made(world)
    keys = world.studio.accounts.keys
    assert (await keys.list_all())[0].used_at is None
    for seconds in (0.0, 30.0, 61.0):
        world.clock.advance(seconds)
        await keys.identity(key.key)
    assert (await keys.list_all())[0].used_at == world.clock.now()


async def test_the_key_of_who_is_banned_everywhere_is_refused(world: World) -> None:
    key = await made(world)
    target = BanTarget("web", key.info.user_id)
    await bans.ban(world.ctx, OWNER, ALONE, target, seconds=60, reason="")
    with pytest.raises(NotAllowed, match="banned"):
        await world.studio.accounts.keys.identity(key.key)


async def test_people_make_and_revoke_keys_of_their_own(world: World) -> None:
    keys = world.studio.accounts.keys
    async with world.db.write() as tx:
        ada = await people.remember(tx, ADA, now=world.clock.now())
        bob = await people.remember(tx, Actor("chat", "2"), now=world.clock.now())
    key = await keys.create_own(ADA, ada.account_id, "laptop")
    assert (await actor_of(world, key)).user_id == "1"
    assert [one.name for one in await keys.list_own(ada.account_id)] == ["laptop"]
    assert await keys.list_own(bob.account_id) == ()
    with pytest.raises(NotFound):
        await keys.revoke_own(BOB_ACTOR, bob.account_id, key.info.id)
    await keys.revoke_own(ADA, ada.account_id, key.info.id)
    assert await keys.identity(key.key) is None
    for number in range(10):
        await keys.create_own(ADA, ada.account_id, f"key {number}")
    with pytest.raises(NotAllowed, match="most"):
        await keys.create_own(ADA, ada.account_id, "one more")


BOB_ACTOR = Actor("chat", "2")


async def test_changes_are_in_the_audit_log(world: World) -> None:
    await made(world, "one")
    await world.studio.accounts.keys.revoke(OWNER, "one")
    async with world.db.read() as tx:
        rows = await tx.execute_fetchall("SELECT action, actor, before, after FROM audit ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ("key create", "web:owner", "—", "one"),
        ("key revoke", "web:owner", "one", ""),
    ]


@pytest.mark.parametrize("locale", ["en", "zh_CN"])
async def test_owners_read_of_them_among_the_last_changes(world: World, locale: str) -> None:
    await made(world, "bridge")
    await world.studio.accounts.invitations.create(OWNER, name="Ada")
    await world.studio.accounts.keys.revoke(OWNER, "bridge")
    owner = replace(OWNER, locale=locale)
    card = await run(world.ctx, Invocation(owner, ALONE, COMMANDS.by_name["owner changes"], ref("c")))
    said = str(card.facts) + str(card.notes)
    for word in ("key create", "bridge", "invite", "Ada", "key revoke"):
        assert word in said
