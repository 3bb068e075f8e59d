"""Rules of owners and of places: who may set them, how far, and what they do together."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bot.audit import store as audit_rows
from bot.context import AppContext
from bot.core.errors import BadInput, NotAllowed, OverQuota, Refusal
from bot.core.people import Actor, Place
from bot.core.quotas import Allowance, Limit, RuleTerms, Scope, Window
from bot.core.requests import DrawForm
from bot.drawing.admission import draw
from bot.quotas import service
from bot.quotas import service as quota_service
from bot.quotas.rules.terms import dump_terms
from tests.unit.bot.conftest import ADA, BOB, HERE, OWNER, PAGE, THERE, World, ref

ADMIN = replace(BOB, is_admin=True)
GUILD = Scope(platform="chat", place="guild")


def day(number: int | None, window: Window = Window.DAY) -> RuleTerms:
    return RuleTerms((Limit(number, window),))


async def rules(ctx: AppContext) -> list[tuple[Scope, RuleTerms, bool]]:
    return [(p.scope, p.terms, p.by_owner) for p in await service.list_rules(ctx.db)]


async def test_a_place_s_rule_counts_in_that_place_alone(world: World, ctx: AppContext) -> None:
    assert await quota_service.set_rule(ctx, ADMIN, HERE, "2/day") == day(2)
    await draw(ctx, ADA, HERE, DrawForm("an apple", count="2"), ref("1"))
    with pytest.raises(OverQuota) as refused:
        await draw(ctx, ADA, HERE, DrawForm("an apple"), ref("2"))
    assert refused.value.key == "refusal.quota.used_up_here"
    await draw(ctx, ADA, THERE, DrawForm("an apple", count="3"), ref("3"))
    with pytest.raises(OverQuota) as refused:  # the owner's five, over all places
        await draw(ctx, ADA, THERE, DrawForm("an apple"), ref("4"))
    assert refused.value.key == "refusal.quota.used_up"
    assert await world.counted() == 5


async def test_admins_use_counts_too(ctx: AppContext) -> None:
    await quota_service.set_rule(ctx, ADMIN, HERE, "1/day")
    await draw(ctx, ADMIN, HERE, DrawForm("an apple"), ref("1"))
    with pytest.raises(OverQuota):
        await draw(ctx, ADMIN, HERE, DrawForm("an apple"), ref("2"))


@pytest.mark.parametrize(("rule", "hours"), [("2/hour", 1), ("2/day", 24), ("2/week", 168)])
async def test_every_window_is_looked_back_over(world: World, ctx: AppContext, rule: str, hours: int) -> None:
    everybody = replace(ctx, default_quota=Limit(None))
    await service.set_operator_rule(ctx.db, world.clock, rule, GUILD)
    await draw(everybody, ADA, HERE, DrawForm("an apple", count="2"), ref("1"))
    world.clock.advance(hours * 3600 - 1)
    with pytest.raises(OverQuota):
        await draw(everybody, ADA, HERE, DrawForm("an apple"), ref("2"))
    world.clock.advance(1)
    await draw(everybody, ADA, HERE, DrawForm("an apple", count="2"), ref("3"))
    for i in range(3):
        await draw(everybody, ADA, THERE, DrawForm("an apple", count="4"), ref(f"unlimited {i}"))


@pytest.mark.parametrize("rule", ["6/day", "unlimited", "5/hour", "36/week"])
async def test_no_rule_above_the_owner_s_ceiling(ctx: AppContext, rule: str) -> None:
    with pytest.raises(OverQuota) as refused:
        await quota_service.set_rule(ctx, ADMIN, HERE, rule)
    assert refused.value.key == "refusal.quota.ceiling"
    assert refused.value.params["limit"] == 5
    assert await rules(ctx) == []


@pytest.mark.parametrize("rule", ["5/day", "0/day", "35/week"])
async def test_rules_inside_the_ceiling(ctx: AppContext, rule: str) -> None:
    terms = await quota_service.set_rule(ctx, ADMIN, HERE, rule)
    assert await rules(ctx) == [(GUILD, terms, False)]


async def test_the_owner_s_rule_for_a_place_is_its_ceiling(world: World, ctx: AppContext) -> None:
    await service.set_operator_rule(ctx.db, world.clock, "20/day", GUILD)
    assert await quota_service.set_rule(ctx, ADMIN, HERE, "20/day") == day(20)
    with pytest.raises(OverQuota):
        await quota_service.set_rule(ctx, ADMIN, THERE, "20/day")


async def test_a_role_s_rule(ctx: AppContext) -> None:
    await quota_service.set_rule(ctx, ADMIN, HERE, "1/day")
    await quota_service.set_rule(ctx, ADMIN, HERE, "3/day", quota_service.RuleTarget(role="r"))
    friend = Actor("chat", "3", "Cy", roles=("r",))
    await draw(ctx, friend, HERE, DrawForm("an apple", count="3"), ref("1"))
    with pytest.raises(OverQuota):
        await draw(ctx, ADA, HERE, DrawForm("an apple", count="3"), ref("2"))


@pytest.mark.parametrize(
    ("who", "place", "rule", "key"),
    [
        (ADMIN, HERE, "lots", "refusal.quota.rule"),
        (ADMIN, HERE, "-1/day", "refusal.quota.rule"),
        (ADMIN, HERE, "1/year", "refusal.quota.rule"),
    ],
)
async def test_what_is_refused(world: World, who: Actor, place: Place, rule: str, key: str) -> None:
    with pytest.raises((NotAllowed, BadInput)) as refused:
        await quota_service.set_rule(world.ctx, who, place, rule)
    assert isinstance(refused.value, Refusal)
    assert refused.value.key == key
    assert await world.count("policies") == await world.count("audit") == 0


async def test_show_tells_the_rules_that_bind(world: World, ctx: AppContext) -> None:
    nothing = await quota_service.show_quota(ctx, ADA, HERE)
    assert (nothing.left, nothing.allowances) == (5, (Allowance(Limit(5), 0, 5),))
    await draw(ctx, ADA, HERE, DrawForm("an apple", count="2"), ref("1"))
    world.clock.advance(60)
    await quota_service.set_rule(ctx, ADMIN, HERE, "3/day")
    back = world.clock.now() - 60 + 86400
    here = await quota_service.show_quota(ctx, ADA, HERE)
    assert here.left == 1
    assert here.allowances == (
        Allowance(Limit(3), 2, 1, back, 2, in_place=True, by_owner=False),
        Allowance(Limit(5), 2, 3, back, 2),
    )
    there = await quota_service.show_quota(ctx, ADA, THERE)
    assert (there.left, len(there.allowances)) == (3, 1)
    assert (await quota_service.show_quota(ctx, OWNER, PAGE)).left is None
    assert await world.count("people") == 1  # to look stores nobody


async def test_operators_set_show_and_reset(world: World, ctx: AppContext) -> None:
    db, clock = ctx.db, world.clock
    assert await service.set_operator_rule(db, clock, "7 / week", Scope()) == day(7, Window.WEEK)
    await service.set_operator_rule(db, clock, "unlimited", Scope(platform="chat", person="1"))
    await quota_service.set_rule(ctx, ADMIN, HERE, "1/day")
    assert await rules(ctx) == [
        (Scope(), day(7, Window.WEEK), True),
        (Scope(platform="chat", person="1"), day(None), True),
        (GUILD, day(1), False),
    ]
    assert await service.reset_operator_rules(db, clock, GUILD) == (day(1),)
    assert await service.reset_operator_rules(db, clock, GUILD) == ()
    assert await service.reset_operator_rules(db, clock, Scope()) == (day(7, Window.WEEK),)


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
async def test_scopes_that_mean_nothing(world: World, ctx: AppContext, scope: Scope) -> None:
    with pytest.raises(BadInput):
        await service.set_operator_rule(ctx.db, world.clock, "1/day", scope)
    with pytest.raises(BadInput):
        await service.reset_operator_rules(ctx.db, world.clock, scope)
    assert await rules(ctx) == []


async def test_every_change_is_written_down_for_those_whom_it_concerns(world: World, ctx: AppContext) -> None:
    await quota_service.set_rule(ctx, ADMIN, HERE, "1/day")
    await quota_service.set_rule(ctx, ADMIN, HERE, "2/day", quota_service.RuleTarget(role="r"))
    await quota_service.set_rule(ctx, ADMIN, HERE, "3/day")
    await quota_service.set_rule(ctx, ADMIN, HERE, "3/day")  # changes nothing
    await service.reset_operator_rules(ctx.db, world.clock, GUILD)
    await service.set_operator_rule(ctx.db, world.clock, "9/day", GUILD)
    async with ctx.db.read() as tx:
        entries = await audit_rows.recent(tx)
    told = [(e.actor, e.action, e.place, e.before, e.after) for e in entries]
    said = [json.dumps({"terms": dump_terms(day(n))}, sort_keys=True) for n in range(10)]
    assert told == [
        ("operator", "quota set", None, "null", said[9]),
        ("operator", "quota reset", "guild", said[3], "null"),
        ("chat:2", "quota set", "guild", said[1], said[3]),
        ("chat:2", "quota set", "guild", "null", said[2]),
        ("chat:2", "quota set", "guild", "null", said[1]),
    ]
