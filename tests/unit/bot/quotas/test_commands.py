"""``quota ...`` as it is typed: who may, what it changes, what it answers, and that it is undone."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest

from bot.audit import changes
from bot.commands.model import Invocation
from bot.context import AppContext
from bot.core.cards import Card
from bot.core.errors import BadInput, NotAllowed, NotFound, OverQuota, Refusal
from bot.core.messages import EventRef
from bot.core.people import Actor, Place
from bot.core.quotas import Limit, Scope
from bot.core.requests import DrawForm
from bot.drawing.admission import draw
from bot.features import COMMANDS
from bot.quotas import service
from bot.quotas.changes import CREDIT, QUOTA_RULE
from bot.storage import people
from tests.unit.bot.conftest import ADA, ALONE, BOB, HERE, OWNER, PAGE, THERE, World, ref
from tests.unit.bot.conftest import run as run_command

ADMIN = replace(BOB, is_admin=True)
BOSS = Actor("chat", "9", "Eve", is_owner=True)
BY_NAME = MappingProxyType(COMMANDS.by_name)
CHANGING: Mapping[str, Mapping[str, str]] = {
    "quota set": {"rule": "1/day"},
    "quota reset": {},
    "quota grant": {"person": "1", "number": "1"},
    "quota lend": {"person": "1", "number": "1"},
}
_numbers = itertools.count()


async def run(
    ctx: AppContext,
    actor: Actor,
    place: Place,
    command: str,
    args: Mapping[str, str],
    *,
    names: Mapping[str, str] | None = None,
    roles: Mapping[str, tuple[str, ...]] | None = None,
    event: str = "",
) -> Card:
    ref = EventRef(event or f"command {next(_numbers)}", None)
    return await run_command(ctx, Invocation(actor, place, BY_NAME[command], ref, args, names or {}, roles or {}))


async def say(ctx: AppContext, actor: Actor, place: Place, command: str, name: str = "", **args: str) -> Card:
    """Type a command; ``name`` is what the platform calls whom it is about."""
    whom = next((word for word in ("role", "channel", "person") if word in args), "")
    return await run(ctx, actor, place, command, args, names={whom: name} if name else {})


async def ask(ctx: AppContext, event: str, count: int = 1, who: Actor = ADA, place: Place = HERE) -> None:
    await draw(ctx, who, place, DrawForm("an apple", count=str(count)), ref(event))


async def refused(ctx: AppContext, event: str, count: int = 1, who: Actor = ADA, place: Place = HERE) -> OverQuota:
    with pytest.raises(OverQuota) as refusal:
        await ask(ctx, event, count, who, place)
    return refusal.value


@pytest.mark.parametrize("command", CHANGING)
@pytest.mark.parametrize(
    ("who", "place", "key"),
    [
        (ADA, HERE, "refusal.rights.admin"),
        # Who is an admin elsewhere is none here: the adapter says what somebody is in the place where they act.
        (BOB, THERE, "refusal.rights.admin"),
        (ADMIN, ALONE, "refusal.rights.no_place"),
    ],
)
async def test_only_admins_change_anything_and_only_in_their_own_place(
    world: World, ctx: AppContext, command: str, who: Actor, place: Place, key: str
) -> None:
    await say(ctx, ADMIN, HERE, "quota set", rule="3/day")
    before = await world.count("audit")
    with pytest.raises(NotAllowed) as refusal:
        await run(ctx, who, place, command, CHANGING[command])
    assert refusal.value.key == key
    assert await world.count("audit") == before
    assert (await world.count("policies"), await world.count("credits")) == (1, 0)


async def test_what_an_admin_changes_is_of_their_own_place_alone(ctx: AppContext) -> None:
    await say(ctx, ADMIN, THERE, "quota set", rule="2/day")
    with pytest.raises(NotFound):
        await say(ctx, ADMIN, HERE, "quota reset")
    await say(ctx, ADMIN, THERE, "quota grant", name="Ada", person="1", number="2")
    await say(ctx, ADMIN, HERE, "quota set", rule="1/day")
    await ask(ctx, "1")
    assert (await refused(ctx, "2")).key == "refusal.quota.used_up_here"
    await ask(ctx, "3", 4, place=THERE)


async def test_show_and_why_of_oneself_are_for_everybody(ctx: AppContext) -> None:
    await say(ctx, ADMIN, HERE, "quota set", rule="3/day at-once 2")
    shown = await say(ctx, ADA, HERE, "quota show")
    assert shown.status == "You may ask for 3 more pictures now."
    assert (await say(ctx, ADA, HERE, "quota show", person="1")).status == shown.status
    why = await say(ctx, ADA, HERE, "quota why", person="chat:1")
    assert why.notes == (
        "5 pictures per day: the rule for everybody, set by the owners of this Easel.",
        "3 pictures per day: the rule for this place, set by the admins of this place.",
        "at most 2 requests waiting at a time: the rule for this place, set by the admins of this place.",
        "What the owners set and what this place set hold both; the tighter one counts.",
    )
    assert (
        await say(ctx, replace(OWNER, locale="zh_CN"), PAGE, "quota why")
    ).status == "Easel 的所有者不受任何规则限制。"


@pytest.mark.parametrize("command", ["quota show", "quota why"])
async def test_somebody_elses_is_for_admins_there(ctx: AppContext, command: str) -> None:
    await ask(ctx, "1", 2)
    for who, place in ((BOB, HERE), (BOB, ALONE)):
        with pytest.raises(NotAllowed):
            await say(ctx, who, place, command, person="1")
    with pytest.raises(BadInput):
        await say(ctx, ADMIN, HERE, command, person="web:1")
    found = await say(ctx, ADMIN, HERE, command, person="1")
    assert "Ada" in found.status
    assert found.private


async def test_an_admin_is_told_what_binds_somebody_with_their_roles(world: World, ctx: AppContext) -> None:
    await ask(ctx, "1", 2)
    await say(ctx, ADMIN, HERE, "quota set", role="r", name="Guests", rule="3/day")
    unknown = await say(ctx, ADMIN, HERE, "quota why", person="1")
    assert "Rules for roles are left out" in unknown.notes[-1]
    known = await run(
        ctx, ADMIN, HERE, "quota show", {"person": "1"}, names={"person": "Ada!"}, roles={"person": ("r",)}
    )
    assert known.status == "Ada! may ask for 1 more picture now."
    ctx.owners.claimed([("chat", "1")])
    assert (await say(ctx, ADMIN, HERE, "quota show", person="1")).status.startswith("Ada may ask for as many")


async def test_rules_for_a_role_a_channel_and_a_person(ctx: AppContext) -> None:
    card = await say(ctx, ADMIN, HERE, "quota set", role="r", name="@Guests", rule="4/day")
    assert [f.value for f in card.facts] == ["@Guests", "4 pictures per day"]
    assert not card.private
    await say(ctx, ADMIN, HERE, "quota set", rule="1/day")
    await say(ctx, ADMIN, HERE, "quota set", channel="channel", rule="2/day")
    await ask(ctx, "1", 2)
    assert (await refused(ctx, "2")).params["n"] == 0
    # Another channel has the place's rule, under which two were drawn already.
    assert (await refused(ctx, "3", place=replace(HERE, channel="other"))).key == "refusal.quota.used_up_here"
    guest = replace(BOB, roles=("r",))
    await ask(ctx, "4", 4, guest)
    await say(ctx, ADMIN, HERE, "quota set", person="1", rule="unlimited")
    await ask(ctx, "5", 3)
    assert (await refused(ctx, "6")).key == "refusal.quota.used_up"  # the owner's five
    gone = await say(ctx, ADMIN, HERE, "quota reset", person="1")
    assert [f.value for f in gone.facts] == ["1", "unlimited"]
    with pytest.raises(NotFound):
        await say(ctx, ADMIN, HERE, "quota reset", person="1")


async def test_an_owner_in_a_direct_message_sets_the_ceiling(ctx: AppContext) -> None:
    card = await say(ctx, BOSS, ALONE, "quota set", rule="2/day")
    assert "no place can give more" in card.status
    with pytest.raises(OverQuota):
        await say(ctx, ADMIN, HERE, "quota set", rule="3/day")
    with pytest.raises(OverQuota):  # in a place, an owner is one of its admins
        await say(ctx, BOSS, HERE, "quota set", rule="3/day")
    await say(ctx, BOSS, ALONE, "quota set", person="1", rule="9/day")
    assert [(p.scope, p.by_owner) for p in await service.list_rules(ctx.db)] == [
        (Scope(), True),
        (Scope("chat", person="1"), True),
    ]
    with pytest.raises(BadInput) as refusal:
        await say(ctx, BOSS, ALONE, "quota set", role="r", rule="9/day")
    assert refusal.value.key == "refusal.quota.only_there"
    assert "less specific" in (await say(ctx, BOSS, ALONE, "quota reset")).status
    assert "5 more" in (await say(ctx, BOSS, ALONE, "quota show", person="chat:2")).status


@pytest.mark.parametrize(
    ("command", "args", "key"),
    [
        ("quota set", {"rule": "lots"}, "refusal.quota.rule"),
        ("quota set", {"rule": "5/day 3/day"}, "refusal.quota.twice"),
        ("quota set", {"rule": "models nonesuch"}, "refusal.model.unknown"),
        ("quota set", {"rule": "1/day", "person": "web:1"}, "refusal.quota.elsewhere"),
        ("quota set", {"rule": "1/day", "person": "chat:"}, "refusal.quota.person"),
        ("quota grant", {"person": "nobody", "number": "1"}, "refusal.quota.person"),
        ("quota grant", {"person": "1", "number": "0"}, "refusal.quota.number"),
        ("quota grant", {"person": "1", "number": "1000001"}, "refusal.quota.number"),
        ("quota grant", {"person": "1", "number": "many"}, "refusal.quota.number"),
        ("quota lend", {"person": "1", "number": "1", "span": "a while"}, "refusal.span"),
    ],
)
async def test_what_can_not_be_read_changes_nothing(
    world: World, ctx: AppContext, command: str, args: dict[str, str], key: str
) -> None:
    with pytest.raises(Refusal) as refusal:
        await run(ctx, ADMIN, HERE, command, args)
    assert refusal.value.key == key
    assert (await world.count("policies"), await world.count("credits"), await world.count("audit")) == (0, 0, 0)


async def test_a_places_credits_go_beyond_its_own_rule_and_never_beyond_the_owners(
    world: World, ctx: AppContext
) -> None:
    await say(ctx, ADMIN, HERE, "quota set", rule="1/day")
    card = await say(ctx, ADMIN, HERE, "quota grant", name="Ada", person="1", number="9")
    assert card.status == "Ada was given 9 pictures on top of the quota; they must be used in 7 days."
    await ask(ctx, "1", 4)
    over = await refused(ctx, "2", 2)
    assert (over.key, over.params["n"], over.params["limit"]) == ("refusal.quota.left", 1, 5)
    await world.paint(1, 2)  # two were not painted: the place's credits are back
    assert "3 more" in (await say(ctx, ADA, HERE, "quota show")).status
    await ask(ctx, "3", 3)


async def test_an_owners_credits_go_beyond_everything(world: World, ctx: AppContext) -> None:
    await say(ctx, ADMIN, HERE, "quota set", rule="0/day")
    card = await say(ctx, BOSS, ALONE, "quota grant", name="Ada", person="1", number="7", span="2h")
    assert "everywhere" in card.notes[0]
    await ask(ctx, "1", 4)
    await ask(ctx, "2", 4, place=THERE)
    await ask(ctx, "3", 3, place=THERE)  # one of the rule's five, and two of the seven
    over = await refused(ctx, "4", 2, place=THERE)
    assert (over.key, over.params["n"]) == ("refusal.quota.left", 1)
    world.clock.advance(2 * 3600)
    assert (await refused(ctx, "5", 2, place=THERE)).key == "refusal.quota.used_up"
    assert (await refused(ctx, "6")).key == "refusal.quota.closed_here"


async def test_what_was_borrowed_counts_once_it_is_due(world: World, ctx: AppContext) -> None:
    await ask(ctx, "1", 4)
    card = await say(ctx, BOSS, ALONE, "quota lend", person="1", number="3")
    assert "due in 24 hours" in card.status
    await ask(ctx, "2", 3)
    assert (await refused(ctx, "3", 2)).params["n"] == 1
    world.clock.advance(86400)  # what was drawn is free again, and what was borrowed counts
    assert (await refused(ctx, "4", 4)).params == {
        "n": 3,
        "wanted": 4,
        "limit": 5,
        "window": "window.day",
        "returns": 2,
        "wait": 86400.0,
    }
    world.clock.advance(86400)
    await ask(ctx, "5", 4)


async def test_an_event_that_comes_twice_gives_once(world: World, ctx: AppContext) -> None:
    cards = [
        await run(ctx, ADMIN, HERE, "quota grant", {"person": "1", "number": n}, names={"person": "Ada"}, event="same")
        for n in ("3", "4")
    ]
    assert cards[0].status == cards[1].status
    assert (await world.count("credits"), await world.count("audit")) == (1, 1)


async def test_many_at_once_never_spend_more_than_was_given(world: World, ctx: AppContext) -> None:
    await say(ctx, BOSS, ALONE, "quota grant", name="Ada", person="1", number="3")
    done = await asyncio.gather(*(ask(ctx, f"e{i}") for i in range(20)), return_exceptions=True)
    assert sum(not isinstance(each, BaseException) for each in done) == 8
    assert all(isinstance(each, OverQuota) for each in done if isinstance(each, BaseException))


async def undo(ctx: AppContext, number: int, place: Place | None) -> None:
    kinds = {kind.name: kind for kind in (QUOTA_RULE, CREDIT)}
    async with ctx.db.write() as tx:
        await changes.undo_change(tx, number, kinds, place, by="chat:2", now=ctx.clock.now())


async def test_rules_and_gifts_are_undone_in_their_own_place(ctx: AppContext) -> None:
    await say(ctx, ADMIN, HERE, "quota set", rule="1/day")
    await say(ctx, ADMIN, HERE, "quota set", rule="2/day count 1")
    await say(ctx, ADMIN, HERE, "quota grant", name="Ada", person="1", number="4")
    await say(ctx, BOSS, ALONE, "quota set", rule="4/day")
    for number in (1, 2, 3, 4):
        with pytest.raises(NotFound):
            await undo(ctx, number, THERE)
    with pytest.raises(NotFound):  # the owner's rule is no business of any place
        await undo(ctx, 4, HERE)
    await undo(ctx, 2, HERE)
    await ask(ctx, "1", 2)  # one by the rule, one of the gift
    await undo(ctx, 3, HERE)  # what is left of the gift is gone, what was spent stays spent
    assert (await refused(ctx, "2")).key == "refusal.quota.used_up_here"
    await undo(ctx, 4, None)
    assert "0 more" in (await say(ctx, ADA, HERE, "quota show")).status


async def test_rules_for_a_person_hold_for_each_of_their_accounts(ctx: AppContext) -> None:
    second = Actor("chat", "7", "Ada too")
    async with ctx.db.write() as tx:
        for actor in (ADA, second):
            await people.remember(tx, actor, now=1.0)
        await tx.execute("UPDATE accounts SET person_id = 1")
    await say(ctx, ADMIN, HERE, "quota set", person="1", rule="1/day")
    await ask(ctx, "1", who=second)
    assert (await refused(ctx, "2", who=second)).key == "refusal.quota.used_up_here"
    assert (await refused(ctx, "3")).key == "refusal.quota.used_up_here"


async def test_a_calendar_day_ends_at_the_places_own_midnight(world: World, ctx: AppContext) -> None:
    await say(ctx, ADMIN, HERE, "quota set", rule="2/calendar day")
    async with ctx.db.write() as tx:
        place_id = await people.find_place(tx, HERE) or await people.remember_place(tx, HERE, now=1.0)
        await tx.execute("INSERT INTO options VALUES (?, 'timezone', '\"Asia/Shanghai\"')", (place_id,))
    # The clock stands at 16:00 in Shanghai: eight hours to go.
    await ask(ctx, "1")
    world.clock.advance(3600)
    await ask(ctx, "2")
    over = await refused(ctx, "3")
    assert (over.key, over.params["wait"], over.params["returns"]) == ("refusal.quota.used_up_here", 7 * 3600, 2)
    world.clock.advance(7 * 3600)
    await ask(ctx, "4", 2)


async def test_points_are_what_a_large_picture_costs(ctx: AppContext) -> None:
    everybody = replace(ctx, default_quota=Limit(None))
    await say(everybody, ADMIN, HERE, "quota set", rule="5 points/day")
    form = DrawForm("an apple", size="384x384")  # four times 192x192
    await draw(everybody, ADA, HERE, form, ref("1"))
    with pytest.raises(OverQuota) as over:
        await draw(everybody, ADA, HERE, form, ref("2"))
    assert (over.value.key, over.value.params["cost"], over.value.params["left"]) == (
        "refusal.quota.points_left_here",
        "4",
        "1",
    )
    await ask(everybody, "3")


async def test_only_so_many_wait_at_once_and_each_request_keeps_to_its_bounds(world: World, ctx: AppContext) -> None:
    await say(ctx, ADMIN, HERE, "quota set", rule="at-once 1 count 2 size 192x192 steps 9 models demo")
    await ask(ctx, "1")
    assert (await refused(ctx, "2")).params == {"n": 1, "most": 1, "by": "quota.by.place"}
    await world.paint(1)
    await ask(ctx, "3")
    await world.paint(2)
    assert (await refused(ctx, "4", 3)).key == "refusal.quota.count"
    for form, key in (
        (DrawForm("x", size="256x256"), "refusal.quota.pixels"),
        (DrawForm("x", steps="10"), "refusal.quota.steps"),
    ):
        with pytest.raises(OverQuota) as over:
            await draw(ctx, ADA, HERE, form, ref("5"))
        assert over.value.key == key
    shown = await say(ctx, ADA, HERE, "quota show")
    assert ("Waiting now", "0") in [(fact.label, fact.value) for fact in shown.facts]
