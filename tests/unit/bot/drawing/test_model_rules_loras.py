"""The LoRAs of a request: which are taken, which are refused with which sentence, and who may use them."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.cards import i18n
from bot.context import AppContext
from bot.core.errors import BadInput, NotAllowed, Refusal
from bot.core.people import Actor
from bot.core.requests import DrawForm, DrawRequest
from bot.drawing import job_actions
from bot.drawing.admission import draw
from bot.drawing.flags import prompt_line
from bot.drawing.model_rules import find_lora, may_use
from bot.drawing.prompt_syntax import TypedLora
from bot.drawing.request_rules import check_form
from bot.drawing.styles import Style
from bot.storage import people
from engine.contract import LoraInfo, LoraRequest
from engine.families.z_image.spec import demo
from tests.unit.bot.conftest import ADA, ALONE, BOB, HERE, OWNER, THERE, World, ref
from tests.unit.bot.outcome import outcome

MODEL = demo()
OTHER = replace(MODEL, name="other", title="Other Model", family="other")
FAMILY = MODEL.family
LORAS = (
    LoraInfo("ink", "Ink Wash", ("ink wash",), FAMILY),
    LoraInfo("oil", "Oil", (), ""),
    LoraInfo("pixel-art", "Pixel Art XL", ("pixel art", "8bit"), FAMILY, weight=0.7),
    LoraInfo("sketch", "Sketch", (), FAMILY),
    LoraInfo("strange", "Strange", (), "unserved"),
    LoraInfo("theirs", "Theirs", (), "other"),
)
STYLES = {
    "pixels": Style("pixels", "pixels of {prompt}", "", (TypedLora("Pixel Art", "0.9"), TypedLora("ink"))),
    "titled": Style("titled", loras=(TypedLora("Pixel Art XL", "0.9"), TypedLora("ink"))),
    "lost": Style("lost", loras=(TypedLora("gone"),)),
}


def ask(prompt: str, loras: tuple[LoraInfo, ...] = LORAS, model: str | None = None) -> DrawRequest:
    return check_form(DrawForm(prompt, model=model), (MODEL, OTHER), 4, random.Random(0), STYLES, loras=loras)


@pytest.mark.parametrize(
    ("typed", "loras"),
    [
        ("a cat", []),
        ("a cat --lora ink", [("ink", 1.0)]),
        ("a cat --lora pixel-art", [("pixel-art", 0.7)]),
        ("a cat --lora Pixel_Art:-1.25", [("pixel-art", -1.25)]),
        ('a cat --lora "Pixel Art XL:2"', [("pixel-art", 2.0)]),
        ("a cat --lora oil:0.5 --lora ink:0,5", [("oil", 0.5), ("ink", 0.5)]),
        # The last weight of a LoRA counts; the order is that of the first mention.
        ("a cat <lora:ink:0.5> --lora oil --lora ink:2", [("ink", 2.0), ("oil", 1.0)]),
        ("a cat --lora ink:0", []),
        ("a cat --style pixels", [("pixel-art", 0.9), ("ink", 1.0)]),
        ("a cat --style titled", [("pixel-art", 0.9), ("ink", 1.0)]),
        ("a cat --style titled --lora pixel-art:0", [("ink", 1.0)]),
        ("a cat --style pixels --lora pixel-art:0.2", [("pixel-art", 0.2), ("ink", 1.0)]),
        (
            "a cat --style pixels --lora ink:0 --lora oil --lora sketch",
            [("pixel-art", 0.9), ("oil", 1.0), ("sketch", 1.0)],
        ),
    ],
)
def test_loras_are_taken_with_their_weights(typed: str, loras: list[tuple[str, float]]) -> None:
    request = ask(typed)
    assert request.loras == tuple(LoraRequest(*lora) for lora in loras)
    assert request.typed == "a cat"
    # The line that asks for it again asks for the same.
    line = prompt_line(request, MODEL, STYLES.get(request.style), MODEL, LORAS)
    assert ask(line) == request


def test_loras_that_only_some_may_use_are_not_offered_beside_others() -> None:
    known = (LoraInfo("ink", "Ink", (), FAMILY), LoraInfo("secret", "Secret", (), FAMILY, ("admins",)))
    for loras, said in ((known, "ink"), (known[1:], "secret")):
        with pytest.raises(BadInput) as caught:
            ask("a cat --lora zzzzzzzz", loras)
        assert (caught.value.key, caught.value.params["known"]) == ("refusal.lora.none_near", said)


@pytest.mark.parametrize(
    ("typed", "key", "said"),
    [
        ("a cat --lora inc", "refusal.lora.unknown", "did you mean ink?"),
        ("a cat <lora:pixelart:1>", "refusal.lora.unknown", "did you mean pixel-art?"),
        ("a cat --lora spaceship", "refusal.lora.none_near", "those for this model are ink, oil, pixel-art, sketch."),
        ("a cat --lora ink:much", "refusal.lora.not_number", "“much” of the LoRA ink is not a number"),
        ("a cat --lora ink:", "refusal.lora.not_number", "is not a number"),
        ("a cat --lora ink:2.01", "refusal.lora.range", "2.01 of the LoRA ink is out of range"),
        ("a cat <lora:ink:-3>", "refusal.lora.range", "from -2 to 2"),
        ("a cat --lora theirs", "refusal.lora.family", "it fits other"),
        ("a cat --lora ink --model other", "refusal.lora.family", "does not fit Other Model; it fits demo"),
        ("a cat --lora strange", "refusal.lora.no_model", "neither"),
        ("a cat --lora ink,oil,sketch,pixel-art", "refusal.lora.too_many", "4 LoRAs"),
        ("a cat --style pixels --lora oil,sketch", "refusal.lora.too_many", "4 LoRAs"),
        ("a cat --style lost", "refusal.lora.style_unknown", "The style lost needs the LoRA “gone”"),
    ],
)
def test_bad_loras_are_refused_by_one_sentence(typed: str, key: str, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        ask(typed)
    assert refused.value.key == key
    assert said in i18n.text("en", key, **refused.value.params)
    assert i18n.text("zh_CN", key, **refused.value.params)


def test_a_place_without_loras_says_so() -> None:
    with pytest.raises(BadInput) as refused:
        ask("a cat --lora ink", ())
    assert refused.value.key == "refusal.lora.none"
    with pytest.raises(BadInput) as refused:
        ask("a cat --lora spaceship", (LORAS[0],), "other")
    assert refused.value.key == "refusal.lora.none_fits"


def test_a_tag_that_cant_be_read_is_text_with_a_note() -> None:
    request = ask("a cat <lora:ink:much>")
    assert (request.prompt, request.notes, request.loras) == ("a cat <lora:ink:much>", ("note.lora.unread",), ())


@given(st.text(max_size=30), st.floats(-3, 3).map(lambda number: f"{number:.2f}"))
def test_any_name_is_found_or_refused(name: str, weight: str) -> None:
    form = DrawForm("a cat", lora=f"{name}:{weight}")
    found = outcome(lambda: check_form(form, (MODEL, OTHER), 4, random.Random(0), STYLES, loras=LORAS))
    if isinstance(found, Refusal):
        assert i18n.text("en", found.key, **found.params)
    else:
        assert all(-2 <= lora.weight <= 2 and find_lora(lora.name, LORAS) for lora in found.loras)


def test_exact_names_are_found_first() -> None:
    known = (LoraInfo("a-b", "One"), LoraInfo("a_b", "Two"), LoraInfo("c", "a_b"))
    assert [find_lora(name, known) for name in ("a-b", "a_b", "a b", "", "-")] == [*known[:2], known[0], None, None]


@pytest.mark.parametrize(
    ("who", "actor", "admin", "may"),
    [
        (("everyone",), ADA, False, True),
        (("admins",), ADA, False, False),
        (("admins",), ADA, True, True),
        (("17",), ADA, True, False),
        (("17",), replace(ADA, roles=("5", "17")), False, True),
        (("admins", "17"), replace(ADA, roles=("5",)), False, False),
        (("admins", "17"), OWNER, False, True),
    ],
)
def test_who_may_use_a_lora(who: tuple[str, ...], actor: Actor, admin: bool, may: bool) -> None:
    assert may_use(who, actor, admin=admin) is may


@pytest.mark.parametrize(("who", "key"), [(("admins",), "refusal.lora.admins"), (("17",), "refusal.lora.roles")])
async def test_a_lora_for_others_is_refused_and_stores_nothing(
    world: World, ctx: AppContext, who: tuple[str, ...], key: str
) -> None:
    ctx = replace(ctx, loras=lambda: (LoraInfo("ink", "Ink", who=who),))
    form = DrawForm("an apple --lora ink")
    for place in (HERE, ALONE):
        with pytest.raises(NotAllowed) as refused:
            await draw(ctx, ADA, place, form, ref())
        assert refused.value.key == key
    assert await world.count("jobs") == 0
    job = await draw(ctx, OWNER, ALONE, form, ref("owner"))
    assert job.request.loras == (LoraRequest("ink"),)


async def test_admins_of_the_place_and_of_its_admin_roles_may_use_theirs(ctx: AppContext) -> None:
    ctx = replace(ctx, loras=lambda: (LoraInfo("ink", "Ink", who=("admins",)),))
    form = DrawForm("an apple --lora ink")
    assert (await draw(ctx, replace(ADA, is_admin=True), HERE, form, ref("admin"))).request.loras
    member = replace(BOB, roles=("17",))
    with pytest.raises(NotAllowed):
        await draw(ctx, member, HERE, form, ref("before"))
    async with ctx.db.write() as tx:
        place_id = await people.remember_place(tx, HERE, now=0.0)
        assert place_id is not None
        await people.put_option(tx, place_id, "admin_roles", ["17"])
    assert (await draw(ctx, member, HERE, form, ref("after"))).request.loras
    with pytest.raises(NotAllowed):
        await draw(ctx, member, THERE, form, ref("elsewhere"))


async def test_buttons_keep_loras_and_ask_for_rights_and_files_again(world: World, ctx: AppContext) -> None:
    ctx = replace(ctx, loras=lambda: (LoraInfo("ink", "Ink", who=("17",)),))
    job = await draw(ctx, replace(ADA, roles=("17",)), HERE, DrawForm("an apple --lora ink:0.5"), ref())
    for number, actor in enumerate((OWNER, replace(BOB, roles=("17",)))):
        again = await job_actions.draw_again(ctx, actor, HERE, job.id, ref(f"again{number}"))
        assert again.request.loras == (LoraRequest("ink", 0.5),)
    with pytest.raises(NotAllowed):
        await job_actions.draw_again(ctx, BOB, HERE, job.id, ref("bob"))
    with pytest.raises(BadInput) as refused:
        await job_actions.draw_again(replace(ctx, loras=tuple), OWNER, HERE, job.id, ref("gone"))
    assert refused.value.key == "refusal.lora.gone"
