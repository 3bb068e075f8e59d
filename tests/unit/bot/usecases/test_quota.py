"""Rules of owners and of places: who may set them, how far, and what they do together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.model.errors import BadInput, NotAllowed, OverQuota, Refusal
from bot.model.people import Actor
from bot.model.quotas import Limit, Policy, Scope, Window
from bot.model.requests import DrawForm
from bot.store import audit
from bot.usecases import admin, quota
from bot.usecases.draw import draw
from bot.usecases.house import House
from tests.unit.bot.usecases.conftest import ADA, ALONE, BOB, HERE, OWNER, PAGE, THERE, World, ref

ADMIN = replace(BOB, is_admin=True)
GUILD = Scope(platform="chat", place="guild")


async def rules(house: House) -> list[tuple[Scope, Limit, bool]]:
    return [(p.scope, p.limit, p.by_owner) for p in await admin.show_quotas(house.db)]


async def test_a_place_s_rule_counts_in_that_place_alone(world: World, house: House) -> None:
    assert await quota.set_rule(house, ADMIN, HERE, "2/day") == Limit(2)
    await draw(house, ADA, HERE, DrawForm("an apple", count="2"), ref("1"))
    with pytest.raises(OverQuota) as refused:
        await draw(house, ADA, HERE, DrawForm("an apple"), ref("2"))
    assert refused.value.key == "refusal.quota.used_up_here"
    await draw(house, ADA, THERE, DrawForm("an apple", count="3"), ref("3"))
    with pytest.raises(OverQuota) as refused:  # the owner's five, over all places
        await draw(house, ADA, THERE, DrawForm("an apple"), ref("4"))
    assert refused.value.key == "refusal.quota.used_up"
    assert await world.counted() == 5


async def test_admins_use_counts_too(house: House) -> None:
    await quota.set_rule(house, ADMIN, HERE, "1/day")
    await draw(house, ADMIN, HERE, DrawForm("an apple"), ref("1"))
    with pytest.raises(OverQuota):
        await draw(house, ADMIN, HERE, DrawForm("an apple"), ref("2"))


@pytest.mark.parametrize(("rule", "hours"), [("2/hour", 1), ("2/day", 24), ("2/week", 168)])
async def test_every_window_is_looked_back_over(world: World, house: House, rule: str, hours: int) -> None:
    everybody = replace(house, quota=Limit(None))
    await admin.set_quota(house.db, world.clock, rule, GUILD)
    await draw(everybody, ADA, HERE, DrawForm("an apple", count="2"), ref("1"))
    world.clock.advance(hours * 3600 - 1)
    with pytest.raises(OverQuota):
        await draw(everybody, ADA, HERE, DrawForm("an apple"), ref("2"))
    world.clock.advance(1)
    await draw(everybody, ADA, HERE, DrawForm("an apple", count="2"), ref("3"))
    for i in range(3):
        await draw(everybody, ADA, THERE, DrawForm("an apple", count="4"), ref(f"unlimited {i}"))


@pytest.mark.parametrize("rule", ["6/day", "unlimited", "5/hour", "36/week"])
async def test_no_rule_above_the_owner_s_ceiling(house: House, rule: str) -> None:
    with pytest.raises(OverQuota) as refused:
        await quota.set_rule(house, ADMIN, HERE, rule)
    assert refused.value.key == "refusal.quota.ceiling"
    assert refused.value.params["limit"] == 5
    assert await rules(house) == []


@pytest.mark.parametrize("rule", ["5/day", "0/day", "35/week"])
async def test_rules_inside_the_ceiling(house: House, rule: str) -> None:
    limit = await quota.set_rule(house, ADMIN, HERE, rule)
    assert await rules(house) == [(GUILD, limit, False)]


async def test_the_owner_s_rule_for_a_place_is_its_ceiling(world: World, house: House) -> None:
    await admin.set_quota(house.db, world.clock, "20/day", GUILD)
    assert await quota.set_rule(house, ADMIN, HERE, "20/day") == Limit(20)
    with pytest.raises(OverQuota):
        await quota.set_rule(house, ADMIN, THERE, "20/day")


async def test_a_role_s_rule(house: House) -> None:
    await quota.set_rule(house, ADMIN, HERE, "1/day")
    await quota.set_rule(house, ADMIN, HERE, "3/day", role="r")
    friend = Actor("chat", "3", "Cy", roles=("r",))
    await draw(house, friend, HERE, DrawForm("an apple", count="3"), ref("1"))
    with pytest.raises(OverQuota):
        await draw(house, ADA, HERE, DrawForm("an apple", count="3"), ref("2"))


@pytest.mark.parametrize(
    ("who", "place", "rule", "key"),
    [
        (ADA, HERE, "1/day", "refusal.quota.not_admin"),
        (ADMIN, ALONE, "1/day", "refusal.quota.no_place"),
        (OWNER, PAGE, "1/day", "refusal.quota.no_place"),
        (ADMIN, HERE, "lots", "refusal.quota.rule"),
        (ADMIN, HERE, "-1/day", "refusal.quota.rule"),
        (ADMIN, HERE, "1/year", "refusal.quota.rule"),
    ],
)
async def test_what_is_refused(world: World, who: Actor, place: object, rule: str, key: str) -> None:
    with pytest.raises((NotAllowed, BadInput)) as refused:
        await world.studio.quota_set(who, place, rule)  # type: ignore[arg-type]
    assert isinstance(refused.value, Refusal)
    assert refused.value.key == key
    assert await world.count("policies") == await world.count("audit") == 0


async def test_show_tells_the_rule_that_binds(world: World, house: House) -> None:
    nothing = await quota.show(house, ADA, HERE)
    assert (nothing.used, nothing.left, nothing.returns_at) == (0, 5, None)
    await draw(house, ADA, HERE, DrawForm("an apple", count="2"), ref("1"))
    world.clock.advance(60)
    await quota.set_rule(house, ADMIN, HERE, "3/day")
    here = await quota.show(house, ADA, HERE)
    assert (here.limit, here.used, here.left, here.in_place) == (Limit(3), 2, 1, True)
    assert (here.returns, here.returns_at) == (2, world.clock.now() - 60 + 86400)
    there = await quota.show(house, ADA, THERE)
    assert (there.limit, there.left, there.in_place) == (Limit(5), 3, False)
    assert (await quota.show(house, OWNER, PAGE)).left is None
    assert await world.count("people") == 1  # to look stores nobody


async def test_operators_set_show_and_reset(world: World, house: House) -> None:
    db, clock = house.db, world.clock
    assert await admin.set_quota(db, clock, "7 / week", Scope()) == Limit(7, Window.WEEK)
    await admin.set_quota(db, clock, "unlimited", Scope(platform="chat", person="1"))
    await quota.set_rule(house, ADMIN, HERE, "1/day")
    assert await rules(house) == [
        (Scope(), Limit(7, Window.WEEK), True),
        (Scope(platform="chat", person="1"), Limit(None), True),
        (GUILD, Limit(1), False),
    ]
    gone = await admin.reset_quota(db, clock, GUILD)
    assert [(p.scope, p.by_owner) for p in gone] == [(GUILD, False)]
    assert await admin.reset_quota(db, clock, GUILD) == ()
    assert isinstance((await admin.reset_quota(db, clock, Scope()))[0], Policy)


@pytest.mark.parametrize(
    "scope",
    [
        Scope(place="g"),
        Scope(person="1"),
        Scope(role="r"),
        Scope(platform="chat", role="r"),
        Scope(place="g", role="r"),
    ],
)
async def test_scopes_that_mean_nothing(world: World, house: House, scope: Scope) -> None:
    with pytest.raises(BadInput):
        await admin.set_quota(house.db, world.clock, "1/day", scope)
    with pytest.raises(BadInput):
        await admin.reset_quota(house.db, world.clock, scope)
    assert await rules(house) == []


async def test_every_change_is_written_down(world: World, house: House) -> None:
    await quota.set_rule(house, ADMIN, HERE, "1/day")
    await quota.set_rule(house, ADMIN, HERE, "2/day", role="r")
    await quota.set_rule(house, ADMIN, HERE, "3/day")
    await admin.reset_quota(house.db, world.clock, GUILD)
    async with house.db.read() as tx:
        entries = await audit.recent(tx)
    assert [(e.actor, e.action, e.before, e.after) for e in entries] == [
        ("operator", "quota.reset", "3/day", ""),
        ("chat:2", "quota.set", "1/day", "3/day"),
        ("chat:2", "quota.set role=r", "", "2/day"),
        ("chat:2", "quota.set", "", "1/day"),
    ]
