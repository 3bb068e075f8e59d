"""The table of a job's moves, compared in full with one written by hand."""

from __future__ import annotations

from itertools import product

import pytest

from bot.core.jobs import MOVES, JobState

LEGAL = """
held      -> queued cancelled
queued    -> running cancelled failed
running   -> queued painted cancelled failed
painted   -> delivered
delivered ->
cancelled ->
failed    ->
"""


def legal_moves() -> set[tuple[str, str]]:
    lines = (line.split("->") for line in LEGAL.strip().splitlines())
    return {(frm.strip(), to) for frm, targets in lines for to in targets.split()}


@pytest.mark.parametrize(("frm", "to"), tuple(product(JobState, JobState)))
def test_each_pair_of_states(frm: JobState, to: JobState) -> None:
    assert (to in MOVES[frm]) is ((frm.value, to.value) in legal_moves())


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


def test_every_state_has_its_moves() -> None:
    assert set(MOVES) == set(JobState)
