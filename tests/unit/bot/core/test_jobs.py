"""Small truths of the core's words."""

from __future__ import annotations

from bot.core.errors import BadInput, NotAllowed, NotFound, OverQuota, Refusal, Unavailable
from bot.core.jobs import MOVES, JobState
from bot.core.messages import Address
from bot.core.quotas import Window


def test_the_table_of_moves_names_every_state() -> None:
    assert set(MOVES) == set(JobState)


def test_the_moves_are_those_of_the_design() -> None:
    legal = {(a.value, b.value) for a, moves in MOVES.items() for b in moves}
    assert legal == {
        ("held", "queued"),
        ("held", "cancelled"),
        ("queued", "running"),
        ("queued", "cancelled"),
        ("queued", "failed"),
        ("running", "queued"),
        ("running", "painted"),
        ("running", "cancelled"),
        ("running", "failed"),
        ("painted", "delivered"),
    }


def test_a_painted_job_can_only_be_delivered() -> None:
    assert MOVES[JobState.PAINTED] == {JobState.DELIVERED}


def test_every_refusal_is_one_and_keeps_its_key_and_fields() -> None:
    for kind in (BadInput, OverQuota, NotAllowed, NotFound, Unavailable):
        refusal = kind("refusal.prompt.empty", n=1)
        assert isinstance(refusal, Refusal)
        assert (refusal.key, refusal.params) == ("refusal.prompt.empty", {"n": 1})


def test_windows_have_their_lengths() -> None:
    assert [w.seconds for w in Window] == [3600, 24 * 3600, 7 * 24 * 3600, 24 * 3600]


def test_an_addresss_token_is_never_printed() -> None:
    assert "secret" not in repr(Address("discord", "1", token="secret"))
