"""Defaults of requests: what is typed wins over one's own, these over the channel's, the place's and the model's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from bot.context import AppContext
from bot.core.errors import AdminsOnly, NotAllowed
from bot.core.people import Actor, Place
from bot.core.preferences import DEFAULTS, RIGHTS, defaults_of_channel
from bot.core.quotas import Limit
from bot.core.requests import DrawForm, DrawRequest
from bot.drawing.admission import draw
from bot.drawing.defaults import depends_on_admins
from bot.storage import people, preferences
from engine.contract import NegativePromptSupport
from engine.families.z_image.spec import demo
from tests.unit.bot.conftest import ADA, ALONE, BOB, HERE, OWNER, THERE, World, ref

TOPIC = replace(HERE, thread="7")


@pytest.fixture
def ctx(world: World) -> AppContext:
    small = demo()
    for name in ("big", "third"):
        world.profiles.append(replace(small, name=name, title=name.title(), source=name))
    return world.ctx


async def set_own(ctx: AppContext, actor: Actor, **values: str | int) -> None:
    async with ctx.db.write() as tx:
        person = await people.remember(tx, actor, now=0.0)
        for name, value in values.items():
            await preferences.put(tx, person.id, name, value)
    await preferences.refresh(ctx.db, ctx.preferences)


async def set_here(ctx: AppContext, name: str, values: Mapping[str, object]) -> None:
    async with ctx.db.write() as tx:
        place_id = await people.remember_place(tx, HERE, now=0.0)
        assert place_id is not None
        await people.put_option(tx, place_id, name, values)
    await preferences.refresh(ctx.db, ctx.preferences)


async def drawn(ctx: AppContext, prompt: str, actor: Actor = ADA, place: Place = HERE) -> DrawRequest:
    return (await draw(ctx, actor, place, DrawForm(f"a cat {prompt}"), ref(f"{actor}{place}{prompt}"))).request


async def test_typed_own_channel_place_model(ctx: AppContext) -> None:
    ctx = replace(ctx, default_quota=Limit(100))
    assert (await drawn(ctx, "")).model == "demo"
    await set_here(ctx, DEFAULTS, {"model": "third", "size": "128x64", "style": "ink", "negative": "fog"})
    assert (await drawn(ctx, "1")).model == "third"
    await set_here(ctx, defaults_of_channel(HERE), {"model": "demo", "size": "wide"})
    request = await drawn(ctx, "2")
    assert (request.model, request.width > request.height, request.style) == ("demo", True, "ink")
    await set_here(ctx, defaults_of_channel(TOPIC), {"model": "third"})
    assert (await drawn(ctx, "3", place=TOPIC)).model == "third"
    assert (await drawn(ctx, "3")).model == "demo"
    await set_own(ctx, ADA, model="big", count=2, style="pixel")
    request = await drawn(ctx, "4")
    assert (request.model, request.count, request.style) == ("big", 2, "pixel")
    request = await drawn(ctx, "5 --model third --count 1 --style photo --size 64x128")
    assert (request.model, request.count, request.style) == ("third", 1, "photo")
    assert (request.width, request.height) == (64, 128)
    # They are hers alone, and the place's end with the place.
    assert (await drawn(ctx, "6", BOB)).model == "demo"
    assert (await drawn(ctx, "7", place=ALONE)).model == "big"
    assert (await drawn(ctx, "8", BOB, THERE)).model == "demo"


async def test_a_default_that_does_not_fit_is_left_out_with_a_note(ctx: AppContext) -> None:
    await set_own(ctx, ADA, model="gone", size="9000x9000", style="gone", count=99)
    request = await drawn(ctx, "")
    assert (request.model, request.style, request.count) == ("demo", "", 4)
    assert set(request.notes) >= {"note.default.model", "note.default.size", "note.default.style"}


async def test_a_style_is_left_out_and_a_private_picture_shown_where_that_is_typed(ctx: AppContext) -> None:
    await set_own(ctx, ADA, style="ink", private="yes")
    request = await drawn(ctx, "")
    assert (request.style, request.private) == ("ink", True)
    request = await drawn(ctx, "--style none --public")
    assert (request.style, request.private, request.typed) == ("", False, "a cat")
    await set_own(ctx, ADA, private="no")
    assert not (await drawn(ctx, "again")).private


async def test_a_negative_prompt_of_the_place_is_dropped_silently_by_a_model_that_ignores_it(
    world: World, ctx: AppContext
) -> None:
    await set_here(ctx, DEFAULTS, {"negative": "fog"})
    request = await drawn(ctx, "--guidance 3")
    assert request.negative == "fog"
    assert (await drawn(ctx, "--guidance 3 --no rain")).negative == "rain"
    world.profiles[0] = replace(world.profiles[0], negative=NegativePromptSupport.NEVER)
    request = await drawn(ctx, "never")
    assert (request.negative, request.notes) == ("", ())


@pytest.mark.parametrize(("who", "key"), [(("admins",), "refusal.model.admins"), (("17",), "refusal.model.roles")])
async def test_a_model_for_others_is_refused_and_stores_nothing(
    world: World, ctx: AppContext, who: tuple[str, ...], key: str
) -> None:
    world.profiles[1] = replace(world.profiles[1], who=who)
    for place in (HERE, ALONE):
        with pytest.raises(NotAllowed) as refused:
            await drawn(ctx, "--model big", place=place)
        assert (refused.value.key, refused.value.params["known"]) == (key, "demo, third")
    assert await world.count("jobs") == 0
    assert (await drawn(ctx, "--model big", OWNER)).model == "big"
    able = replace(ADA, is_admin=True) if who == ("admins",) else replace(ADA, roles=("17",))
    assert (await drawn(ctx, "able --model big", able)).model == "big"


async def test_a_place_narrows_who_may_use_what_and_gives_nobody_more(world: World, ctx: AppContext) -> None:
    world.profiles[1] = replace(world.profiles[1], who=("admins",))
    await set_here(ctx, RIGHTS, {"model:third": ["admins"], "model:big": ["everyone"]})
    for name in ("big", "third"):
        with pytest.raises(AdminsOnly):
            await drawn(ctx, f"--model {name}")
    assert (await drawn(ctx, "--model third", place=THERE)).model == "third"
    assert (await drawn(ctx, "--model third", replace(ADA, is_admin=True))).model == "third"


async def test_a_default_that_the_person_may_not_use_is_passed_over(world: World, ctx: AppContext) -> None:
    await set_here(ctx, DEFAULTS, {"model": "big"})
    await set_here(ctx, RIGHTS, {"model:demo": ["admins"], "model:big": ["17"]})
    assert (await drawn(ctx, "")).model == "third"
    assert (await drawn(ctx, "", replace(BOB, roles=("17",)))).model == "big"


async def test_where_an_admin_gets_another_default_model(ctx: AppContext) -> None:
    assert not depends_on_admins(ctx, ADA, HERE)
    await set_here(ctx, RIGHTS, {"model:big": ["admins"], "model:third": ["17"]})
    await set_own(ctx, BOB, model="third")
    assert not depends_on_admins(ctx, ADA, HERE)
    assert not depends_on_admins(ctx, BOB, HERE), "an admin may not use it either"
    await set_own(ctx, ADA, model="big")
    assert [depends_on_admins(ctx, one, HERE) for one in (ADA, BOB, OWNER, replace(ADA, is_admin=True))] == [
        True,
        False,
        False,
        False,
    ]
    assert not depends_on_admins(ctx, ADA, THERE)
    await set_here(ctx, RIGHTS, {"model:demo": ["admins"]})
    assert depends_on_admins(ctx, BOB, HERE), "the service's own default"
