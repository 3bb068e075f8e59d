"""Words, bans, reports and the log, on a real database."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bot.audit import changes
from bot.audit import store as audit_rows
from bot.commands.model import Invocation, Permission
from bot.context import AppContext
from bot.core.access import Owners
from bot.core.cards import ButtonPress, Card
from bot.core.errors import BadInput, Moderated, NotAllowed, NotFound, Refusal, Unavailable
from bot.core.jobs import Job, JobState
from bot.core.messages import Address, EventRef, Message, MessageKind
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from bot.core.strictness import HIDDEN, SPOILER, WARNED, Strictness
from bot.drawing.admission import draw
from bot.drawing.job_actions import reroll, vary
from bot.features import COMMANDS
from bot.moderation import store as moderation_rows
from bot.moderation.bans import BAN
from bot.moderation.checks import FREE_STRIKES, STRIKE_FADE_SECONDS
from bot.moderation.reports import report
from bot.moderation.word_list import build_word_list, parse_custom_words
from bot.places.options import OPTION
from bot.privacy.deletion import forget
from bot.storage import messages, people, pictures
from bot.storage.sql import load_card
from tests.unit.bot.conftest import ADA, ALONE, BOB, HERE, OWNER, PAGE, THERE, World, ref
from tests.unit.bot.conftest import run as run_command

ADMIN = Actor("chat", "9", "Max", is_admin=True)
BOSS = Actor("chat", "8", "Boss", is_owner=True)
ADULT = replace(HERE, age_restricted=True)
BAD = "a nude woman on a beach"


@pytest.fixture
def ours(world: World) -> World:
    """The same ctx with owners, as the settings would name them."""
    world.ctx = replace(world.ctx, owners=Owners({"chat": ["8"], "other": []}))
    return world


async def ask(
    ctx: AppContext, prompt: str = "a red apple", *, who: Actor = ADA, where: Place = HERE, event: str = "e"
) -> Job:
    return await draw(ctx, who, where, DrawForm(prompt), ref(event))


async def type_(
    ctx: AppContext,
    name: str,
    *,
    who: Actor = ADMIN,
    where: Place = HERE,
    names: dict[str, str] | None = None,
    **args: str,
) -> Card:
    command = COMMANDS.by_name[name]
    return await run_command(ctx, Invocation(who, where, command, EventRef("t"), args, names or {}))


async def notices(world: World) -> list[tuple[Message, Card]]:
    async with world.ctx.db.read() as tx:
        found = [m for m in await messages.wanted(tx) if m.kind is MessageKind.NOTICE]
    return [(message, load_card(message.card)) for message in found]


async def refused(ctx: AppContext, times: int, *, who: Actor = ADA) -> None:
    for number in range(times):
        with pytest.raises(Moderated):
            await ask(ctx, BAD, who=who, event=f"bad{number}")


async def strict(world: World, job: Job) -> Strictness:
    async with world.ctx.db.read() as tx:
        return await moderation_rows.strictness_of_job(tx, job.id)


# ---- words


async def test_where_everybody_reads_listed_words_are_refused_and_cost_nothing(world: World) -> None:
    with pytest.raises(Moderated) as caught:
        await ask(world.ctx, "a N U D E woman")
    assert (caught.value.key, caught.value.params["word"]) == ("refusal.words.refused", "nude")
    assert await world.count("jobs") == await world.count("ledger") == 0
    assert world.backlog.tickets == []


@pytest.mark.parametrize("where", [ADULT, ALONE, PAGE])
async def test_among_adults_and_alone_they_are_not(world: World, where: Place) -> None:
    job = await ask(world.ctx, BAD, who=OWNER if where is PAGE else ADA, where=where)
    assert job.request.notes == ()
    assert await strict(world, job) is Strictness.OFF


@pytest.mark.parametrize("where", [HERE, ADULT, ALONE, PAGE])
async def test_sexualised_minors_are_refused_everywhere(world: World, where: Place) -> None:
    await type_(world.ctx, "easel words", level="off")
    for who in (ADA, OWNER):
        with pytest.raises(Moderated) as caught:
            await ask(world.ctx, "a nude child", who=who, where=where)
        assert caught.value.key == "refusal.words.forbidden"


@pytest.mark.parametrize(("level", "notes"), [("off", ()), ("warn", (WARNED,)), ("spoiler", (HIDDEN,))])
async def test_a_place_is_as_strict_as_its_admins_say(world: World, level: str, notes: tuple[str, ...]) -> None:
    await type_(world.ctx, "easel words", level=level)
    bad = await ask(world.ctx, BAD)
    assert bad.request.notes == notes
    assert await strict(world, bad) is Strictness(level)
    assert (await ask(world.ctx, event="good")).request.notes == ()
    with pytest.raises(Moderated):
        await ask(world.ctx, BAD, where=THERE, event="elsewhere")


async def test_what_admins_say_holds_among_adults_too(world: World) -> None:
    await type_(world.ctx, "easel words", level="refuse")
    with pytest.raises(Moderated):
        await ask(world.ctx, BAD, where=ADULT)


async def test_an_owner_says_it_for_everywhere_where_nobody_has(world: World) -> None:
    await type_(world.ctx, "easel words", who=BOSS, where=ALONE, level="spoiler")
    assert (await ask(world.ctx, BAD)).request.notes == (HIDDEN,)
    assert (await ask(world.ctx, BAD, where=ALONE, event="2")).request.notes == (HIDDEN,)
    await type_(world.ctx, "easel words", where=THERE, level="refuse")
    with pytest.raises(Moderated):
        await ask(world.ctx, BAD, where=THERE, event="3")


async def test_old_prompts_are_looked_at_again(world: World) -> None:
    await type_(world.ctx, "easel words", level="warn")
    job = await ask(world.ctx, BAD)
    again = await reroll(world.ctx, ADA, ALONE, ButtonPress("reroll", job.id), ref("alone"))
    assert again.request.notes == ()
    await type_(world.ctx, "easel words", level="refuse")
    for press in (reroll, vary):
        with pytest.raises(Moderated):
            await press(world.ctx, ADA, HERE, ButtonPress("vary", job.id, 0), ref(press.__name__))


async def test_what_is_not_wanted_in_a_picture_is_not_looked_at(world: World) -> None:
    job = await draw(world.ctx, ADA, HERE, DrawForm("a red apple", negative="nude, gore", guidance="2"), ref())
    assert job.request.negative


async def test_operators_have_words_of_their_own(world: World) -> None:
    ctx = replace(world.ctx, word_list=build_word_list(parse_custom_words(["apple", "-nude"])))
    with pytest.raises(Moderated):
        await ask(ctx, "two APPLES")
    assert (await ask(ctx, BAD)).request.notes == ()


async def test_the_place_s_log_is_told_with_the_text_as_data(world: World) -> None:
    await type_(world.ctx, "easel log")
    await refused(world.ctx, 1)
    ((message, card),) = await notices(world)
    assert message.address == Address("chat", "channel")
    assert (card.prompt, card.asker) == (BAD, "Ada")
    assert "“nude”" in card.notes[0]
    assert world.backlog.posts == 1
    await type_(world.ctx, "easel log", level="off")
    with pytest.raises(Moderated):
        await ask(world.ctx, BAD, event="later")
    assert len(await notices(world)) == 1


# ---- whoever goes on


async def test_who_goes_on_has_to_wait_longer_each_time(world: World) -> None:
    await refused(world.ctx, FREE_STRIKES)
    await ask(world.ctx, event="still")
    waits = []
    for number in range(8):
        with pytest.raises(Moderated):
            await ask(world.ctx, BAD, event=f"more{number}")
        with pytest.raises(NotAllowed) as caught:
            await ask(world.ctx, event=f"good{number}")
        assert caught.value.key == "refusal.words.wait"
        seconds = float(caught.value.params["wait"])
        waits.append(seconds)
        world.clock.advance(seconds)
    assert waits[:6] == [60, 120, 240, 480, 960, 960]
    await ask(world.ctx, event="at last")
    await ask(world.ctx, who=BOB, event="others")


async def test_waiting_is_no_strike_and_fades(world: World) -> None:
    await refused(world.ctx, FREE_STRIKES + 1)
    for number in range(5):
        with pytest.raises(NotAllowed):
            await ask(world.ctx, BAD, event=f"soon{number}")
    world.clock.advance(STRIKE_FADE_SECONDS * (FREE_STRIKES + 1))
    await refused(world.ctx, FREE_STRIKES)
    await ask(world.ctx, event="fine")


async def test_another_account_of_the_same_person_waits_too(world: World) -> None:
    await refused(world.ctx, FREE_STRIKES + 1)
    other = Actor("web", "1")
    await link(world, other)
    with pytest.raises(NotAllowed):
        await ask(world.ctx, who=other, where=ALONE)


async def link(world: World, other: Actor, to: Actor = ADA) -> None:
    async with world.ctx.db.write() as tx:
        person = await people.remember(tx, to, now=0.0)
        await people.remember(tx, other, now=0.0)
        await tx.execute(
            "UPDATE accounts SET person_id = ? WHERE platform = ? AND user_id = ?",
            (person.id, other.platform, other.user_id),
        )


# ---- bans


async def test_a_ban_says_when_it_ends_and_ends(ours: World) -> None:
    await type_(ours.ctx, "easel ban", person="1", span="3 days", reason="@everyone spam")
    with pytest.raises(NotAllowed) as caught:
        await ask(ours.ctx)
    assert ours.studio.refused(caught.value, "en").status == (
        "You can't draw here for now (@everyone spam); you can again in 3 days."
    )
    await ask(ours.ctx, where=THERE, event="there")
    await ask(ours.ctx, who=BOB, event="bob")
    ours.clock.advance(3 * 86400)
    await ask(ours.ctx, event="later")


async def test_a_ban_stops_presses_that_draw(ours: World) -> None:
    job = await ask(ours.ctx)
    await ours.paint(job.id)
    await type_(ours.ctx, "easel ban", person="1")
    with pytest.raises(NotAllowed) as caught:
        await reroll(ours.ctx, ADA, HERE, ButtonPress("reroll", job.id), ref("again"))
    assert caught.value.key == "refusal.banned.for_good"


@pytest.mark.parametrize(
    "action",
    [
        "reroll",
        "seed",
        "vary",
        "upscale",
        "original",
        "prompt",
        "report",
        "favourite",
    ],
)
@pytest.mark.parametrize("who", [ADA, BOB], ids=["their own picture", "somebody else's, never seen before"])
async def test_a_ban_is_looked_at_at_every_press(ours: World, action: str, who: Actor) -> None:
    job = await ask(ours.ctx)
    await ours.paint(job.id)
    await type_(ours.ctx, "easel log")
    await type_(ours.ctx, "easel ban", person=who.user_id)
    with pytest.raises(NotAllowed) as caught:
        await ours.studio.press(who, HERE, ButtonPress(action, job.id, 0), ref("p"))
    assert caught.value.key == "refusal.banned.for_good"
    assert (await ours.count("favourites"), await notices(ours)) == (0, [])


SHOWS_OR_MAKES: dict[str, dict[str, str]] = {
    "draw": {"prompt": "a cat"},
    "imagine": {"prompt": "a cat"},
    "edit": {"instruction": "make it night"},
    "describe": {},
    "queue": {},
    "info": {},
    "quota show": {},
    "quota why": {},
    "easel limits": {},
    "search": {"words": "apple"},
    "favourites": {},
    "again": {"number": "1"},
    "link": {},
    "studio": {},
    "loras": {},
    "inspect": {},
}
KEPT: dict[str, dict[str, str]] = {"export": {}, "forget": {}, "unlink": {}, "settings": {}, "claim": {"code": "x"}}


async def run(ctx: AppContext, name: str, args: dict[str, str]) -> Card:
    command = COMMANDS.by_name[name]
    return await run_command(ctx, Invocation(ADA, HERE, command, EventRef("t"), args))


async def test_every_command_that_anybody_may_give_is_listed() -> None:
    assert {v.name for v in COMMANDS.typed if v.permission is Permission.ANYBODY} == SHOWS_OR_MAKES.keys() | KEPT.keys()


@pytest.mark.parametrize("name", SHOWS_OR_MAKES)
async def test_a_ban_is_looked_at_at_every_command_that_shows_or_makes_something(ours: World, name: str) -> None:
    await ask(ours.ctx)
    await type_(ours.ctx, "easel ban", person="1", span="1h")
    with pytest.raises(NotAllowed) as caught:
        await run(ours.ctx, name, SHOWS_OR_MAKES[name])
    assert caught.value.key == "refusal.banned"


@pytest.mark.parametrize("name", KEPT)
async def test_a_ban_takes_nobody_s_own_data_away(ours: World, name: str) -> None:
    job = await ask(ours.ctx)
    await ours.paint(job.id)
    await type_(ours.ctx, "easel ban", person="1")
    said = "done"
    try:
        await run(ours.ctx, name, KEPT[name])
    except Refusal as refusal:
        said = refusal.key
    assert not said.startswith("refusal.banned")


async def test_the_banned_keep_their_history_and_may_cancel_their_own(ours: World) -> None:
    old, running = await ask(ours.ctx, event="1"), await ask(ours.ctx, event="2")
    await ours.paint(old.id)
    async with ours.ctx.db.write() as tx:
        await tx.execute("UPDATE jobs SET state = 'running' WHERE id = ?", (running.id,))
    await type_(ours.ctx, "easel ban", person="1")
    assert len((await ours.studio.history(ADA, HERE)).pictures) == 1
    assert (await ours.studio.press(ADA, HERE, ButtonPress("page", 0), ref("page"))).card is not None
    await ours.studio.press(ADA, HERE, ButtonPress("cancel", running.id), ref("stop"))
    assert (await ours.job(running.id)).state is JobState.CANCELLED


async def test_the_banned_turn_no_pages_of_a_search(ours: World) -> None:
    job = await ask(ours.ctx)
    await ours.paint(job.id)
    await type_(ours.ctx, "search", who=ADA, words="apple")
    await type_(ours.ctx, "easel ban", person="1")
    with pytest.raises(NotAllowed):
        await ours.studio.press(ADA, HERE, ButtonPress("page", 0, 1), ref("page"))


async def test_only_an_owner_s_ban_stops_an_admin_of_a_place(ours: World) -> None:
    job = await ask(ours.ctx)
    await ours.paint(job.id)
    await type_(ours.ctx, "easel ban", person="9")
    await type_(ours.ctx, "easel bans")
    await ours.studio.press(ADMIN, HERE, ButtonPress("hide", job.id, 0), ref("h"))
    await type_(ours.ctx, "easel ban", who=BOSS, where=ALONE, person="9")
    waiting = await ask(ours.ctx, event="w")
    for action, about in (("hide", job), ("cancel", waiting)):
        with pytest.raises(NotAllowed) as caught:
            await ours.studio.press(ADMIN, HERE, ButtonPress(action, about.id, 0), ref("h2"))
        assert caught.value.key == "refusal.banned.for_good"
    with pytest.raises(NotAllowed):
        await type_(ours.ctx, "easel unban", person="9")


async def test_what_the_banned_have_waiting_is_cancelled_and_refunded(ours: World) -> None:
    running, waiting = await ask(ours.ctx, event="1"), await ask(ours.ctx, event="2")
    elsewhere = await ask(ours.ctx, where=THERE, event="3")
    bobs = await ask(ours.ctx, who=BOB, event="4")
    async with ours.ctx.db.write() as tx:
        await tx.execute("UPDATE jobs SET state = 'running' WHERE id = ?", (running.id,))
    card = await type_(ours.ctx, "easel ban", person="chat:1", names={"person": "Ada"})
    assert card.status == "Ada can't draw here any more, until /easel unban."
    states = {job.id: (await ours.job(job.id)).state for job in (running, waiting, elsewhere, bobs)}
    assert states == {
        running.id: JobState.RUNNING,
        waiting.id: JobState.CANCELLED,
        elsewhere.id: JobState.QUEUED,
        bobs.id: JobState.QUEUED,
    }
    assert ours.backlog.forgotten == [waiting.id]
    assert await ours.counted() == 3


async def test_every_account_of_the_person_is_banned(ours: World) -> None:
    other = Actor("chat", "77")
    await link(ours, other)
    await type_(ours.ctx, "easel ban", person="77", span="1h")
    with pytest.raises(NotAllowed):
        await ask(ours.ctx)


async def test_owners_ban_everywhere_and_are_never_banned(ours: World) -> None:
    await type_(ours.ctx, "easel ban", who=BOSS, where=ALONE, person="1", span="1h")
    for where in (HERE, THERE, ALONE):
        with pytest.raises(NotAllowed):
            await ask(ours.ctx, where=where, event=str(where))
    with pytest.raises(NotAllowed) as caught:
        await type_(ours.ctx, "easel ban", person="8")
    assert caught.value.key == "refusal.ban.owner"
    await link(ours, Actor("chat", "88"), to=BOSS)
    with pytest.raises(NotAllowed):
        await type_(ours.ctx, "easel ban", person="88")


@pytest.mark.parametrize("who", [ADA, replace(ADMIN, is_admin=False)])
@pytest.mark.parametrize("command", ["easel ban", "easel unban", "easel bans", "easel words", "easel log"])
async def test_only_admins_may(ours: World, command: str, who: Actor) -> None:
    with pytest.raises(NotAllowed):
        await type_(ours.ctx, command, who=who, person="2", level="off")
    with pytest.raises(NotAllowed):
        await type_(ours.ctx, command, who=ADMIN, where=ALONE, person="2", level="off")
    assert await ours.count("audit") == await ours.count("bans") == await ours.count("options") == 0


async def test_bans_are_listed_undone_and_taken_back(ours: World) -> None:
    await ask(ours.ctx)
    await type_(ours.ctx, "easel ban", person="1", span="2h", reason="spam")
    await type_(ours.ctx, "easel ban", where=THERE, person="2")
    card = await type_(ours.ctx, "easel bans")
    assert [(f.label, f.value) for f in card.facts] == [("Ada (chat:1)", "2 hours · spam")]
    await type_(ours.ctx, "easel unban", person="1")
    assert (await type_(ours.ctx, "easel bans")).status == "Nobody is banned here."
    with pytest.raises(NotFound):
        await type_(ours.ctx, "easel unban", person="2")
    async with ours.ctx.db.write() as tx:
        entry = (await audit_rows.of_place(tx, "chat", "guild"))[0]
        assert entry.action == "easel unban"
        await changes.undo_change(tx, entry.id, {kind.name: kind for kind in (BAN, OPTION)}, HERE, by="chat:9", now=1.0)
        place_id = await people.find_place(tx, HERE)
        assert place_id is not None
        back = await moderation_rows.get_ban(tx, "chat", "1", place_id)
    assert back is not None
    assert back.reason == "spam"


async def test_a_name_that_nobody_knows_is_no_person(ours: World) -> None:
    with pytest.raises(BadInput) as caught:
        await type_(ours.ctx, "easel ban", person="@ada")
    assert "@ada" in ours.studio.refused(caught.value, "en").status


# ---- the log


async def test_the_log_is_a_channel_of_the_same_place(ours: World) -> None:
    with pytest.raises(BadInput):
        await type_(ours.ctx, "easel log", channel="elsewhere")
    await type_(ours.ctx, "easel log", channel="logs", names={"channel": "mod-log"})
    async with ours.ctx.db.read() as tx:
        rows = list(await tx.execute_fetchall("SELECT value FROM options"))
    assert [json.loads(row[0]) for row in rows] == [{"platform": "chat", "chat": "logs"}]


# ---- reports


async def painted(world: World, *, count: str = "1", private: bool = False, where: Place = HERE) -> Job:
    job = await draw(world.ctx, ADA, where, DrawForm("@everyone a duck", count=count, private=private), ref("drawn"))
    await world.paint(job.id)
    return job


async def test_a_report_goes_to_the_log_once_with_the_picture_covered(ours: World) -> None:
    await type_(ours.ctx, "easel log")
    job = await painted(ours, count="2")
    for who in (BOB, BOB, ADMIN):
        await report(ours.ctx, who, HERE, ButtonPress("report", job.id))
    told = await notices(ours)
    assert len(told) == 2
    message, card = told[0]
    assert (message.address.chat, message.job_id) == ("channel", job.id)
    assert [p.spoiler for p in card.pictures] == [True, True]
    assert (card.prompt, card.facts[0].value, card.facts[1].value) == ("@everyone a duck", "Ada", "Bob (chat:2)")
    assert card.buttons[0][0].press == ButtonPress("hide", job.id)


async def test_without_a_log_the_owners_are_told_alone(ours: World) -> None:
    job = await painted(ours)
    await report(ours.ctx, BOB, HERE, ButtonPress("report", job.id, 0))
    ((message, _),) = await notices(ours)
    assert message.address == Address("chat", "8", user="8", private=True)


async def test_without_anybody_it_is_said_so(world: World) -> None:
    job = await painted(world)
    with pytest.raises(Unavailable):
        await world.studio.press(BOB, HERE, ButtonPress("report", job.id, 0), ref("press"))
    await type_(world.ctx, "easel log")
    pressed = await world.studio.press(BOB, HERE, ButtonPress("report", job.id, 0), ref("press"))
    assert pressed.notice == "Thank you. The admins of this place have been told."


@pytest.mark.parametrize(("private", "where"), [(True, HERE), (False, ALONE)])
async def test_what_nobody_else_sees_is_not_reported(ours: World, private: bool, where: Place) -> None:
    job = await painted(ours, private=private, where=where)
    with pytest.raises(NotFound):
        await report(ours.ctx, ADA, where, ButtonPress("report", job.id, 0))
    assert not any(b.press.action == "report" for row in (await ours.studio.card(ADA, job.id)).buttons for b in row)


async def test_an_admin_of_its_place_hides_a_picture(ours: World) -> None:
    job = await painted(ours, count="2")
    before = await ours.studio.card(ADA, job.id)
    assert any(button.press.action == "report" for button in before.more)
    elsewhere = replace(ADMIN, user_id="10")
    # Its chat has another group's admins too, as a channel that two of them share would.
    for who, where in ((BOB, HERE), (elsewhere, THERE), (elsewhere, replace(THERE, channel="channel"))):
        with pytest.raises((NotAllowed, NotFound)):
            await ours.studio.press(who, where, ButtonPress("hide", job.id, 1), ref("h"))
    await ours.studio.press(ADMIN, HERE, ButtonPress("hide", job.id, 1), ref("h"))
    assert [p.spoiler for p in (await ours.studio.card(ADA, job.id)).pictures] == [False, True]
    assert ours.backlog.changes[-1] == job.id
    async with ours.ctx.db.read() as tx:
        assert [p.flag for p in await pictures.of_job(tx, job.id)] == ["", SPOILER]


# ---- what is left of it


async def test_forgetting_empties_what_the_log_was_told(ours: World) -> None:
    await type_(ours.ctx, "easel log")
    await refused(ours.ctx, 1)
    await refused(ours.ctx, 1, who=BOB)
    await forget(ours.ctx, ADA)
    ((_, card),) = await notices(ours)
    assert card.asker == "Bob"
    async with ours.ctx.db.read() as tx:
        rows = await tx.execute_fetchall("SELECT count(*) FROM messages WHERE card LIKE '%Ada%'")
    assert next(iter(rows))[0] == 0


async def test_a_contact_sheet_with_a_covered_picture_is_covered(ours: World) -> None:
    job = await painted(ours)
    sheet = (await ours.studio.history(ADA, HERE)).pictures[0]
    await ours.studio.press(ADMIN, HERE, ButtonPress("hide", job.id), ref("h"))
    assert [sheet.spoiler, (await ours.studio.history(ADA, HERE)).pictures[0].spoiler] == [False, True]


@pytest.mark.parametrize("days", [2, 400])
async def test_nobody_waits_for_refusals_of_a_clock_that_was_set_back(world: World, days: int) -> None:
    await refused(world.ctx, FREE_STRIKES + 1)
    world.clock.jump(-days * 86400)
    await ask(world.ctx)
    await refused(world.ctx, 1)
    with pytest.raises(NotAllowed):
        await ask(world.ctx, event="now it counts again")
