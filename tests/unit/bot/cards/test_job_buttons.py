"""Which buttons a job's card has at each stage, in which row, and what is in its menu."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.cards.i18n import LOCALES
from bot.cards.job_buttons import Rows, menu_of, more_of, rows_of
from bot.core.cards import Button, ButtonPress
from bot.core.jobs import Job, JobState
from bot.features import COMMANDS
from engine.contract import Capability, Profile
from engine.families.z_image.spec import demo
from tests.unit.bot.cards.factories import make_job, make_pictures

BUTTONS = COMMANDS.job_buttons
ALL = demo()


def job(state: JobState = JobState.PAINTED, *, locale: str = "en", count: int = 1, shared: bool = False) -> Job:
    return replace(make_job(state, locale=locale, count=count), place_id=3 if shared else None)


def labels(rows: Rows) -> list[list[str]]:
    return [[button.label for button in row] for row in rows]


def shown(profile: Profile | None, count: int = 2, size: int = 256) -> list[list[str]]:
    drawn = tuple(replace(p, width=size, height=size) for p in make_pictures(count))
    return labels(rows_of(job(count=count), drawn, profile, BUTTONS))


def actions(buttons: Iterable[Button]) -> list[tuple[str, int | None]]:
    return [(button.press.action, button.press.index) for button in buttons]


@pytest.mark.parametrize("state", [JobState.HELD, JobState.QUEUED, JobState.RUNNING])
def test_an_open_job_can_be_cancelled(state: JobState) -> None:
    rows = rows_of(job(state, count=4), (), ALL, BUTTONS)
    assert [[b.press for b in row] for row in rows] == [[ButtonPress("cancel", 12)]]
    assert rows[0][0].danger
    assert more_of(job(state), (), ALL, BUTTONS) == ()


@pytest.mark.parametrize("state", [JobState.CANCELLED, JobState.FAILED, JobState.DELIVERED])
def test_a_job_without_pictures_can_be_drawn_again_or_changed(state: JobState) -> None:
    assert labels(rows_of(job(state, count=4), (), ALL, BUTTONS)) == [["Reroll", "Edit"]]
    assert more_of(job(state), (), ALL, BUTTONS) == ()


def test_one_picture_has_one_row() -> None:
    assert shown(ALL, 1) == [["Reroll", "Vary", "Upscale", "Edit", "⋯"]]
    assert shown(replace(ALL, can=frozenset({Capability.IMAGE})), 1) == [["Reroll", "Upscale", "Edit", "⋯"]]
    assert shown(ALL, 1, size=512) == [["Reroll", "Vary", "Edit", "⋯"]]
    assert shown(None, 1) == [["Reroll", "Edit", "⋯"]]


def test_several_pictures_have_two_rows() -> None:
    assert shown(ALL, 4) == [["🔁", "U1", "U2", "U3", "U4"], ["V1", "V2", "V3", "V4", "⋯"]]
    assert shown(replace(ALL, can=frozenset({Capability.IMAGE}))) == [["🔁", "U1", "U2"], ["⋯"]]
    assert shown(replace(ALL, can=frozenset({Capability.VARY}))) == [["🔁"], ["V1", "V2", "⋯"]]
    assert shown(None) == [["🔁"], ["⋯"]]


def test_a_sign_has_its_word_too() -> None:
    rows = rows_of(job(count=2), make_pictures(2), ALL, BUTTONS)
    assert [button.title for row in rows for button in row] == ["Reroll", "Upscale", "Upscale", "Vary", "Vary", "⋯"]


@given(st.integers(1, 4), st.sampled_from(LOCALES), st.booleans())
def test_buttons_fit_every_platform(count: int, locale: str, shared: bool) -> None:
    made, drawn = job(locale=locale, count=count, shared=shared), make_pictures(count)
    rows = rows_of(made, drawn, ALL, BUTTONS)
    pages = [menu_of(made, drawn, ALL, BUTTONS), *(menu_of(made, drawn, ALL, BUTTONS, index) for index in range(count))]
    assert len(rows) <= 2
    for page in (rows, *pages):
        assert len(page) <= 5
        assert all(1 <= len(row) <= 5 for row in page)
        every = [button for row in page for button in row]
        assert all(0 < len(button.label) <= 20 for button in every)
        assert len({button.press for button in every}) == len(every)


def test_the_menu_of_one_picture_has_everything_on_one_page() -> None:
    rows = menu_of(job(shared=True), make_pictures(1), ALL, BUTTONS)
    assert labels(rows) == [
        ["From this seed", "Start from this", "Copy prompt"],
        ["Original", "Info", "Favourite"],
        ["Report", "Delete"],
    ]
    assert [b.label for row in rows for b in row if b.danger] == ["Delete"]


def test_the_menu_of_several_pictures_has_a_page_for_each() -> None:
    made, drawn = job(count=3, shared=True), make_pictures(3)
    first = menu_of(made, drawn, ALL, BUTTONS)
    assert labels(first) == [
        ["1", "2", "3"],
        ["Edit", "Copy prompt", "Original"],
        ["Info", "Favourite", "Report"],
        ["Delete"],
    ]
    assert actions(first[0]) == [("choose", 0), ("choose", 1), ("choose", 2)]
    second = menu_of(made, drawn, ALL, BUTTONS, 1)
    assert labels(second) == [
        ["From this seed", "Start from this", "Original"],
        ["Info", "Favourite", "Report"],
        ["← All"],
    ]
    assert actions(button for row in second for button in row) == [
        ("seed", 1),
        ("start", 1),
        ("original", 1),
        ("info", 1),
        ("favourite", 1),
        ("report", 1),
        ("choose", None),
    ]


def test_nobody_is_told_of_a_picture_that_nobody_else_sees() -> None:
    assert "report" not in [action for action, _ in actions(more_of(job(), make_pictures(1), ALL, BUTTONS))]


def test_surfaces_without_a_menu_get_all_of_it() -> None:
    more = actions(more_of(job(count=2), make_pictures(2), ALL, BUTTONS))
    assert more == [
        ("edit", None),
        ("seed", 0),
        ("seed", 1),
        ("start", 0),
        ("start", 1),
        ("prompt", None),
        ("original", None),
        ("info", None),
        ("favourite", None),
        ("delete", None),
    ]
