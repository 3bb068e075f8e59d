"""The card of a job in each of its states."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.cards.i18n import LOCALES
from bot.cards.job_card import card_of, error_key, refused, unclear
from bot.core.cards import ButtonPress, Card, Instant, PendingImages, Tone
from bot.core.errors import BadInput, Key, OverQuota
from bot.core.jobs import Job, JobState
from bot.core.pictures import Picture
from bot.core.ports import Eta, QueuePosition
from bot.core.requests import ABOUT_DEMO
from bot.features import COMMANDS
from engine.contract import ERRORS, SAFER, LoraInfo, LoraRequest, Profile
from engine.families.z_image.spec import demo
from tests.unit.bot.cards.factories import make_job, make_pictures

FOLDER = Path("pictures")

AGAIN = [ButtonPress("reroll", 12), ButtonPress("edit", 12)]
"""The buttons of a card without pictures."""

PROFILE = demo()


def card(
    made: Job,
    shown: tuple[Picture, ...] = (),
    waiting: QueuePosition | None = None,
    progress: float | None = None,
    *,
    preempted: bool = False,
    loras: tuple[LoraInfo, ...] = (),
    profile: Profile | None = PROFILE,
) -> Card:
    return card_of(
        made,
        shown,
        pictures_dir=FOLDER,
        buttons=COMMANDS.job_buttons,
        loras=loras,
        waiting=waiting,
        progress=progress,
        profile=profile,
        preempted=preempted,
    )


def facts(card: Card) -> dict[str, str]:
    return {fact.label: fact.value for fact in card.facts}


def labels(card: Card) -> list[list[str]]:
    return [[button.label for button in row] for row in card.buttons]


def presses(card: Card) -> list[ButtonPress]:
    return [button.press for row in card.buttons for button in row]


@pytest.mark.parametrize(
    ("waiting", "english", "chinese"),
    [
        (None, "Waiting; it starts soon.", "排队中，会尽快开始。"),
        (QueuePosition(1, None), "Next in line.", "下一个就轮到。"),
        (QueuePosition(1, Eta(3.2, 3.9)), "Next in line, ready in about 4 seconds.", "下一个就轮到，约 4 秒钟后完成。"),
        (QueuePosition(7, None), "Number 7 in line.", "排在第 7 位。"),
        (
            QueuePosition(7, Eta(100, 190)),
            "Number 7 in line, ready in about 2 to 4 minutes.",
            "排在第 7 位，约 2 至 4 分钟后完成。",
        ),
        (
            QueuePosition(7, Eta(40, 190)),
            "Number 7 in line, ready in about 40 seconds to 4 minutes.",
            "排在第 7 位，约 40 秒钟至 4 分钟后完成。",
        ),
    ],
)
def test_a_waiting_card_says_where_it_stands(waiting: QueuePosition | None, english: str, chinese: str) -> None:
    for locale, status in zip(LOCALES, (english, chinese), strict=True):
        found = card(make_job(JobState.QUEUED, locale=locale), waiting=waiting)
        assert (found.tone, found.status, found.final) == (Tone.WAITING, status, False)
        assert presses(found) == [ButtonPress("cancel", 12)]
        assert (found.prompt, found.asker, found.job_id) == ("a red apple", "Ann", 12)
        assert (found.facts, found.pictures) == ((), ())


def test_a_running_card_says_how_far_it_is() -> None:
    found = card(make_job(JobState.RUNNING), progress=0.456)
    assert (found.tone, found.status, found.progress) == (Tone.RUNNING, "Drawing 2 pictures: 45 %.", 0.456)
    assert presses(found) == [ButtonPress("cancel", 12)]
    assert not found.final
    assert card(make_job(JobState.RUNNING, count=1)).status == "Drawing 1 picture."


def test_a_job_that_was_handed_over_and_not_begun_says_that_it_waits() -> None:
    found = card(make_job(JobState.RUNNING), progress=0.0)
    assert (found.tone, found.status, found.progress) == (Tone.WAITING, "2 pictures are next to be drawn.", None)
    assert card(make_job(JobState.RUNNING, count=1), progress=0.0).status == "1 picture is next to be drawn."
    assert card(make_job(JobState.RUNNING), progress=0.01).tone is Tone.RUNNING


@pytest.mark.parametrize(
    ("locale", "status"),
    [
        ("en", "Waiting at 45 % while other requests are drawn; it goes on by itself."),
        ("zh-CN", "已画 45%，先画别人的图，稍后自动继续。"),
    ],
)
def test_a_job_that_others_pass_says_that_it_waits_and_keeps_its_share(locale: str, status: str) -> None:
    found = card(make_job(JobState.RUNNING, locale=locale), progress=0.456, preempted=True)
    assert (found.tone, found.status, found.progress) == (Tone.WAITING, status, 0.456)
    assert card(make_job(JobState.DELIVERED), make_pictures(2), preempted=True).tone is Tone.DONE


@pytest.mark.parametrize("state", [JobState.PAINTED, JobState.DELIVERED])
def test_a_finished_card_has_pictures_facts_and_buttons(state: JobState) -> None:
    found = card(make_job(state), make_pictures(2))
    assert (found.tone, found.status, found.progress, found.final) == (Tone.DONE, "Done: 2 pictures.", None, True)
    assert [(f.label, f.value) for f in found.facts] == [
        ("Seed", "7, 8"),
        ("Steps", "8"),
        ("Guidance", "0"),
        ("Size", "256x144"),
        ("Model", "Easel demo"),
        ("Time", "1.23 s"),
    ]
    assert [(p.path, p.name, p.alt) for p in found.pictures] == [
        (FOLDER / "2026/01/02/12-0.png", "easel-12-1.png", "a red apple"),
        (FOLDER / "2026/01/02/12-1.png", "easel-12-2.png", "a red apple"),
    ]
    upscale, vary = ([ButtonPress(action, 12, index) for index in (0, 1)] for action in ("upscale", "vary"))
    assert presses(found) == [ButtonPress("reroll", 12), *upscale, *vary, ButtonPress("more", 12)]
    assert (found.notes, found.coming) == ((), None)


def test_style_and_negative_prompt_are_facts_where_there_are_any() -> None:
    found = card(make_job(JobState.PAINTED, style="ink", negative="text", guidance=2.5, count=1), make_pictures(1))
    assert {"Style": "ink", "Negative prompt": "text", "Guidance": "2.5"}.items() <= {
        f.label: f.value for f in found.facts
    }.items()


def test_loras_are_facts_and_missing_trigger_words_a_note() -> None:
    known = (LoraInfo("ink", "Ink Wash", ("ink wash", "Brush")), LoraInfo("oil", "Oil"))
    loras = (LoraRequest("ink", 0.75), LoraRequest("oil"), LoraRequest("gone", -1.0))

    def shown(state: JobState, prompt: str) -> Card:
        return card(make_job(state, prompt=prompt, loras=loras), loras=known)

    found = shown(JobState.PAINTED, "a red apple")
    assert facts(found)["LoRAs"] == "Ink Wash 0.75, Oil 1, gone -1"
    assert found.notes[-1] == (
        "The LoRA Ink Wash shows best with one of its trigger words in the prompt: ink wash, Brush."
    )
    assert shown(JobState.QUEUED, "a red apple").notes == found.notes[-1:]
    assert not shown(JobState.QUEUED, "a red apple, INK WASH").notes


def test_words_that_the_model_was_not_taught_are_a_note() -> None:
    aardvark = make_job(JobState.QUEUED, prompt="ink style: an aardvark", typed="an aardvark on a beach")
    assert card(aardvark).notes == ("Easel demo does not know: aardvark.",)
    assert card(replace(aardvark, locale="zh_CN")).notes == ("Easel demo 不认识：aardvark。",)
    assert not card(aardvark, profile=replace(PROFILE, vocabulary=frozenset())).notes
    assert not card(aardvark, profile=None).notes
    assert not card(make_job(JobState.QUEUED, typed="a red apple")).notes


def test_only_the_demo_itself_says_what_it_knows() -> None:
    first = make_job(JobState.PAINTED, notes=(ABOUT_DEMO,))
    (english,) = card(first, make_pictures(1)).notes[:1]
    assert english.startswith("Drawn by Easel's demo model, which knows 72 things well")
    (chinese,) = card(replace(first, locale="zh_CN"), make_pictures(1)).notes[:1]
    assert "演示模型" in chinese
    for other in (replace(PROFILE, demo=False), None):
        assert english not in card(first, make_pictures(1), profile=other).notes


def test_a_variation_says_what_it_varies() -> None:
    same = tuple(replace(p, seed=7) for p in make_pictures(2))
    found = card(make_job(JobState.PAINTED, variation=0.25, variation_seed=90), same)
    assert facts(found).items() >= {"Seed": "7", "Variation": "0.25", "Variation seed": "90, 91"}.items()
    assert not {"Strength", "Upscaled"} & facts(found).keys()


def test_a_start_from_a_picture_and_an_upscaling_are_facts() -> None:
    assert (
        facts(card(make_job(JobState.PAINTED, image="inputs/a.png", strength=0.6), make_pictures(2)))["Strength"]
        == "0.6"
    )
    found = card(
        make_job(JobState.PAINTED, image="pictures/a.png", strength=0.35, upscale=2.0, count=1), make_pictures(1)
    )
    assert facts(found).items() >= {"Upscaled": "2×", "Strength": "0.35"}.items()


@pytest.mark.parametrize(
    ("changes", "seeds", "line"),
    [
        ({}, (7, 8), "seeds 7–8 · 8 steps · 256×144 · Easel demo · 1.2 s"),
        ({"steps": 1}, (7, 9), "seeds 7, 9 · 1 step · 256×144 · Easel demo · 1.2 s"),
        ({"locale": "zh_CN"}, (7,), "种子 7 · 8 步 · 256×144 · Easel demo · 1.2 秒"),
        ({"negative": "hats"}, (7,), "seed 7 · 8 steps · 256×144 · Easel demo · 1.2 s"),
        (
            {
                "guidance": 4.5,
                "sampler": "Heun",
                "style": "ink",
                "loras": (LoraRequest("oil", 0.8),),
                "image": "inputs/a.png",
                "strength": 0.6,
                "variation": 0.25,
                "upscale": 2.0,
            },
            (7,),
            (
                "seed 7 · 8 steps · guidance 4.5 · Heun · strength 0.6 · variation 0.25 · upscaled 2× · 256×144 · Easel demo"
                " · style ink · Oil 0.8 · 1.2 s"
            ),
        ),
        (
            {"control": "canny", "control_weight": 0.7, "image": "inputs/a.png"},
            (7,),
            "seed 7 · 8 steps · control canny 0.7 · 256×144 · Easel demo · 1.2 s",
        ),
        (
            {"references": ("a.png", "b.png")},
            (7,),
            "seed 7 · 8 steps · from 2 pictures · 256×144 · Easel demo · 1.2 s",
        ),
    ],
)
def test_the_line_of_facts_has_what_differs_from_the_usual(
    changes: dict[str, Any], seeds: tuple[int, ...], line: str
) -> None:
    drawn = tuple(replace(p, seed=seed) for p, seed in zip(make_pictures(len(seeds)), seeds, strict=True))
    found = card(make_job(JobState.PAINTED, **changes), drawn, loras=(LoraInfo("oil", "Oil"),))
    assert " · ".join(found.summary) == line


def test_what_a_finished_card_shows_is_not_said_too() -> None:
    assert card(make_job(JobState.PAINTED), make_pictures(2)).headline == ""
    for made in (card(make_job(JobState.PAINTED)), card(make_job(JobState.FAILED)), card(make_job(JobState.QUEUED))):
        assert made.headline == made.status != ""
        assert made.summary == () or made.status == "Done, but the pictures are no longer kept."


def test_a_refusal_with_a_wait_names_its_moment() -> None:
    refusal = OverQuota("refusal.quota.left", wanted=2, n=1, limit=5, window=Key("window.day"), returns=1, wait=7200)
    for locale, words in zip(LOCALES, ("in 2 hours", "2 小时后"), strict=True):
        found = refused(refusal, locale, now=1000.0)
        assert found.instants == (Instant(words, 8200.0),)
        assert words in found.status


def test_the_models_own_negative_prompt_is_called_so() -> None:
    own = replace(demo(), negative_default="ugly")
    for negative, label in (("ugly", "Negative prompt (the model's usual one)"), ("hats", "Negative prompt")):
        made = make_job(JobState.PAINTED, negative=negative)
        assert (
            facts(card_of(made, make_pictures(2), pictures_dir=FOLDER, buttons=COMMANDS.job_buttons, profile=own))[
                label
            ]
            == negative
        )


def test_what_the_engine_says_of_a_picture_is_said_once() -> None:
    drawn = tuple(replace(p, notes=("prompt_cut", "of a later engine")) for p in make_pictures(2))
    found = card(make_job(JobState.PAINTED), drawn)
    assert found.notes == ("The prompt is longer than this model can read; its end was ignored.",)
    safer = (replace(drawn[0], notes=()), replace(drawn[1], notes=(SAFER,)))
    assert "safer precision" in card(make_job(JobState.PAINTED), safer).notes[0]


def test_what_is_to_come_is_said_until_it_is_there() -> None:
    assert card(make_job(JobState.QUEUED)).coming == PendingImages(2, 256, 144, enlarge=3)
    assert card(make_job(JobState.RUNNING)).coming == PendingImages(2, 256, 144, enlarge=3)
    assert card(make_job(JobState.FAILED)).coming is None


def test_a_picture_that_is_missing_is_said_and_keeps_the_others_numbers() -> None:
    found = card(make_job(JobState.PAINTED, count=3), make_pictures(3)[1:])
    assert found.notes == ("1 picture could not be drawn and was not charged.",)
    assert labels(found) == [["🔁", "U2", "U3"], ["V2", "V3", "⋯"]]
    assert found.facts[0].value == "8, 9"


def test_pictures_that_are_no_longer_kept() -> None:
    found = card(make_job(JobState.DELIVERED))
    assert found.status == "Done, but the pictures are no longer kept."
    assert (presses(found), found.notes) == (AGAIN, ())
    assert found.facts[0].value == "7"


def test_a_cancelled_card_can_be_drawn_again() -> None:
    found = card(make_job(JobState.CANCELLED))
    assert (found.tone, found.status, found.final) == (Tone.STOPPED, "Cancelled. Nothing was charged.", True)
    assert presses(found) == AGAIN


@pytest.mark.parametrize("code", sorted(ERRORS))
@pytest.mark.parametrize("locale", LOCALES)
def test_a_failed_card_says_why(code: str, locale: str) -> None:
    found = card(make_job(JobState.FAILED, error=error_key(code), locale=locale))
    assert (found.tone, found.final) == (Tone.PROBLEM, True)
    assert "error." not in found.status
    assert presses(found) == AGAIN


def test_reasons_differ() -> None:
    assert len({card(make_job(JobState.FAILED, error=error_key(code))).status for code in ERRORS}) == len(ERRORS)


@pytest.mark.parametrize("error", ["", "nothing.of.ours"])
def test_a_failure_without_a_known_reason_still_is_a_sentence(error: str) -> None:
    assert card(make_job(JobState.FAILED, error=error)).status == "The drawing failed; try again. Nothing was charged."
    assert error_key("nothing") == "error.engine.failed"


def test_notes_of_the_request_and_of_the_surface_are_said() -> None:
    made = make_job(JobState.PAINTED, notes=("note.negative.ignored",))
    found = card_of(made, make_pictures(2), pictures_dir=FOLDER, buttons=COMMANDS.job_buttons, notes=("note.unclear",))
    assert [note[:10] for note in found.notes] == ["This model", "The pictur"]


def test_another_attempt_is_said_while_it_matters() -> None:
    assert "restarted" in card(make_job(JobState.QUEUED, attempts=1)).notes[0]
    assert card(make_job(JobState.DELIVERED, attempts=1), make_pictures(2)).notes == ()


def test_a_private_job_has_a_private_card() -> None:
    assert card(make_job(JobState.QUEUED, private=True)).private
    assert unclear(make_job(JobState.PAINTED, private=True)).private
    assert not card(make_job(JobState.QUEUED)).private


def test_the_unclear_card_carries_the_button_that_sends() -> None:
    found = unclear(make_job(JobState.PAINTED))
    assert (presses(found), found.final) == ([ButtonPress("original", 12)], True)


def test_a_refusal_is_a_private_card_in_the_persons_language() -> None:
    refusal = BadInput("refusal.size.off_grid", value="500x500", multiple=16, nearest="496x496")
    assert refused(refusal, "en") == Card(
        Tone.PROBLEM,
        "The size 500x500 is off this model's grid of 16 pixels; try 496x496.",
        private=True,
        final=True,
    )
    assert (
        refused(refusal, "zh-CN").status == "尺寸 500x500 不合要求：这个模型的宽和高必须是 16 的倍数，请试试 496x496。"
    )
