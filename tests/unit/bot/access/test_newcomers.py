"""Who may come in: strangers cost one row, one request waits for the owner's answer, and the answer settles it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.access import cards as present
from bot.access import newcomers
from bot.access.newcomers import is_stranger
from bot.access.store import newcomers as access_rows
from bot.audit import changes
from bot.audit import store as audit_rows
from bot.cards import i18n, job_card
from bot.commands.model import Invocation
from bot.context import AppContext
from bot.core.access import AccessDecision, AccessMode, Owners
from bot.core.cards import ButtonPress, Card
from bot.core.errors import BadInput, NotAllowed, NotFound, Refusal, Uninvited
from bot.core.jobs import Job, JobState
from bot.core.messages import Address, EventRef
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from bot.drawing.admission import draw
from bot.drawing.job_actions import cancel
from bot.features import COMMANDS
from bot.moderation import store as moderation_rows
from bot.moderation.store import Ban
from bot.quotas import service as quota_service
from bot.storage import messages
from bot.storage.sql import load_card
from tests.unit.bot.conftest import ADA, ALONE, BOB, HERE, PAGE, THERE, World, ref, run
from tests.unit.bot.conftest import OWNER as AT_THE_PAGE

OWNER = Actor("chat", "9", "Eve", is_owner=True)


def guarded(world: World, rule: AccessMode = AccessMode.APPROVE, owners: tuple[str, ...] = ("9",)) -> AppContext:
    return replace(world.ctx, access_modes={"chat": rule}, owners=Owners({"chat": owners}))


async def ask(
    ctx: AppContext,
    event: str,
    actor: Actor = ADA,
    place: Place = ALONE,
    prompt: str = "a red apple",
    count: str = "1",
) -> Job:
    return await draw(ctx, actor, place, DrawForm(prompt, count=count), ref(event, channel=place.channel))


async def rows(world: World) -> dict[str, int]:
    """How many rows each table has."""
    async with world.ctx.db.read() as tx:
        tables = [
            row[0]
            for row in await tx.execute_fetchall(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
            )
        ]
    return {table: await world.count(table) for table in tables}


async def refused(ctx: AppContext, event: str, actor: Actor = ADA, place: Place = ALONE) -> str:
    with pytest.raises(Uninvited) as caught:
        await ask(ctx, event, actor, place)
    return caught.value.key


async def press(ctx: AppContext, actor: Actor, what: ButtonPress) -> Card:
    """Press a button of the list of newcomers; returns the card that takes its place."""
    command = COMMANDS.by_action[what.action]
    return await run(ctx, Invocation(actor, ALONE, command, ref("press"), press=what))


async def said(world: World, event: str) -> str:
    """What a stored notice says."""
    async with world.ctx.db.read() as tx:
        (row,) = await tx.execute_fetchall("SELECT card FROM messages WHERE event = ?", (event,))
    return load_card(row[0]).status


async def test_however_much_a_stranger_writes_it_costs_one_row(world: World) -> None:
    ctx = guarded(world)
    first = await ask(ctx, "e")
    assert (first.state, world.backlog.asks, world.backlog.tickets) == (JobState.HELD, 1, [])
    before = await rows(world)
    assert (before["access"], before["jobs"], before["ledger"], before["messages"]) == (1, 1, 0, 1)
    for number in range(200):
        assert await refused(ctx, f"again {number}") == "refusal.access.waiting"
    # Nor does it help to take the one request back.
    await cancel(ctx, first.id)
    assert await refused(ctx, "after") == "refusal.access.waiting"
    assert await rows(world) == before
    assert world.backlog.asks == 1


async def test_the_same_event_twice_is_the_same_held_request(world: World) -> None:
    ctx = guarded(world)
    assert (await ask(ctx, "e")).id == (await ask(ctx, "e")).id


async def test_a_servers_approval_covers_its_members_and_nobody_elsewhere(world: World) -> None:
    ctx = guarded(world)
    held = [await ask(ctx, "1", ADA, HERE), await ask(ctx, "2", BOB, HERE)]
    alone = await ask(ctx, "3", ADA, ALONE)
    other = await ask(ctx, "4", ADA, THERE)
    assert await refused(ctx, "5", BOB, HERE) == "refusal.access.waiting"
    assert await world.count("access") == 3
    answered = await newcomers.allow(ctx, OWNER, 1)
    assert [job.id for job in answered.moved.queued] == [job.id for job in held]
    assert [t.job_id for t in world.backlog.tickets] == [job.id for job in held]
    assert await world.counted() == 2
    assert (await ask(ctx, "6", Actor("chat", "77"), HERE)).state is JobState.QUEUED
    for job in (alone, other):
        assert (await world.job(job.id)).state is JobState.HELD
    assert await is_stranger(ctx, ADA, THERE)
    assert not await is_stranger(ctx, BOB, HERE)


async def test_a_private_approval_is_the_persons_own(world: World) -> None:
    ctx = guarded(world)
    job = await ask(ctx, "1")
    await newcomers.allow(ctx, OWNER, 1)
    assert (await world.job(job.id)).state is JobState.QUEUED
    assert (await ask(ctx, "2")).state is JobState.QUEUED
    assert (await ask(ctx, "3", BOB)).state is JobState.HELD
    assert (await ask(ctx, "4", ADA, HERE)).state is JobState.HELD
    assert await said(world, f"access:{job.id}") == i18n.text("en", "card.welcome")


async def test_a_small_quota_holds_for_what_was_asked_already(world: World) -> None:
    ctx = guarded(world)
    first = await ask(ctx, "1", ADA, HERE, count="4")
    second = await ask(ctx, "2", BOB, HERE, count="4")
    answered = await newcomers.allow(ctx, OWNER, 1, "3/day")
    assert answered.rule
    assert (answered.moved.queued, [j.id for j in answered.moved.ended]) == ([], [first.id, second.id])
    job = await world.job(first.id)
    assert (job.state, job.error) == (JobState.CANCELLED, "error.access.over_quota")
    assert job_card.card_of(job, (), pictures_dir=ctx.pictures, buttons=COMMANDS.job_buttons).status == i18n.text(
        "en", "error.access.over_quota"
    )
    assert await world.counted() == 0
    assert (await ask(ctx, "3", ADA, HERE, count="3")).state is JobState.QUEUED
    with pytest.raises(Refusal):
        await ask(ctx, "4", ADA, HERE)
    assert (await ask(ctx, "5", BOB, HERE)).state is JobState.QUEUED


async def test_the_roles_that_somebody_had_when_they_asked_count_when_they_are_let_in(world: World) -> None:
    ctx = guarded(world)
    admin = replace(OWNER, is_owner=False, is_admin=True)
    await quota_service.set_rule(ctx, admin, HERE, "count 1")
    await quota_service.set_rule(ctx, admin, HERE, "count 2", quota_service.RuleTarget(role="painters"))
    painter = await ask(ctx, "1", replace(ADA, roles=("readers", "painters")), HERE, count="2")
    reader = await ask(ctx, "2", replace(BOB, roles=("readers",)), HERE, count="2")
    moved = (await newcomers.allow(ctx, OWNER, 1)).moved
    assert ([j.id for j in moved.queued], [j.id for j in moved.ended]) == ([painter.id], [reader.id])


async def test_a_rule_that_cant_be_read_answers_nobody(world: World) -> None:
    ctx = guarded(world)
    job = await ask(ctx, "1")
    with pytest.raises(BadInput):
        await newcomers.allow(ctx, OWNER, 1, "many")
    assert (await world.job(job.id)).state is JobState.HELD


async def test_who_is_refused_is_told_politely_and_costs_nothing(world: World) -> None:
    ctx = guarded(world)
    job = await ask(ctx, "1")
    await newcomers.refuse(ctx, OWNER, 1)
    job = await world.job(job.id)
    assert job.state is JobState.CANCELLED
    assert job_card.card_of(job, (), pictures_dir=ctx.pictures, buttons=COMMANDS.job_buttons).status == i18n.text(
        "en", "error.access.refused"
    )
    assert world.backlog.forgotten == [job.id]
    assert await world.count("ledger") == 0
    before = await rows(world)
    assert await refused(ctx, "2") == "refusal.access.refused"
    assert await rows(world) == before
    # An owner may think better of it; what was ended stays so.
    assert (await newcomers.allow(ctx, OWNER, 1)).moved.queued == []
    assert (await ask(ctx, "3")).state is JobState.QUEUED


async def test_a_ban_counts_also_for_what_was_held(world: World) -> None:
    ctx = guarded(world)
    job = await ask(ctx, "1", ADA, HERE)
    other = await ask(ctx, "2", BOB, HERE)
    async with ctx.db.write() as tx:
        await moderation_rows.put_ban(tx, Ban("chat", "1", 0, None, "", "operator", 0.0))
    answered = await newcomers.allow(ctx, OWNER, 1)
    assert [j.id for j in answered.moved.queued] == [other.id]
    assert (await world.job(job.id)).error == "error.access.not_allowed"


async def test_a_held_request_that_was_taken_back_is_not_drawn(world: World) -> None:
    ctx = guarded(world)
    job = await ask(ctx, "1")
    await cancel(ctx, job.id)
    answered = await newcomers.allow(ctx, OWNER, 1)
    assert (answered.moved.queued, await world.counted()) == ([], 0)
    assert (await world.job(job.id)).state is JobState.CANCELLED


@pytest.mark.parametrize(("actor", "place"), [(OWNER, ALONE), (OWNER, HERE), (AT_THE_PAGE, PAGE)])
async def test_owners_and_the_page_need_no_answer(world: World, actor: Actor, place: Place) -> None:
    assert (await ask(guarded(world), "1", actor, place)).state is JobState.QUEUED
    assert await world.count("access") == 0


async def test_open_to_all(world: World) -> None:
    assert (await ask(guarded(world, AccessMode.OPEN), "1")).state is JobState.QUEUED
    assert await world.count("access") == 0


async def test_a_list_keeps_who_has_asked_once_and_asks_nobody(world: World) -> None:
    ctx = guarded(world, AccessMode.LIST)
    for number in range(50):
        assert await refused(ctx, str(number)) == "refusal.access.list"
    found = await rows(world)
    assert found["access"] == 1
    assert [n for name, n in found.items() if name in {"jobs", "messages", "people", "accounts", "ledger"}] == [0] * 5
    assert world.backlog.asks == 0
    (knocks, total) = await newcomers.list_requests(ctx)
    assert (knocks[0].newcomer.name, total) == ("Ada", 1)
    await newcomers.allow(ctx, OWNER, 1)
    assert (await ask(ctx, "now")).state is JobState.QUEUED


async def test_where_nobody_owns_it_the_refusal_says_what_the_operator_must_do(world: World) -> None:
    ctx = guarded(world, owners=())
    job = await ask(ctx, "1")
    assert job.state is JobState.HELD
    assert await refused(ctx, "2") == "refusal.access.unowned"
    card = job_card.card_of(job, (), pictures_dir=ctx.pictures, buttons=COMMANDS.job_buttons, owned=False)
    assert "/claim" in card.status
    assert [b.press.action for row in card.buttons for b in row] == ["cancel"]


async def test_only_owners_answer(world: World) -> None:
    ctx = guarded(world)
    job = await ask(ctx, "1", ADA, HERE)
    for actor in (ADA, BOB, Actor("chat", "3", is_admin=True)):
        for action in ("allow", "allowfew", "refuse"):
            with pytest.raises(NotAllowed):
                await press(ctx, actor, ButtonPress(action, 1))
    assert (await world.job(job.id)).state is JobState.HELD
    assert await world.count("audit") == 0


@pytest.mark.parametrize("action", ["allow", "allowfew", "refuse"])
async def test_a_button_answers_once(world: World, action: str) -> None:
    ctx = guarded(world)
    await ask(ctx, "1")
    await ask(ctx, "2", BOB)
    card = await press(ctx, OWNER, ButtonPress(action, 1))
    # Who still waits takes the place of the card that it was on.
    assert [b.press for row in card.buttons for b in row] == [
        ButtonPress(a, 2) for a in ("allow", "allowfew", "refuse")
    ]
    with pytest.raises(BadInput, match="already"):
        await press(ctx, OWNER, ButtonPress("refuse", 1))
    with pytest.raises(NotFound):
        await press(ctx, OWNER, ButtonPress("allow", 99))


async def test_an_answer_is_in_the_log_and_can_be_undone(world: World) -> None:
    ctx = guarded(world)
    await ask(ctx, "1")
    await newcomers.refuse(ctx, OWNER, 1)
    async with ctx.db.write() as tx:
        (entry,) = await audit_rows.recent(tx)
        assert (entry.actor, entry.action, entry.place) == ("chat:9", "owner refuse", None)
        world.clock.advance(1)
        kinds = {newcomers.ACCESS.name: newcomers.ACCESS}
        await changes.undo_change(tx, entry.id, kinds, None, by="chat:9", now=world.clock.now())
        newcomer = await access_rows.get_newcomer(tx, 1)
    assert newcomer is not None
    assert newcomer.verdict is AccessDecision.ASKED
    # They wait again, and a new request is kept.
    assert (await ask(ctx, "2")).state is JobState.HELD


async def test_the_list_shows_names_and_prompts_as_data(world: World) -> None:
    ctx = guarded(world)
    rude = Actor("chat", "1", "@card.held **Ada**\n" + "x" * 200)
    await ask(ctx, "1", rude, prompt="a [link](http://evil.example) " + "y" * 300)
    knocks, total = await newcomers.list_requests(ctx)
    shown = present.requests_card(knocks, total, "zh_CN")
    (fact,) = shown.facts
    assert fact.value.startswith("@card.held **Ada** xxx")
    assert "\n" not in fact.value
    assert len(fact.value) < 130
    assert "Ada" not in shown.status + "".join(shown.notes)
    assert shown.private


async def test_what_was_asked_for_in_private_is_shown_to_no_owner(world: World) -> None:
    ctx = guarded(world)
    await draw(ctx, ADA, ALONE, DrawForm("a secret", private=True), ref("1"))
    ((knock,), _) = await newcomers.list_requests(ctx)
    assert (knock.prompt, knock.waiting) == ("", 1)


async def test_opening_the_doors_draws_what_has_waited_and_lists_nobody(world: World) -> None:
    ctx = guarded(world)
    job = await ask(ctx, "1")
    await newcomers.admit_held_at_start(ctx)
    assert (await world.job(job.id)).state is JobState.HELD
    opened = guarded(world, AccessMode.OPEN)
    await newcomers.admit_held_at_start(opened)
    await newcomers.admit_held_at_start(opened)
    assert [t.job_id for t in world.backlog.tickets] == [job.id]
    assert await newcomers.list_requests(opened) == ((), 0)
    # Nobody was let in by that: closed again, they wait for an answer as before.
    assert await refused(ctx, "2") == "refusal.access.waiting"


async def test_newcomers_are_told_by_a_message_of_its_own(world: World) -> None:
    ctx = guarded(world)
    shown = Address("chat", "channel", message="5", user="1", token="short-lived", expires=9e9)
    job = await draw(ctx, ADA, HERE, DrawForm("a cat"), EventRef("1", shown))
    await newcomers.allow(ctx, OWNER, 1)
    async with ctx.db.read() as tx:
        notice = await messages.by_event(tx, f"access:{job.id}")
    assert notice is not None
    assert notice.address == Address("chat", "channel", user="1")
