"""Edits: reference pictures reach the engine in order, outlive a kill, and go when nobody needs them."""

from __future__ import annotations

import asyncio
import io
import os
import time
import zipfile
from dataclasses import replace

import pytest

from bot.core.cards import ButtonPress
from bot.core.errors import NotFound
from bot.core.jobs import Job, JobState
from bot.core.messages import EventRef
from bot.core.people import Place
from bot.core.requests import DrawForm
from bot.drawing import job_actions
from bot.drawing.admission import draw
from bot.privacy.deletion import DAYS, RetentionWorker, forget
from bot.privacy.exports import request_export
from bot.storage import backup, inputs, people, pictures
from bot.storage.inputs import Staged
from tests.fakes.editing import EDITOR, PLAIN
from tests.fakes.engine import FakeEngine
from tests.fakes.png_texts import read_texts
from tests.fakes.source_images import BLUE, GREEN, RED, opened, picture
from tests.fakes.step_gate import StepGate
from tests.flow.conftest import Make
from tests.flow.harness import CHAT, Bot, Hang

PAGE = Place("web", None, "page")
EDIT = DrawForm("make it night", references=(picture(96, 64, RED), picture(64, 64, BLUE)), seed="7")


def editor(gate: StepGate | None = None) -> FakeEngine:
    profiles = (PLAIN, EDITOR)
    return FakeEngine(profiles, gate, edit_model="editor") if gate else FakeEngine(profiles, edit_model="editor")


async def ask(bot: Bot, form: DrawForm = EDIT, event: str = "page") -> Job:
    return await draw(bot.ctx, bot.actor(platform="web"), PAGE, form, EventRef(event))


async def file_of(bot: Bot, job: Job, index: int = 0) -> bytes:
    async with bot.db.read() as tx:
        return (bot.pictures / (await pictures.of_job(tx, job.id))[index].path).read_bytes()


def stored(bot: Bot) -> list[str]:
    folder = bot.folder / "inputs"
    return sorted(f"inputs/{path.name}" for path in folder.iterdir()) if folder.is_dir() else []


async def test_references_are_in_what_is_drawn_in_their_order(make: Make) -> None:
    bot = await make(engine=editor())
    job = await ask(bot)
    await bot.delivered(job.id)
    assert (job.request.model, stored(bot)) == ("editor", sorted(job.request.references))
    data = await file_of(bot, job)
    drawn = opened(data)
    # The ratio is the first one's.
    assert drawn.size == (240, 160)
    assert [drawn.getpixel((x, 150)) for x in (10, 230)] == [RED, BLUE]
    settings = read_texts(data)["parameters"]
    assert "References: 2" in settings
    assert "inputs" not in settings
    turned = await ask(bot, replace(EDIT, references=EDIT.references[::-1]), "turned")
    await bot.delivered(turned.id)
    assert [opened(await file_of(bot, turned)).getpixel((x, 150)) for x in (10, 180)] == [BLUE, RED]


async def test_the_same_file_twice_is_one_stored_file(make: Make) -> None:
    bot = await make(engine=editor())
    job = await ask(bot, replace(EDIT, references=(*EDIT.references, EDIT.references[0])))
    await bot.delivered(job.id)
    first, second, third = job.request.references
    assert first == third
    assert stored(bot) == sorted({first, second})
    assert len(bot.engine.painted[0].references) == 3


async def test_references_outlive_a_kill(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=editor(gate))
    job = await ask(bot)
    await bot.until(lambda: gate.reached)
    await bot.restart()
    gate.open()
    await bot.delivered(job.id)
    assert opened(await file_of(bot, job)).getpixel((10, 150)) == RED
    assert stored(bot) == sorted(job.request.references)
    assert set(backup.files(bot.folder / "easel.db", "pictures")) >= set(job.request.references)


@pytest.mark.parametrize("committed", [0, 1])
async def test_a_kill_before_the_job_is_stored_leaves_no_orphan(
    make: Make, monkeypatch: pytest.MonkeyPatch, committed: int
) -> None:
    bot = await make(engine=editor())
    await bot.delivered((await bot.ask()).id)
    hang, commit, done = Hang(), inputs.commit, list[Staged]()

    async def until_killed(staged: Staged) -> None:
        if len(done) == committed:
            await hang()
        done.append(staged)
        await commit(staged)

    monkeypatch.setattr(inputs, "commit", until_killed)

    async def nothing(_: Staged) -> None:
        """A killed process removes no files."""

    monkeypatch.setattr(inputs, "discard", nothing)
    asking = asyncio.create_task(ask(bot))
    await hang.reached.wait()
    half = [bot.folder / name for name in stored(bot) if name.endswith(".part")]
    assert len(half) == 2 - committed
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await bot.kill()
    for path in half:
        os.utime(path, (time.time() - 7200,) * 2)
    await bot.start()
    assert stored(bot) == []
    assert len(list((bot.folder / "orphans").rglob("*.png"))) == committed
    async with bot.db.read() as tx:
        assert len(list(await tx.execute_fetchall("SELECT id FROM jobs"))) == 1


async def test_buttons_of_an_edit_use_the_same_references(make: Make) -> None:
    bot = await make(engine=editor())
    first = await ask(bot)
    await bot.delivered(first.id)
    where = bot.actor(platform="web"), PAGE
    again = await job_actions.reroll(bot.ctx, *where, ButtonPress("reroll", first.id), EventRef("2"))
    varied = await job_actions.vary(bot.ctx, *where, ButtonPress("vary", first.id, 0), EventRef("3"))
    for job in (again, varied):
        await bot.delivered(job.id)
        assert (job.request.references, job.request.model) == (first.request.references, "editor")
        assert opened(await file_of(bot, job)).getpixel((230, 150)) == BLUE
    assert len(stored(bot)) == 2


async def test_the_card_says_what_it_was_edited_from_and_the_prompts_line_what_it_lacks(make: Make) -> None:
    bot = await make(engine=editor())
    job = await bot.ask("make it night", references=EDIT.references, seed="7")
    await bot.delivered(job.id)
    (seen,) = bot.chats.shown(job.id)
    assert seen.card is not None
    assert ("Edited from", "2 pictures") in [(fact.label, fact.value) for fact in seen.card.facts]
    place = Place("chat", None, CHAT)
    answer = await bot.press(bot.actor(), place, ButtonPress("prompt", job.id), EventRef("copy"))
    assert answer.card is not None
    assert answer.card.prompt == "make it night --size 240x160 --seed 7 --model editor"
    (note,) = answer.card.notes
    assert "2 reference pictures" in note


async def test_a_reference_that_is_gone_fails_the_job_with_its_sentence(make: Make) -> None:
    gate = StepGate()
    bot = await make(engine=editor(gate))
    job = await ask(bot)
    (bot.folder / job.request.references[1]).unlink()
    gate.open()
    assert (await bot.reaches(job.id, JobState.FAILED)).error == "error.engine.bad_image"


async def test_they_go_with_their_person_unless_another_job_needs_them(make: Make) -> None:
    bot = await make(engine=editor())
    job = await bot.ask("make it night", references=EDIT.references)
    other = await bot.ask("make it day", references=(EDIT.references[0], picture(64, 64, GREEN)), user="2")
    for one in (job, other):
        await bot.delivered(one.id)
    assert len(stored(bot)) == 3
    await forget(bot.ctx, bot.actor())
    assert stored(bot) == sorted(other.request.references)
    assert (await bot.job(job.id)).request.references == ()
    await forget(bot.ctx, bot.actor("2"))
    assert stored(bot) == []


async def test_they_are_in_the_export_of_their_person(make: Make) -> None:
    bot = await make(engine=editor())
    job = await bot.ask("make it night", references=(*EDIT.references, EDIT.references[0]))
    await bot.delivered(job.id)
    await request_export(bot.ctx, bot.actor(), EventRef("export", (await bot.rows(job.id))[0].address))
    await bot.until(lambda: [seen for seen in bot.chats.messages.values() if any(".zip" in f.name for f in seen.files)])
    (sent,) = [f.path for seen in bot.chats.messages.values() for f in seen.files if f.name.endswith(".zip")]
    with zipfile.ZipFile(io.BytesIO(sent.read_bytes())) as archive:
        assert archive.testzip() is None
        assert {n for n in archive.namelist() if n.startswith("inputs/")} == set(job.request.references)


async def test_they_go_with_old_pictures_and_their_number_stays(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    async def idle(_: RetentionWorker) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(RetentionWorker, "run", idle)
    bot = await make(engine=editor())
    job = await bot.ask("make it night", references=EDIT.references)
    await bot.delivered(job.id)
    async with bot.db.write() as tx:
        await people.put_option(tx, people.SERVICE, DAYS, 1)
    bot.clock.advance(2 * 86400.0)
    assert await RetentionWorker(bot.db, bot.pictures, bot.clock).sweep() == 1
    assert stored(bot) == []
    assert (await bot.job(job.id)).request.references == (inputs.DELETED,) * 2
    press = ButtonPress("reroll", job.id)
    with pytest.raises(NotFound) as refused:
        await job_actions.reroll(bot.ctx, bot.actor(), Place("chat", None, CHAT), press, EventRef("late"))
    assert refused.value.key == "refusal.again.start_gone"
