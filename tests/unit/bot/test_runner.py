"""The command runner: rights are checked in the handler's first transaction, before anything it does."""

from __future__ import annotations

import pytest

from bot import runner
from bot.commands.model import Command, CommandResult, Invocation, Permission
from bot.commands.registry import Registry
from bot.context import AppContext
from bot.core.cards import ButtonPress, Card, Tone
from bot.core.errors import BadInput, NotAllowed, NotFound
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from bot.moderation import store as moderation_rows
from bot.moderation.store import Ban
from bot.storage import people
from tests.unit.bot.conftest import ADA, ALONE, BOB, HERE, OWNER, THERE, World, ref

CARD = Card(Tone.INFO, "Done.", final=True)
ADMIN = Actor("chat", "8", "Grace", is_admin=True)


async def writes(ctx: AppContext, _call: Invocation) -> Card:
    async with ctx.db.write() as tx:
        await people.put_option(tx, people.SERVICE, "written", value=True)
    return CARD


async def refuses(_ctx: AppContext, _call: Invocation) -> Card:
    raise BadInput("refusal.zone", value="x", nearest="y")


async def answers(_ctx: AppContext, _call: Invocation) -> CommandResult:
    return CommandResult(notice="Done.")


def invocation(command: Command, actor: Actor, place: Place = HERE, job_id: int | None = None) -> Invocation:
    press = None if job_id is None else ButtonPress(command.action, job_id)
    return Invocation(actor, place, command, ref(), press=press)


async def is_written(world: World) -> bool:
    async with world.db.read() as tx:
        return bool(await people.get_option(tx, people.SERVICE, "written"))


async def test_who_may_acts_and_a_card_is_a_result(world: World) -> None:
    command = Command(name="try", permission=Permission.ADMIN, handler=writes)
    assert await runner.run(world.ctx, invocation(command, ADMIN)) == CommandResult(card=CARD)
    assert await is_written(world)


async def test_who_may_not_changes_nothing(world: World) -> None:
    command = Command(name="try", permission=Permission.ADMIN, handler=writes)
    with pytest.raises(NotAllowed):
        await runner.run(world.ctx, invocation(command, ADA))
    assert not await is_written(world)


@pytest.mark.parametrize("handler", [refuses, answers])
async def test_rights_come_first_where_the_handler_opens_no_transaction(world: World, handler: object) -> None:
    command = Command(name="try", permission=Permission.OWNER, handler=handler)  # type: ignore[arg-type]  # one of two
    with pytest.raises(NotAllowed) as refused:
        await runner.run(world.ctx, invocation(command, ADMIN))
    assert refused.value.key == "refusal.rights.owner"


@pytest.mark.parametrize(("while_banned", "banned_in"), [(False, "here"), (False, "everywhere"), (True, "everywhere")])
async def test_a_ban_refuses_what_it_does_not_exempt(world: World, while_banned: bool, banned_in: str) -> None:
    command = Command(name="try", permission=Permission.ANYBODY, handler=writes, while_banned=while_banned)
    job = await a_job(world)
    place_id = (await world.job(job)).place_id or 0
    where = moderation_rows.EVERYWHERE if banned_in == "everywhere" else place_id
    async with world.db.write() as tx:
        await moderation_rows.put_ban(tx, Ban("chat", "1", where, None, "", "operator", 0.0))
    if while_banned:
        await runner.run(world.ctx, invocation(command, ADA))
    else:
        with pytest.raises(NotAllowed):
            await runner.run(world.ctx, invocation(command, ADA))
    assert await is_written(world) is while_banned


@pytest.mark.parametrize(
    ("actor", "place", "permission", "error"),
    [
        (ADA, ALONE, Permission.ANYBODY, None),
        (BOB, HERE, Permission.ANYBODY, None),
        (BOB, THERE, Permission.ANYBODY, NotFound),
        (ADA, ALONE, Permission.AUTHOR, None),
        (BOB, HERE, Permission.AUTHOR, NotAllowed),
        (ADMIN, HERE, Permission.AUTHOR, None),
        (ADMIN, HERE, Permission.ADMIN, None),
        (ADA, HERE, Permission.ADMIN, NotAllowed),
        (ADMIN, THERE, Permission.ADMIN, NotFound),
        (OWNER, THERE, Permission.ADMIN, NotFound),
    ],
)
async def test_a_command_on_a_job_needs_access_to_it(
    world: World, actor: Actor, place: Place, permission: Permission, error: type[Exception] | None
) -> None:
    command = Command(action="try", permission=permission, handler=writes, on_job=True)
    call = invocation(command, actor, place, await a_job(world))
    if error is None:
        await runner.run(world.ctx, call)
    else:
        with pytest.raises(error):
            await runner.run(world.ctx, call)
    assert await is_written(world) is (error is None)


def test_a_name_or_an_action_stands_for_one_command() -> None:
    named = Command(name="try", permission=Permission.ANYBODY, handler=writes)
    pressed = Command(action="try", permission=Permission.ANYBODY, handler=writes)
    both = Registry((named, pressed))
    assert (both.by_name["try"], both.by_action["try"]) == (named, pressed)
    for one in (named, pressed):
        with pytest.raises(ValueError, match="same name"):
            Registry((one, one))
    for defaults in ((), ("a", "b")):
        group = [
            Command(name=f"try {sub}", permission=Permission.ANYBODY, handler=writes, default=sub in defaults)
            for sub in ("a", "b")
        ]
        with pytest.raises(ValueError, match="one default"):
            Registry(group)
    with pytest.raises(ValueError, match="a name"):
        Command(permission=Permission.ANYBODY, handler=writes)
    with pytest.raises(ValueError, match="author"):
        Command(name="try", permission=Permission.AUTHOR, handler=writes)
    with pytest.raises(ValueError, match="typed"):
        _ = invocation(named, ADA).pressed


async def a_job(world: World) -> int:
    """A job of Ada's that was shown in HERE."""
    return (await world.studio.draw(ADA, HERE, DrawForm("an apple"), ref("job"))).job_id
