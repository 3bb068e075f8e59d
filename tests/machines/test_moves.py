"""The table of moves, exhaustively: written here a second time, by hand."""

from __future__ import annotations

from itertools import product

import pytest

from bot.core.jobs import MOVES, JobState

WALK = """
held      -> queued cancelled
queued    -> running cancelled failed
running   -> queued painted cancelled failed
painted   -> delivered
delivered ->
cancelled ->
failed    ->
"""


def by_hand() -> set[tuple[str, str]]:
    lines = (line.split("->") for line in WALK.strip().splitlines())
    return {(frm.strip(), to) for frm, targets in lines for to in targets.split()}


@pytest.mark.parametrize(("frm", "to"), tuple(product(JobState, JobState)))
def test_each_pair(frm: JobState, to: JobState) -> None:
    assert (to in MOVES[frm]) is ((frm.value, to.value) in by_hand())


def test_what_is_open_ends_and_what_has_ended_stays() -> None:
    """From every open state an end can be reached; no end can be left."""
    ends = {state for state in JobState if not MOVES[state]}
    assert ends == {JobState.DELIVERED, JobState.CANCELLED, JobState.FAILED}
    for start in set(JobState) - ends:
        reached, new = {start}, {start}
        while new:
            new = {to for frm in new for to in MOVES[frm]} - reached
            reached |= new
        assert reached & ends


def test_a_painted_job_is_never_drawn_or_charged_again() -> None:
    assert MOVES[JobState.PAINTED] == {JobState.DELIVERED}
