"""Cards about no single job: history, help."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from bot.cards.i18n import LOCALES
from bot.core.cards import ButtonPress
from bot.core.jobs import JobState
from bot.drawing import flags
from bot.drawing.commands import example_buttons
from bot.drawing.request_rules import PRESET_RATIOS
from bot.drawing.styles import BUILT_IN
from bot.history.cards import HistoryLine, help_card, history_card, start_card
from engine.families.sdxl.spec import sdxl
from engine.families.z_image.spec import demo, z_image_turbo
from tests.unit.bot.cards.factories import make_job


def test_history_numbers_its_lines_and_turns_pages() -> None:
    lines = [HistoryLine(make_job(JobState.DELIVERED), 7), HistoryLine(make_job(JobState.FAILED), None)]
    found = history_card(lines, "en", older=True)
    assert [(f.label, f.value) for f in found.facts] == [
        ("#12", "a red apple (seed 7)"),
        ("#12", "a red apple (failed)"),
    ]
    assert [[b.press for b in row] for row in found.buttons] == [
        [ButtonPress("show", 12)] * 2,
        [ButtonPress("page", 12)],
    ]
    assert [b.label for b in found.buttons[0]] == ["#12", "#12"]
    assert found.private


def test_later_pages_lead_back_to_the_newest() -> None:
    found = history_card([HistoryLine(make_job(JobState.DELIVERED), 7)], "en", older=True, first=False)
    assert [b.press for b in found.buttons[-1]] == [ButtonPress("page", 12), ButtonPress("page", 0)]
    end = history_card([], "en", first=False)
    assert (end.status, end.buttons[0][0].press) == ("There are no older drawings.", ButtonPress("page", 0))


def test_buttons_stand_as_the_thumbnails_do() -> None:
    lines = [HistoryLine(replace(make_job(JobState.DELIVERED), id=n), 7, own=n != 3) for n in range(9, 0, -1)]
    found = history_card(lines, "en")
    assert [[b.label for b in row] for row in found.buttons] == [["#9", "#8", "#7"], ["#6", "#5", "#4"], ["#2", "#1"]]


def test_the_greeting_has_three_lines_and_two_examples() -> None:
    for locale in LOCALES:
        found = start_card(locale, example_buttons(locale))
        assert len([found.status, *found.notes]) == 3
        assert [b.press for b in found.buttons[0]] == [ButtonPress("example", 1), ButtonPress("example", 2)]


def test_an_empty_history_says_how_to_begin() -> None:
    found = history_card([], "zh_CN")
    assert (found.status, found.buttons) == ("你还没有画过图，用 /draw 开始吧。", ())


def test_long_prompts_are_shortened_to_one_line() -> None:
    found = history_card([HistoryLine(make_job(JobState.DELIVERED, typed="a\nb " * 100), 7)], "en")
    assert "\n" not in found.facts[0].value
    assert len(found.facts[0].value) < 80


@pytest.mark.parametrize("locale", LOCALES)
def test_help_names_every_flag_that_does_something_here(locale: str) -> None:
    profiles = (demo(), z_image_turbo())
    notes = "\n".join(help_card(profiles, tuple(BUILT_IN), tuple(PRESET_RATIOS), 4, locale, lora="ink").notes)
    # The demo has no CLIP, can't write and follows no control picture. A button writes --from.
    assert set(re.findall(r"--([a-z-]+)", notes)) == set(flags.FLAG_NAMES) - {
        "clip-skip",
        "control",
        "control-weight",
        "from",
        "expand",
    }
    able = help_card((z_image_turbo(),), (), tuple(PRESET_RATIOS), 4, locale)
    assert any(note.startswith("--expand") for note in able.notes)
    for word in (*BUILT_IN, *PRESET_RATIOS, "256x144"):
        assert word in notes


def test_help_names_what_models_with_clip_read() -> None:
    notes = "\n".join(help_card((sdxl(),), (), tuple(PRESET_RATIOS), 4, "en").notes)
    assert "(word:1.2)" in notes
    assert "--clip-skip 2" in notes
    assert '--sampler "Euler a"' in notes


def test_help_leaves_out_control_which_needs_a_picture() -> None:
    profile = replace(sdxl(), controls=("canny", "depth"))
    notes = "\n".join(help_card((profile,), (), tuple(PRESET_RATIOS), 4, "en").notes)
    assert "--sampler" in notes
    assert "--control" not in notes


def test_help_leaves_out_what_the_model_ignores() -> None:
    notes = "\n".join(help_card((z_image_turbo(),), (), tuple(PRESET_RATIOS), 4, "en").notes)
    assert "--no" not in notes
    assert "--model" not in notes
    assert "--style" not in notes
    wordy = help_card((replace(z_image_turbo(), can=frozenset()),), (), tuple(PRESET_RATIOS), 4, "en")
    assert "--strength" in notes
    assert "--strength" not in "\n".join(wordy.notes)
