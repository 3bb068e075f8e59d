"""The line that asks for a job again: the flags' grammar reads the same request from it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.cards import ButtonPress
from bot.core.errors import NotFound
from bot.core.requests import DrawForm, DrawRequest
from bot.drawing.flags import missing_from_line, prompt_line
from bot.drawing.request_rules import check_form
from bot.drawing.styles import BUILT_IN
from engine.contract import NegativePromptSupport
from engine.families.z_image.spec import demo
from tests.unit.bot.conftest import ADA, ALONE, BOB, HERE, THERE, World, ref

PROFILE = replace(demo(), negative=NegativePromptSupport.ALWAYS)
TEXT = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), max_size=30)


def checked(form: DrawForm) -> DrawRequest:
    return check_form(form, (PROFILE, replace(PROFILE, name="other")), 4, random.Random(1), BUILT_IN)


@given(
    negative=TEXT,
    style=st.sampled_from(("", *BUILT_IN)),
    model=st.sampled_from((PROFILE.name, "other")),
    count=st.integers(1, 4),
    seed=st.integers(0, 2**63 - 1),
    steps=st.integers(PROFILE.steps.low, PROFILE.steps.high),
    private=st.booleans(),
)
def test_the_line_is_read_as_the_same_request(
    negative: str, style: str, model: str, count: int, seed: int, steps: int, private: bool
) -> None:
    form = DrawForm(
        "a red apple",
        size="256x144",
        seed=str(seed),
        count=str(count),
        steps=str(steps),
        style=style or None,
        model=model,
        private=private or None,
        negative=" ".join(negative.replace("-", " ").split()) or None,
    )
    request = checked(form)
    again = checked(DrawForm(prompt_line(request, PROFILE, BUILT_IN.get(request.style), PROFILE)))
    # Marks that no pair of quotation marks can hold are replaced.
    if set(request.negative) & set('"“”„‟»」』'):
        again = replace(again, negative=request.negative)
    assert again == request


def test_defaults_are_left_out() -> None:
    request = checked(DrawForm("a red apple", seed="7"))
    assert prompt_line(request, PROFILE, BUILT_IN.get(request.style), PROFILE) == "a red apple --size 192x192 --seed 7"
    # Without the model, nobody knows what its defaults were.
    assert "--steps" in prompt_line(request, None, None, PROFILE)
    assert prompt_line(replace(request, label=True), PROFILE, None, PROFILE).endswith(" --label")


@pytest.mark.parametrize(
    ("value", "quoted"), [('a "b"', '«a "b"»'), ('a «b» "c"', '「a «b» "c"」'), ('"»」』', '"\'»」』"')]
)
def test_values_are_quoted_by_marks_that_they_have_not(value: str, quoted: str) -> None:
    request = replace(checked(DrawForm("a red apple", seed="7")), negative=value)
    assert prompt_line(request, PROFILE, BUILT_IN.get(request.style), PROFILE).endswith(f"--no {quoted}")


def test_what_has_no_flag_is_said() -> None:
    request = checked(DrawForm("a red apple"))
    assert missing_from_line(request) == ()
    assert missing_from_line(replace(request, image="inputs/x.png")) == ("note.prompt.not_whole",)
    assert missing_from_line(replace(request, variation=0.2)) == ("note.prompt.not_whole",)
    edit = replace(request, references=("inputs/x.png",))
    assert missing_from_line(edit) == ("note.prompt.no_references",)
    assert missing_from_line(replace(edit, variation=0.2)) == ("note.prompt.not_whole", "note.prompt.no_references")


async def test_a_button_answers_with_the_line(world: World) -> None:
    job = (await world.studio.draw(ADA, HERE, DrawForm("**a** @everyone --seed 7 --n 2"), ref("d"))).job_id
    await world.paint(job)
    for who, where in ((BOB, HERE), (ADA, ALONE)):
        pressed = await world.studio.press(who, where, ButtonPress("prompt", job), ref("p"))
        assert pressed.card is not None
        assert pressed.card.prompt == "**a** @everyone --size 192x192 --seed 7 --count 2"
        assert pressed.card.private
        assert (pressed.card.job_id, pressed.card.notes) == (None, ())
    varied = await world.studio.press(ADA, HERE, ButtonPress("vary", job, 0), ref("v"))
    assert varied.new is not None
    pressed = await world.studio.press(ADA, HERE, ButtonPress("prompt", varied.new.job_id), ref("p"))
    assert pressed.card is not None
    assert len(pressed.card.notes) == 1
    with pytest.raises(NotFound):
        await world.studio.press(BOB, THERE, ButtonPress("prompt", job), ref("p"))


async def test_a_prompt_that_is_gone_is_said_to_be_gone(world: World) -> None:
    job = (await world.studio.draw(ADA, HERE, DrawForm("an apple"), ref("d"))).job_id
    await world.paint(job)
    async with world.db.write() as tx:
        await tx.execute_fetchall("UPDATE jobs SET prompt = '', typed = ''")
    with pytest.raises(NotFound) as gone:
        await world.studio.press(ADA, HERE, ButtonPress("prompt", job), ref("p"))
    assert gone.value.key == "refusal.prompt.gone"
    assert not any(b.press.action == "prompt" for row in (await world.studio.card(ADA, job)).buttons for b in row)
