"""Every command of the table: who may, where, and that nobody reaches into another place."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import pytest

from bot.admin.commands import PRESETS
from bot.audit import store as audit_rows
from bot.cards import i18n
from bot.commands.model import Command, Invocation, Permission
from bot.core.cards import ButtonPress, Card
from bot.core.errors import BadInput, NotAllowed, NotFound, Refusal
from bot.core.jobs import JobState
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from bot.features import COMMANDS
from tests.unit.bot.conftest import ADA, ALONE, HERE, OWNER, THERE, World, ref

BY_NAME = COMMANDS.by_name
ADMIN_COMMANDS = [command.name for command in COMMANDS.typed if command.permission is Permission.ADMIN]
OWNER_COMMANDS = [command.name for command in COMMANDS.typed if command.permission is Permission.OWNER]

ADMIN = Actor("chat", "8", "Grace", is_admin=True)
OWNER_HERE = Actor("chat", "9", "Eve", is_owner=True)
HELPER = Actor("chat", "7", "Hal", roles=("helpers",))
# An admin of another place, as they look here: their rights and roles are those of the place where they act.
STRANGER = Actor("chat", "6", "Sam", roles=("theirs",))

ARGS: Mapping[str, dict[str, str]] = {
    "quota set": {"rule": "3/day"},
    "quota grant": {"person": "1", "number": "2"},
    "quota lend": {"person": "1", "number": "2", "span": "2 days"},
    "easel preset": {"preset": "club"},
    "easel admins": {"role": "painters"},
    "easel timezone": {"zone": "Europe/Berlin"},
    "easel words": {"level": "warn"},
    "easel keep": {"span": "90 days"},
    "easel ban": {"person": "1", "span": "3 days", "reason": "spam"},
    "easel unban": {"person": "1"},
    "easel undo": {"number": "1"},
    "owner service": {"state": "pause"},
    "owner allow": {"number": "1"},
    "owner refuse": {"number": "1"},
}
"""What is typed behind a command; nothing for the others."""
ARGS = {**ARGS, **{f"owner {name[6:]}": args for name, args in ARGS.items() if f"owner {name[6:]}" in BY_NAME}}

FIRST: Mapping[str, tuple[str, ...]] = {
    "quota reset": ("quota set",),
    "easel unban": ("easel ban",),
    "easel undo": ("easel pause",),
    "easel resume": ("easel pause",),
    "owner unban": ("easel ban",),
    "owner undo": ("easel pause",),
}
"""What has to be done before a command has anything to do."""

_numbers = itertools.count(1)


async def typed(world: World, actor: Actor, place: Place, name: str, args: Mapping[str, str] | None = None) -> Card:
    """Type a command, as a surface hands it over."""
    command: Command = BY_NAME[name]
    given = ARGS.get(name, {}) if args is None else args
    names = {"person": "Ada"} if "person" in given else {}
    return await world.studio.command(Invocation(actor, place, command, ref(f"command-{next(_numbers)}"), given, names))


async def given(world: World, name: str) -> dict[str, str]:
    """What is typed behind a command now: the newest change is the one to undo."""
    return {"number": str(await last(world))} if name.endswith(" undo") else ARGS.get(name, {})


async def prepare(world: World, name: str, actor: Actor = ADMIN) -> None:
    for before in FIRST.get(name, ()):
        await typed(world, actor, HERE, before)


@pytest.mark.parametrize("action", COMMANDS.by_action)
@pytest.mark.parametrize("locale", i18n.LOCALES)
def test_every_button_has_a_label(action: str, locale: str) -> None:
    label = i18n.text(locale, f"button.{action}", number=12, few="5/day", prompt="a fox in the snow")
    assert label != f"button.{action}"
    # Discord cuts labels at 80 characters; phones show far fewer.
    assert 0 < len(label) <= 20
    assert ButtonPress.unpack(ButtonPress(action, 10**18 - 1, 999).pack()) is not None


@pytest.mark.parametrize("name", ADMIN_COMMANDS)
async def test_admins_may_here_and_nobody_else(world: World, name: str) -> None:
    await typed(world, ADMIN, HERE, "easel admins", {"role": "helpers"})
    await typed(world, ADMIN, THERE, "easel admins", {"role": "theirs"})
    await prepare(world, name)
    before = await world.count("audit")
    for actor, place in (
        (ADA, HERE),
        (STRANGER, HERE),
        (ADA, ALONE),
        (replace(ADMIN, is_admin=False), ALONE),
        # No surface calls anybody an admin in a direct message; it would not help.
        (ADMIN, ALONE),
        (HELPER, ALONE),
        (HELPER, THERE),
    ):
        with pytest.raises(NotAllowed) as refused:
            await typed(world, actor, place, name)
        assert refused.value.key in {"refusal.rights.admin", "refusal.rights.no_place"}
    assert await world.count("audit") == before
    if name == "easel admins":
        # Whoever is an admin by a role alone makes nobody else one.
        with pytest.raises(NotAllowed):
            await typed(world, HELPER, HERE, name)
    else:
        assert (await typed(world, HELPER, HERE, name, await given(world, name))).status
        await prepare(world, name)
    assert (await typed(world, ADMIN, HERE, name, await given(world, name))).status


@pytest.mark.parametrize("name", OWNER_COMMANDS)
async def test_what_is_for_owners_is_for_nobody_else(world: World, name: str) -> None:
    for actor, place in ((ADA, HERE), (ADMIN, HERE), (ADMIN, ALONE), (ADA, ALONE), (HELPER, HERE)):
        with pytest.raises(NotAllowed) as refused:
            await typed(world, actor, place, name)
        assert refused.value.key == "refusal.rights.owner"
    await prepare(world, name)
    if name in {"owner allow", "owner refuse"}:
        with pytest.raises(NotFound):
            await typed(world, OWNER_HERE, ALONE, name)
    else:
        if name in FIRST:  # a ban of the whole service comes before its end
            for before in FIRST[name]:
                await typed(world, OWNER_HERE, ALONE if "ban" in before else HERE, before)
        assert (await typed(world, OWNER_HERE, ALONE, name, await given(world, name))).status
        await prepare(world, name)
        assert (await typed(world, OWNER_HERE, HERE, name, await given(world, name))).status


@pytest.mark.parametrize("name", ["quota show", "quota why", "easel limits", "favourites", "link"])
async def test_what_is_for_anybody_works_for_anybody(world: World, name: str) -> None:
    for place in (HERE, ALONE):
        card = await typed(world, ADA, place, name)
        assert card.status or card.facts


async def test_a_change_is_read_and_undone_by_its_own_place_alone(world: World) -> None:
    await typed(world, ADMIN, HERE, "easel pause")
    number = await last(world)
    there = await typed(world, ADMIN, THERE, "easel changes")
    assert there.facts == ()
    for actor, place in ((ADMIN, THERE), (OWNER_HERE, THERE)):
        with pytest.raises(NotFound):
            await typed(world, actor, place, "easel undo", {"number": str(number)})
    with pytest.raises(NotAllowed):
        await asked(world, ADA, HERE)
    (fact,) = (await typed(world, ADMIN, HERE, "easel changes")).facts
    assert (fact.label, fact.value.split(" · ")[0]) == (f"#{number} easel pause", "nothing set → yes")
    await typed(world, ADMIN, HERE, "easel undo", {"number": str(number)})
    await asked(world, ADA, HERE)
    newest, oldest = (await typed(world, ADMIN, HERE, "easel changes")).facts
    assert newest.label == f"#{number + 1} undo easel pause"
    assert "(taken back)" in oldest.value
    with pytest.raises(BadInput) as again:
        await typed(world, ADMIN, HERE, "easel undo", {"number": str(number)})
    assert again.value.key == "refusal.change.undone"


async def test_owners_see_all_changes_in_a_chat_of_their_own(world: World) -> None:
    await typed(world, ADMIN, HERE, "easel pause")
    await typed(world, ADMIN, THERE, "easel timezone")
    await typed(world, OWNER_HERE, ALONE, "owner service")
    facts = (await typed(world, OWNER_HERE, ALONE, "easel changes")).facts
    assert [fact.label for fact in facts] == ["#3 owner service", "#2 easel timezone", "#1 easel pause"]
    assert "guild" in facts[2].value
    # What the owners do is nobody else's business, wherever they do it.
    assert len((await typed(world, ADMIN, HERE, "easel changes")).facts) == 1
    await typed(world, OWNER_HERE, ALONE, "easel undo", {"number": "2"})


async def test_every_kind_of_change_is_told_in_words_and_undone(world: World) -> None:
    await asked(world, ADA, HERE)
    for name in ("quota set", "quota grant", "easel ban", "easel words", "easel keep", "easel log", "easel admins"):
        await typed(world, ADMIN, HERE, name)
    for locale in ("en", "zh_CN"):
        card = await typed(world, replace(ADMIN, locale=locale), HERE, "easel changes")
        assert len(card.facts) == 7
        assert all("{" not in fact.value and "→" in fact.value for fact in card.facts), card.facts
    told = {fact.label.partition(" ")[2]: fact.value for fact in card.facts}
    assert told["quota set"].startswith("没有规则 → 3/day")
    assert told["easel ban"].startswith("未禁止 → 禁止到")
    assert "Ada" in told["easel ban"]
    assert told["quota grant"].startswith("未设置 → 2 张")
    for number in range(await last(world), 0, -1):
        await typed(world, ADMIN, HERE, "easel undo", {"number": str(number)})
    limits = await typed(world, ADMIN, HERE, "easel limits")
    assert "As an admin, go on" in limits.notes[-1]


async def test_nobody_undoes_their_way_to_the_list_of_admins(world: World) -> None:
    await typed(world, ADMIN, HERE, "easel admins", {"role": "helpers"})
    await typed(world, ADMIN, HERE, "easel admins", {"role": "friends"})
    await typed(world, ADMIN, HERE, "easel admins", {"role": "friends"})
    with pytest.raises(NotAllowed):
        await typed(world, HELPER, HERE, "easel undo", {"number": "3"})
    await typed(world, ADMIN, HERE, "easel undo", {"number": "3"})
    card = await typed(world, HELPER, HERE, "easel admins", {})
    assert card.facts[0].value == "helpers, friends"


async def test_presets_become_rules_of_the_place_alone(world: World) -> None:
    await typed(world, ADMIN, HERE, "easel preset", {"preset": "strict"})
    with pytest.raises(Refusal) as refused:
        await asked(world, ADA, HERE, count=2)
    assert refused.value.key.startswith("refusal.quota")
    await asked(world, ADA, THERE, count=2)
    await asked(world, ADA, HERE)
    with pytest.raises(Refusal):
        await asked(world, ADA, HERE)
    await typed(world, ADMIN, HERE, "quota set", {"rule": "1/day", "role": "r"})
    await typed(world, ADMIN, HERE, "easel preset", {"preset": "open"})
    await asked(world, ADA, HERE)
    async with world.ctx.db.read() as tx:
        rows = await tx.execute_fetchall("SELECT count(*) FROM policies")
    assert [row[0] for row in rows] == [0]
    await typed(world, ADMIN, HERE, "easel preset", {"preset": "paused"})
    with pytest.raises(NotAllowed) as paused:
        await asked(world, ADA, HERE)
    assert paused.value.key == "refusal.paused.place"
    await typed(world, ADMIN, HERE, "easel preset", {"preset": "open"})
    await asked(world, ADA, HERE)


async def test_a_preset_says_where_the_owner_gives_less(world: World) -> None:
    await typed(world, OWNER_HERE, ALONE, "quota set", {"rule": "20/day"})
    assert (await typed(world, ADMIN, HERE, "easel preset", {"preset": "club"})).notes == ()
    await typed(world, OWNER_HERE, ALONE, "quota set", {"rule": "10/day"})
    assert [len((await typed(world, ADMIN, HERE, "easel preset", {"preset": name})).notes) for name in PRESETS] == [
        1,
        0,
    ]
    await typed(world, OWNER_HERE, ALONE, "quota set", {"rule": "30/day at-once 1"})
    card = await typed(world, ADMIN, HERE, "easel preset", {"preset": "club"})
    assert card.notes == ("The owner of this Easel allows less than that here, and the tighter rule holds.",)


async def test_a_pause_takes_nothing_new_and_leaves_what_waits(world: World) -> None:
    job = await asked(world, ADA, HERE)
    await typed(world, ADMIN, HERE, "easel pause")
    for actor in (ADA, ADMIN, OWNER_HERE):
        with pytest.raises(NotAllowed):
            await asked(world, actor, HERE)
    assert (await world.job(job)).state == "queued"
    await asked(world, ADA, THERE)
    assert "paused" in (await typed(world, ADA, HERE, "easel limits")).status
    await typed(world, ADMIN, HERE, "easel resume")
    await asked(world, ADA, HERE)


async def test_a_drained_service_takes_nothing_new_and_a_paused_one_lets_it_wait(world: World) -> None:
    await typed(world, OWNER_HERE, ALONE, "owner service", {"state": "drain"})
    for actor, place in ((ADA, HERE), (ADA, ALONE), (OWNER, ALONE)):
        with pytest.raises(Refusal) as refused:
            await asked(world, actor, place)
        assert refused.value.key == "refusal.paused.drain"
    await typed(world, OWNER_HERE, ALONE, "owner service", {"state": "pause"})
    await asked(world, ADA, HERE)
    await typed(world, OWNER_HERE, ALONE, "easel undo", {"number": "2"})
    await typed(world, OWNER_HERE, ALONE, "owner service", {"state": "run"})
    assert world.backlog.holds == [False, True, False, False]


@pytest.mark.parametrize(("typed_zone", "zone"), [("Asia/Shanghai", "Asia/Shanghai"), ("berlin", "Europe/Berlin")])
async def test_a_time_zone_is_named_and_a_wrong_one_gets_the_nearest(world: World, typed_zone: str, zone: str) -> None:
    assert zone in (await typed(world, ADMIN, HERE, "easel timezone", {"zone": typed_zone})).status
    with pytest.raises(BadInput) as refused:
        await typed(world, ADMIN, HERE, "easel timezone", {"zone": "Europe/Berlni"})
    assert refused.value.params["nearest"] == "Europe/Berlin"
    limits = await typed(world, ADA, HERE, "easel limits")
    assert zone in {fact.value for fact in limits.facts}


async def test_limits_say_what_holds_and_tell_admins_alone_how_to_change_it(world: World) -> None:
    for locale in ("en", "zh_CN"):
        admin = await typed(world, replace(ADMIN, locale=locale), HERE, "easel limits")
        member = await typed(world, replace(ADA, locale=locale), HERE, "easel limits")
        hints = admin.notes[-1]
        assert all(command in hints for command in ("/easel preset club", "/easel words refuse", "/easel log"))
        assert member.notes == admin.notes[:-1]
        assert "5" in member.notes[0]
    await typed(world, ADMIN, HERE, "quota set", {"rule": "2/day", "role": "vip"})
    await typed(world, ADMIN, HERE, "easel log")
    after = await typed(world, ADMIN, HERE, "easel limits")
    assert "/easel undo" in after.notes[-1]
    values = {fact.value for fact in after.facts}
    assert {"vip: 2 pictures per day", "go to a channel that the admins named"} <= values
    assert "go to a channel" not in str(await typed(world, ADA, HERE, "easel limits"))


async def asked(world: World, actor: Actor, place: Place, count: int = 1) -> int:
    """Ask for a picture; returns the job."""
    form = DrawForm("a cat", count=str(count))
    return (await world.studio.draw(actor, place, form, ref(f"draw-{next(_numbers)}"))).job_id


async def test_who_may_cancel_a_drawing_of_others(world: World) -> None:
    await typed(world, ADMIN, HERE, "easel admins", {"role": "helpers"})
    for actor in (HELPER, ADMIN, OWNER_HERE):
        job = await asked(world, ADA, HERE)
        with pytest.raises(NotAllowed) as refused:
            await world.studio.press(STRANGER, HERE, ButtonPress("cancel", job), ref("stranger"))
        assert refused.value.key == "refusal.rights.author"
        pressed = await world.studio.press(actor, HERE, ButtonPress("cancel", job), ref("cancel"))
        assert pressed.notice == ""
        assert (await world.job(job)).state is JobState.CANCELLED
    # The role counts where the drawing was requested.
    job = await asked(world, ADA, HERE)
    with pytest.raises(NotFound):
        await world.studio.press(HELPER, THERE, ButtonPress("cancel", job), ref("there"))


@pytest.mark.parametrize("number", ["9" * 26, "-" + "9" * 26, str(2**63), str(-(2**63)), "9" * 5000])
@pytest.mark.parametrize("name", ["easel undo", "owner allow", "owner refuse", "again", "quota grant", "quota lend"])
async def test_a_number_that_no_row_can_have_is_refused(world: World, name: str, number: str) -> None:
    # The terminal and Discord's options hand their arguments over unread.
    with pytest.raises((BadInput, NotFound)) as refused:
        await typed(world, OWNER_HERE, ALONE, name, {**ARGS.get(name, {}), "number": number})
    assert i18n.text("en", refused.value.key, **refused.value.params)


@pytest.mark.parametrize("number", [str(2**63 - 1), str(1 - 2**63), "0", "-1"])
@pytest.mark.parametrize("name", ["easel undo", "again"])
async def test_a_number_that_no_row_has_is_not_found(world: World, name: str, number: str) -> None:
    with pytest.raises(NotFound):
        await typed(world, OWNER_HERE, ALONE, name, {"number": number})


async def last(world: World) -> int:
    """Number of the newest change."""
    async with world.ctx.db.read() as tx:
        return (await audit_rows.recent(tx, 1))[0].id
