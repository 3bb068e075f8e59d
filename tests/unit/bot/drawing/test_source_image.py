"""Requests that start from a picture: it is kept with its job, or nothing of it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bot.core.errors import BadInput, OverQuota, Refusal
from bot.core.requests import DrawForm
from bot.drawing.admission import draw
from tests.fakes.source_images import BLUE, bomb, half_mask, opened, picture, turned
from tests.unit.bot.conftest import ADA, HERE, World, ref

FORM = DrawForm("a cat", image=picture(96, 64))


def kept(world: World) -> list[Path]:
    folder = world.ctx.pictures.parent / "inputs"
    return sorted(folder.iterdir()) if folder.is_dir() else []


async def test_the_picture_is_kept_with_its_job(world: World) -> None:
    job = await draw(world.ctx, ADA, HERE, replace(FORM, mask=half_mask()), ref())
    assert (await world.job(job.id)).request == job.request
    data = world.ctx.pictures.parent
    assert (opened((data / job.request.image).read_bytes()).mode, job.request.strength) == ("RGB", 0.6)
    assert opened((data / job.request.mask).read_bytes()).mode == "L"
    assert kept(world) == sorted([data / job.request.image, data / job.request.mask])
    # 3:2 at the model's native area.
    assert (job.request.width, job.request.height) == (240, 160)


async def test_what_lies_sideways_is_as_wide_as_it_is_seen(world: World) -> None:
    job = await draw(world.ctx, ADA, HERE, DrawForm("a cat", image=turned(96, 64)), ref())
    assert (job.request.width, job.request.height) == (160, 240)


async def test_the_same_event_twice_keeps_one(world: World) -> None:
    one = await draw(world.ctx, ADA, HERE, FORM, ref("same"))
    again = await draw(world.ctx, ADA, HERE, replace(FORM, image=picture(colour=BLUE)), ref("same"))
    assert again == one
    assert [path.name for path in kept(world)] == [Path(one.request.image).name]


async def test_the_same_picture_for_two_jobs_is_one_file(world: World) -> None:
    one = await draw(world.ctx, ADA, HERE, FORM, ref("1"))
    two = await draw(world.ctx, ADA, HERE, FORM, ref("2"))
    assert one.request.image == two.request.image
    assert len(kept(world)) == 1


@pytest.mark.parametrize(
    ("form", "key"),
    [
        (DrawForm("a cat", image=b"no picture"), "refusal.image.unreadable"),
        (DrawForm("a cat", image=b""), "refusal.image.unreadable"),
        (DrawForm("a cat", image=bomb()), "refusal.image.too_large"),
        (DrawForm("a cat", image=picture()[:60]), "refusal.image.damaged"),
        (DrawForm("a cat", mask=half_mask()), "refusal.mask.no_image"),
        (replace(FORM, mask=half_mask(10, 10)), "refusal.mask.size"),
        (replace(FORM, strength="2"), "refusal.strength.range"),
        (replace(FORM, prompt=" "), "refusal.prompt.empty"),
        (DrawForm("a cat --strength 0.5"), "refusal.strength.no_image"),
    ],
)
async def test_a_refusal_keeps_nothing(world: World, form: DrawForm, key: str) -> None:
    with pytest.raises(BadInput) as refused:
        await draw(world.ctx, ADA, HERE, form, ref())
    assert refused.value.key == key
    assert (kept(world), await world.count("jobs"), await world.counted()) == ([], 0, 0)
    for locale in ("en", "zh_CN"):
        card = world.studio.refused(refused.value, locale)
        assert card.status != key
        assert "{" not in card.status


async def test_neither_does_one_by_the_quota(world: World) -> None:
    await draw(world.ctx, ADA, HERE, DrawForm("a cat", count="4"), ref("1"))
    with pytest.raises(OverQuota):
        await draw(world.ctx, ADA, HERE, replace(FORM, count="2"), ref("2"))
    assert kept(world) == []


async def test_a_model_that_can_not_start_from_one_says_so(world: World) -> None:
    world.profiles[0] = replace(world.profiles[0], can=frozenset())
    with pytest.raises(Refusal) as refused:
        await draw(world.ctx, ADA, HERE, FORM, ref())
    assert refused.value.key == "refusal.image.model"
