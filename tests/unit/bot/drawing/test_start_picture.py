"""Stored pictures that a request starts from: by a flag, and by the button of a picture."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.core.cards import ButtonPress
from bot.core.errors import BadInput, NotFound, Refusal
from bot.core.requests import DrawForm, DrawRequest
from tests.unit.bot.conftest import ADA, BOB, HERE, THERE, World, ref


async def drawn(world: World) -> str:
    """Draw two pictures; return the name of the second one's file."""
    await world.studio.draw(ADA, HERE, DrawForm("an apple --seed 7 --n 2"), ref("d"))
    await world.paint(1)
    async with world.db.read() as tx:
        rows = await tx.execute_fetchall('SELECT path FROM pictures WHERE "index" = 1')
    return f"pictures/{next(iter(rows))[0]}"


async def asked(world: World, prompt: str, event: str = "a") -> DrawRequest:
    shown = await world.studio.draw(BOB, HERE, DrawForm(prompt), ref(event))
    return (await world.job(shown.job_id)).request


@pytest.mark.parametrize("typed", ["1:2", "#1:2", "1.2"])
async def test_a_flag_names_the_picture(world: World, typed: str) -> None:
    path = await drawn(world)
    request = await asked(world, f"a pear --from {typed} --strength 0.4")
    assert (request.typed, request.image, request.strength) == ("a pear", path, 0.4)
    assert (request.width, request.height) == (192, 192)


async def test_a_number_alone_is_the_first_picture(world: World) -> None:
    path = await drawn(world)
    request = await asked(world, "a pear --from 1")
    assert request.image == path.replace("-1.png", "-0.png")
    assert request.strength == 0.6


@pytest.mark.parametrize(
    ("typed", "key"),
    [("apple", "refusal.from.not_number"), ("1:3", "refusal.picture.not_found"), ("9", "refusal.job.not_found")],
)
async def test_what_is_no_picture_is_refused(world: World, typed: str, key: str) -> None:
    await drawn(world)
    with pytest.raises(Refusal) as refused:
        await asked(world, f"a pear --from {typed}")
    assert refused.value.key == key


async def test_only_what_is_seen_here_can_be_named(world: World) -> None:
    await drawn(world)
    with pytest.raises(NotFound):
        await world.studio.draw(BOB, THERE, DrawForm("a pear --from 1"), ref("t"))
    with pytest.raises(BadInput) as refused:
        await world.studio.draw(BOB, HERE, DrawForm("a pear --from 1", image=b"x"), ref("i"))
    assert refused.value.key == "refusal.from.image"
    assert await world.count("jobs") == 1


async def test_the_button_opens_a_form_with_a_strength(world: World) -> None:
    path = await drawn(world)
    start = ButtonPress("start", 1, 1)
    form = (await world.studio.press(BOB, HERE, start, ref("o"))).form
    assert form is not None
    values = {field.name: field.value for field in form.fields}
    assert [field.name for field in form.fields] == ["prompt", "strength", "size", "seed", "steps"]
    assert (values["strength"], values["seed"], values["size"]) == ("0.6", "8", "192x192")
    assert form.line == "/draw an apple --size 192x192 --seed 8 --count 2 --strength 0.6 --from 1:2"
    sent = values | {"prompt": "a pear", "strength": "0.3"}
    result = await world.studio.submit(BOB, HERE, start, sent, ref("s"))
    assert result.new is not None
    request = (await world.job(result.new.job_id)).request
    assert (request.typed, request.image, request.strength, request.seed) == ("a pear", path, 0.3, 8)
    typed = await asked(world, form.line.removeprefix("/draw "))
    assert typed == replace(request, typed="an apple", prompt="an apple", strength=0.6)
