"""A deleted job is gone from chats, history and disk, also after a kill; its author and admins may delete it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bot.admin.cards import changes_card
from bot.admin.service import list_changes
from bot.audit import store as audit_rows
from bot.core.cards import ButtonPress
from bot.core.errors import BadInput, NotAllowed, NotFound
from bot.core.jobs import Job, JobState
from bot.core.messages import Address, EventRef
from bot.core.people import Place
from bot.core.requests import DrawForm
from bot.drawing.admission import draw
from bot.history import service as history_service
from bot.history import store as history_rows
from bot.storage import data_files, pictures
from tests.fakes.engine import FakeEngine
from tests.fakes.source_images import picture
from tests.fakes.step_gate import StepGate
from tests.fakes.surface import Call, Fault
from tests.flow.conftest import Make
from tests.flow.harness import CHAT, Bot, Hang

HERE = Place("chat", "guild", CHAT)
THERE = Place("chat", "other", "elsewhere")


async def asked(bot: Bot, prompt: str, event: str, *, user: str = "1", **form: object) -> Job:
    """Ask in a place that has admins."""
    ref = EventRef(event, Address("chat", CHAT, user=user))
    return await draw(bot.ctx, bot.actor(user), HERE, DrawForm(prompt, **form), ref)  # type: ignore[arg-type]


async def press(
    bot: Bot, action: str, job_id: int, *, user: str = "1", admin: bool = False, place: Place = HERE
) -> None:
    actor = replace(bot.actor(user), is_admin=admin)
    await bot.press(actor, place, ButtonPress(action, job_id), EventRef(f"press:{action}:{job_id}:{user}"))


async def gone(bot: Bot, job_id: int) -> None:
    """Wait until no message is left to be taken away, and look at what there is."""

    async def over() -> bool:
        return not any(row.unwanted for row in await bot.rows(job_id))

    await bot.until(over)
    assert (bot.chats.shown(job_id), bot.chats.pictures(job_id)) == ([], [])


async def test_nothing_is_left_but_what_was_counted(make: Make) -> None:
    bot = await make()
    first, second = await asked(bot, "an apple", "a", count="4", image=picture()), await asked(bot, "a pear", "b")
    for job in (first, second):
        await bot.delivered(job.id)
    ref = EventRef("o", Address("chat", CHAT, user="2"))
    await bot.press(bot.actor("2"), HERE, ButtonPress("original", first.id), ref)
    await bot.until(lambda: any(seen.originals for seen in bot.chats.messages.values()))
    async with bot.db.write() as tx:
        await history_rows.add_favourite(tx, 1, await pictures.of_job(tx, first.id), now=1.0)
    before = await bot.ledger(first.id)
    result = await bot.press(bot.actor(), HERE, ButtonPress("delete", first.id), EventRef("ask"))
    assert result.menu is not None
    assert result.menu.asks
    assert len(bot.files()) == 5, "it asks first"
    await press(bot, "deletenow", first.id)
    await gone(bot, first.id)
    assert not any(seen.originals for name, seen in bot.chats.messages.items() if name not in bot.chats.deleted)
    assert bot.files() == [f"{second.id}-0.png"]
    assert list((bot.folder / "inputs").glob("*")) == []
    assert await bot.ledger(first.id) == before
    page = await history_service.get_page(bot.ctx, bot.actor(), before=None, limit=9, pictured=False)
    assert [entry.job.id for entry in page.entries] == [second.id]
    async with bot.db.read() as tx:
        assert list(await tx.execute_fetchall("SELECT * FROM favourites")) == []
        assert await audit_rows.recent(tx) == ()
    for action in ("deletenow", "reroll", "more", "edit"):
        with pytest.raises(NotFound) as refused:
            await press(bot, action, first.id)
        assert refused.value.key == "refusal.job.forgotten"


async def test_what_is_too_old_to_be_removed_is_emptied(make: Make) -> None:
    bot = await make()
    job = await asked(bot, "an apple", "a")
    await bot.delivered(job.id)
    bot.chats.old |= set(bot.chats.messages)
    await press(bot, "deletenow", job.id)

    async def over() -> bool:
        return not any(row.unwanted for row in await bot.rows(job.id))

    await bot.until(over)
    (seen,) = bot.chats.shown(job.id)
    assert seen.card is not None
    assert (seen.card.prompt, seen.card.buttons, seen.card.status) == ("", (), "This drawing was deleted.")


async def test_others_may_not_and_admins_of_the_place_may(make: Make) -> None:
    bot = await make()
    job = await asked(bot, "an apple", "a")
    await bot.delivered(job.id)
    for admin, place, error in ((False, HERE, NotAllowed), (True, THERE, NotFound)):
        for action in ("delete", "deletenow"):
            with pytest.raises(error):
                await press(bot, action, job.id, user="2", admin=admin, place=place)
    assert bot.files() == [f"{job.id}-0.png"]
    await press(bot, "deletenow", job.id, user="2", admin=True)
    await gone(bot, job.id)
    async with bot.db.read() as tx:
        (entry,) = await audit_rows.of_place(tx, "chat", "guild")
    assert (entry.actor, entry.action, entry.before, entry.kind) == ("chat:2", "delete", str(job.id), "")
    (fact,) = changes_card(await list_changes(bot.ctx, HERE), "en", now=bot.clock.now(), everywhere=False).facts
    assert fact.label == "#1 delete"
    assert fact.value.startswith(f"{job.id} → deleted · ")


async def test_what_is_drawn_is_cancelled_first(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=FakeEngine(pause=gate))
    job = await asked(bot, "an apple", "a")
    await bot.until(lambda: gate.reached)
    with pytest.raises(BadInput) as refused:
        await press(bot, "deletenow", job.id)
    assert refused.value.key == "refusal.delete.open"
    gate.open()
    await bot.delivered(job.id)


async def test_a_painted_job_is_delivered_to_nobody(make: Make) -> None:
    bot = await make()
    for call in (Call.FINAL, Call.SEND):
        bot.surface.plan(call, *[Fault.BUSY] * 3)
    job = await asked(bot, "an apple", "a", count="4")
    await bot.reaches(job.id, JobState.PAINTED)
    await press(bot, "deletenow", job.id)
    await bot.delivered(job.id)
    await gone(bot, job.id)


async def test_killed_between_the_commit_and_the_files(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bot = await make()
    job, other = await asked(bot, "an apple", "a", count="2"), await asked(bot, "a pear", "b")
    for one in (job, other):
        await bot.delivered(one.id)
    hang = Hang()
    with monkeypatch.context() as patched:
        patched.setattr(data_files, "remove_pictures", hang)
        bot.surface.plan(Call.REMOVE, *[Fault.BUSY] * 9)
        deleting = asyncio.create_task(press(bot, "deletenow", job.id))
        await hang.reached.wait()
        assert len(bot.files()) == 3, "the rows are gone, the files are not"
        await bot.kill()
        deleting.cancel()
        await asyncio.gather(deleting, return_exceptions=True)
    bot.surface.plan(Call.REMOVE)
    await bot.start()
    await gone(bot, job.id)
    assert bot.files() == [f"{other.id}-0.png"]
