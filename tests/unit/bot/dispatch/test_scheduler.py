"""Fair between people, and what can share a batch goes together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bot.dispatch.scheduler import LOOK_AHEAD, PASSED_MOST, Work, batch, lead, order
from bot.ports import Ticket


def work(job_id: int, person: int, count: int = 1, key: str = "a", *, solo: bool = False) -> Work:
    return Work(Ticket(job_id, person, count, (key,)), tuple(range(count)), solo=solo)


def taken(pieces: tuple[Work, ...]) -> list[tuple[int, tuple[int, ...]]]:
    return [(piece.ticket.job_id, piece.indexes) for piece in pieces]


def test_nobody_waits() -> None:
    assert batch((), 4) == ()


def test_one_job_alone() -> None:
    assert taken(batch([[work(1, 1, 2)]], 4)) == [(1, (0, 1))]


def test_a_large_job_is_taken_in_pieces() -> None:
    (piece,) = batch([[work(1, 1, 6)]], 4)
    assert (piece.indexes, piece.later) == ((0, 1, 2, 3), (4, 5))
    rest = piece.rest()
    assert rest is not None
    assert (rest.indexes, rest.later, rest.started) == ((4, 5), (), True)


def test_others_fill_the_room_that_is_left() -> None:
    lines = [[work(1, 1, 2)], [work(2, 2, 1)], [work(3, 3, 4)]]
    assert taken(batch(lines, 4)) == [(1, (0, 1)), (2, (0,)), (3, (0,))]


def test_another_kind_stays_out_of_the_batch() -> None:
    lines = [[work(1, 1, key="a")], [work(2, 2, key="b")], [work(3, 3, key="a")]]
    assert taken(batch(lines, 4)) == [(1, (0,)), (3, (0,))]


def test_everybodys_first_before_anybodys_second() -> None:
    lines = [[work(1, 1), work(2, 1)], [work(3, 2), work(4, 2)]]
    assert taken(batch(lines, 3)) == [(1, (0,)), (3, (0,)), (2, (0,))]


def test_a_job_of_a_lost_batch_goes_alone() -> None:
    assert taken(batch([[work(1, 1, solo=True)], [work(2, 2)]], 4)) == [(1, (0,))]
    assert taken(batch([[work(1, 1)], [work(2, 2, solo=True)]], 4)) == [(1, (0,))]


def test_the_order_is_round_and_round() -> None:
    lines = [[work(1, 1), work(2, 1), work(3, 1)], [work(4, 2)], [work(5, 3), work(6, 3)]]
    assert [w.ticket.job_id for w in order(lines)] == [1, 4, 5, 2, 6, 3]


def wants(job_id: int, model: str) -> Work:
    return Work(Ticket(job_id, job_id, 1, (model,), model), (0,))


def leads(
    works: list[Work], loaded: str = "", passed: dict[int, int] | None = None, unfit: tuple[int, ...] = ()
) -> int:
    found = lead(works, lambda w: w.ticket.job_id not in unfit, loaded, passed or {})
    return 0 if found is None else found.ticket.job_id


def test_the_first_leads() -> None:
    assert leads([wants(1, "a"), wants(2, "b")]) == 1
    assert leads([]) == 0


def test_who_does_not_fit_lets_others_past() -> None:
    assert leads([wants(1, "a"), wants(2, "a")], unfit=(1,)) == 2
    assert leads([wants(1, "a")], unfit=(1,)) == 0


def test_the_loaded_model_goes_before_so_often() -> None:
    waiting = [wants(1, "b"), wants(2, "a")]
    assert leads(waiting, "a") == 2
    assert leads(waiting, "a", {1: PASSED_MOST - 1}) == 2
    assert leads(waiting, "a", {1: PASSED_MOST}) == 1
    assert leads(waiting, "c") == 1


def test_nobody_is_looked_for_further_than_so_far() -> None:
    waiting = [wants(n, "b") for n in range(1, LOOK_AHEAD + 1)]
    assert leads([*waiting, wants(99, "a")], "a") == 1


def test_another_leads_its_batch() -> None:
    one, two, three = work(1, 1, key="a"), work(2, 2, key="b"), work(3, 3, key="b")
    assert taken(batch([[one], [two], [three]], 4, two)) == [(2, (0,)), (3, (0,))]


jobs_of_people = st.lists(
    st.lists(st.tuples(st.integers(1, 16), st.sampled_from("ab"), st.booleans()), min_size=1, max_size=4), max_size=5
)


@given(people=jobs_of_people, limit=st.integers(1, 8))
def test_a_batch_is_compatible_fair_and_within_its_limit(people: list[list[tuple[int, str, bool]]], limit: int) -> None:
    ids = iter(range(1, 1000))
    lines = [
        [work(next(ids), person, count, key, solo=solo) for count, key, solo in line]
        for person, line in enumerate(people)
    ]
    pieces = batch(lines, limit)
    assert bool(pieces) == bool(lines)
    if not lines:
        return
    assert pieces[0].ticket == lines[0][0].ticket
    assert sum(len(p.indexes) for p in pieces) <= limit
    assert all(p.indexes for p in pieces)
    assert len({p.ticket.batch_key for p in pieces}) == 1
    assert len({p.ticket.job_id for p in pieces}) == len(pieces)
    assert len(pieces) == 1 or not any(p.solo for p in pieces)
    room = limit - sum(len(p.indexes) for p in pieces)
    left_out = [
        w
        for w in order(lines)
        if w.ticket.batch_key == pieces[0].ticket.batch_key
        and not w.solo
        and w.ticket.job_id not in {p.ticket.job_id for p in pieces}
    ]
    assert not (room and left_out) or pieces[0].solo, "there was room, and somebody who fits was left out"
