"""Reports of pictures and their answers, and what is kept of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.core.access import Owners
from bot.core.cards import ButtonPress
from bot.core.errors import NotFound
from bot.core.jobs import Job
from bot.core.requests import DrawForm
from bot.core.strictness import SPOILER
from bot.drawing.admission import draw
from bot.moderation import reports
from bot.moderation.store import ReportAnswer
from bot.owner import records
from bot.privacy.deletion import forget
from bot.storage import pictures
from tests.unit.bot.conftest import ADA, BOB, HERE, OWNER, World, ref


@pytest.fixture
def ours(world: World) -> World:
    """The same context with an owner, who is told of reports."""
    world.ctx = replace(world.ctx, owners=Owners({"chat": ["8"]}))
    return world


async def reported(world: World, event: str, *indexes: int | None) -> Job:
    """Draw two pictures of Ada's, which Bob reports."""
    job = await draw(world.ctx, ADA, HERE, DrawForm("a duck", count="2"), ref(event))
    await world.paint(job.id)
    for index in indexes:
        await reports.report(world.ctx, BOB, HERE, ButtonPress("report", job.id, index))
    return job


async def flags(world: World, job: Job) -> list[str]:
    async with world.ctx.db.read() as tx:
        return [picture.flag for picture in await pictures.of_job(tx, job.id)]


async def test_a_report_is_listed_once_and_hidden(ours: World) -> None:
    job = await reported(ours, "a", 1, 1)
    (line,) = await records.list_reports(ours.ctx)
    assert (line.report.job_id, line.report.index, line.report.reporter, line.report.answer) == (
        job.id,
        1,
        "Bob",
        ReportAnswer.OPEN,
    )
    assert line.job is not None
    assert (line.job.asker, line.job.prompt, line.pictures, line.hidden) == ("Ada", "a duck", [1], False)
    file = await records.reported_picture(ours.ctx, line.report.id, 1)
    assert file.path.is_file()
    with pytest.raises(NotFound):
        await records.reported_picture(ours.ctx, line.report.id, 0)

    await records.answer_report(ours.ctx, OWNER, line.report.id, hide=True)
    assert await flags(ours, job) == ["", SPOILER]
    (line,) = await records.list_reports(ours.ctx)
    assert (line.hidden, line.report.answer, line.report.answered_by) == (True, ReportAnswer.HIDDEN, "web:owner")
    (change, *_) = await records.list_changes(ours.ctx, OWNER, "en", limit=9, before=None)
    assert (change.action, change.before, change.after, change.undoable) == ("report", f"#{job.id}", "hidden", False)


async def test_all_pictures_of_a_job_are_dismissed_and_the_unanswered_come_first(ours: World) -> None:
    first = await reported(ours, "a", None)
    second = await reported(ours, "b", 0)
    lines = await records.list_reports(ours.ctx)
    assert [line.report.job_id for line in lines] == [second.id, first.id]
    await records.answer_report(ours.ctx, OWNER, lines[0].report.id, hide=False)
    lines = await records.list_reports(ours.ctx)
    assert [(line.report.job_id, line.report.answer) for line in lines] == [
        (first.id, ReportAnswer.OPEN),
        (second.id, ReportAnswer.DISMISSED),
    ]
    assert lines[0].pictures == [0, 1]
    assert await flags(ours, second) == ["", ""]


@pytest.mark.parametrize("hide", [True, False])
async def test_a_report_that_is_not_there_is_not_answered(ours: World, hide: bool) -> None:
    with pytest.raises(NotFound):
        await records.answer_report(ours.ctx, OWNER, 5, hide=hide)


@pytest.mark.parametrize("who", [ADA, BOB])
async def test_nothing_of_a_report_is_kept_of_people_who_are_forgotten(ours: World, who: object) -> None:
    await reported(ours, "a", 0, 1)
    assert await ours.count("reports") == 2
    await forget(ours.ctx, ADA if who is ADA else BOB)
    assert await ours.count("reports") == 0
