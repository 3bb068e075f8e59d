"""Requests with reference pictures: all of them are kept with their job, or nothing of them is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.core.errors import BadInput, OverQuota
from bot.core.jobs import ticket_of, work_of
from bot.core.requests import DrawForm
from bot.drawing.admission import draw
from bot.queue.timing import DurationEstimate
from tests.fakes.editing import EDITOR, PLAIN
from tests.fakes.source_images import BLUE, bomb, half_mask, opened, picture, turned
from tests.unit.bot.conftest import ADA, HERE, World, ref

PLAIN_PICTURE = picture(96, 64)
FORM = DrawForm("make it night", references=(PLAIN_PICTURE, turned(96, 64)))


@pytest.fixture
def editing(world: World) -> World:
    """The default model takes no references; the operator has named one that does."""
    world.profiles[:] = [PLAIN, EDITOR]
    return replace(world, ctx=replace(world.ctx, edit_model="editor"))


def kept(world: World) -> list[str]:
    folder = world.ctx.pictures.parent / "inputs"
    return sorted(f"inputs/{path.name}" for path in folder.iterdir()) if folder.is_dir() else []


async def test_references_are_kept_with_their_job_upright_and_in_order(editing: World) -> None:
    job = await draw(editing.ctx, ADA, HERE, FORM, ref())
    assert (await editing.job(job.id)).request == job.request
    assert kept(editing) == sorted(job.request.references)
    data = editing.ctx.pictures.parent
    assert [opened((data / name).read_bytes()).size for name in job.request.references] == [(96, 64), (64, 96)]
    assert (job.request.width, job.request.height, job.request.model) == (240, 160, "editor")


async def test_the_same_file_twice_is_stored_once(editing: World) -> None:
    job = await draw(editing.ctx, ADA, HERE, replace(FORM, references=(PLAIN_PICTURE,) * 2), ref("1"))
    other = await draw(editing.ctx, ADA, HERE, replace(FORM, references=(PLAIN_PICTURE,)), ref("2"))
    assert job.request.references == other.request.references * 2
    assert kept(editing) == list(other.request.references)


@pytest.mark.parametrize(
    ("form", "key", "words"),
    [
        (replace(FORM, references=(PLAIN_PICTURE, b"no picture")), "unreadable", "picture 2"),
        (replace(FORM, references=(bomb(), PLAIN_PICTURE)), "too_large", "picture 1"),
        (replace(FORM, references=(PLAIN_PICTURE, PLAIN_PICTURE, PLAIN_PICTURE[:60])), "damaged", "picture 3"),
        (replace(FORM, references=(PLAIN_PICTURE, b"%PDF-1.7")), "format", "picture 2 is a PDF"),
        (replace(FORM, references=(PLAIN_PICTURE,) * 4), "too_many", "The Editor takes 3"),
        (replace(FORM, references=(PLAIN_PICTURE,) * 5), "limit", "4 reference pictures at most"),
        (replace(FORM, image=picture(colour=BLUE)), "image", "either"),
        (replace(FORM, model="demo"), "model", "editor"),
    ],
)
async def test_a_refusal_names_the_reference_and_keeps_nothing(
    editing: World, form: DrawForm, key: str, words: str
) -> None:
    with pytest.raises(BadInput) as refused:
        await draw(editing.ctx, ADA, HERE, form, ref())
    assert refused.value.key == f"refusal.references.{key}"
    assert (kept(editing), await editing.count("jobs"), await editing.counted()) == ([], 0, 0)
    assert words in editing.studio.refused(refused.value, "en").status
    assert "{" not in editing.studio.refused(refused.value, "zh_CN").status


async def test_a_mask_needs_a_start_picture_also_beside_references(editing: World) -> None:
    with pytest.raises(BadInput) as refused:
        await draw(editing.ctx, ADA, HERE, replace(FORM, mask=half_mask()), ref())
    assert (refused.value.key, kept(editing)) == ("refusal.mask.no_image", [])


async def test_a_refusal_by_the_quota_keeps_nothing(editing: World) -> None:
    await draw(editing.ctx, ADA, HERE, DrawForm("a cat", count="4"), ref("1"))
    with pytest.raises(OverQuota):
        await draw(editing.ctx, ADA, HERE, replace(FORM, count="2"), ref("2"))
    assert kept(editing) == []


async def test_where_no_model_edits_it_is_said(world: World) -> None:
    with pytest.raises(BadInput) as refused:
        await draw(world.ctx, ADA, HERE, FORM, ref())
    assert (refused.value.key, kept(world)) == ("refusal.references.no_model", [])


async def test_an_edit_is_more_work_and_takes_longer(editing: World) -> None:
    one = await draw(editing.ctx, ADA, HERE, replace(FORM, references=(PLAIN_PICTURE,)), ref("1"))
    two = await draw(editing.ctx, ADA, HERE, replace(FORM, references=(PLAIN_PICTURE, picture(48, 32, BLUE))), ref("2"))
    assert work_of(one.request) == 240 * 160 * one.request.steps * 2
    assert work_of(two.request) == 240 * 160 * two.request.steps * 3
    estimate = DurationEstimate()
    estimate.measured(ticket_of(one), 4.0)
    assert estimate.seconds(ticket_of(one)) == 4.0
    assert estimate.seconds(ticket_of(two)) == pytest.approx(6.0)
