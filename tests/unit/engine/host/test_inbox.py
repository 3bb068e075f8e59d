from __future__ import annotations

import threading
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from engine.contract import Lane, Recipe
from engine.diffusion.rows import Row
from engine.host.inbox import Inbox

SMALL = Recipe("x", "demo", "a cat", "", 192, 192, 8, 0.0, 7)


def rows(*tickets: int, recipe: Recipe = SMALL) -> list[Row]:
    return [Row(t, recipe) for t in tickets]


def tickets(batch: list[Row]) -> list[int]:
    return [row.ticket for row in batch]


def test_in_the_order_in_which_they_came_and_not_too_many_at_once() -> None:
    inbox = Inbox()
    inbox.add(Lane.INTERACTIVE, rows(*range(1, 12)))
    assert tickets(inbox.next()) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert tickets(inbox.next()) == [9, 10, 11]


def test_only_what_can_be_drawn_together_is() -> None:
    inbox = Inbox()
    inbox.add(Lane.BULK, rows(1, 2))
    inbox.add(Lane.BULK, rows(3, recipe=replace(SMALL, width=256)))
    inbox.add(Lane.BULK, rows(4, recipe=replace(SMALL, steps=9)))
    inbox.add(Lane.BULK, rows(5, recipe=replace(SMALL, guidance=2.0)))
    inbox.add(Lane.BULK, rows(6))
    assert [tickets(inbox.next()) for _ in range(5)] == [[1, 2], [3], [4], [5], [6]]


def test_a_full_hd_picture_is_drawn_alone() -> None:
    inbox = Inbox()
    inbox.add(Lane.INTERACTIVE, rows(1, 2, recipe=replace(SMALL, width=1920, height=1088)))
    assert tickets(inbox.next()) == [1]


def test_interactive_goes_first() -> None:
    inbox = Inbox()
    inbox.add(Lane.BULK, rows(1))
    inbox.add(Lane.INTERACTIVE, rows(2))
    assert [tickets(inbox.next()) for _ in range(2)] == [[2], [1]]


def test_dropped_ones_are_gone_and_end_once() -> None:
    inbox = Inbox()
    inbox.add(Lane.INTERACTIVE, rows(1, 2, 3))
    inbox.drop([1, 99])
    assert not inbox.wanted(1)
    assert tickets(inbox.next()) == [2, 3]
    assert inbox.finish(2)
    assert not inbox.finish(2)
    inbox.drop([3])
    assert not inbox.finish(3)


def test_it_waits_for_work() -> None:
    inbox = Inbox()
    got: list[list[Row]] = []
    thread = threading.Thread(target=lambda: got.append(inbox.next()))
    thread.start()
    inbox.add(Lane.BULK, rows(1))
    thread.join(timeout=10)
    assert [tickets(b) for b in got] == [[1]]


@given(
    st.lists(st.tuples(st.sampled_from(Lane), st.sampled_from([64, 192, 512])), min_size=1, max_size=40),
    st.sets(st.integers(0, 39)),
)
def test_all_that_is_wanted_comes_once(work: list[tuple[Lane, int]], dropped: set[int]) -> None:
    inbox = Inbox()
    for ticket, (lane, side) in enumerate(work):
        inbox.add(lane, rows(ticket, recipe=replace(SMALL, width=side)))
    inbox.drop(dropped)
    left = [t for t in range(len(work)) if t not in dropped]
    seen: list[int] = []
    while len(seen) < len(left):
        seen += tickets(inbox.next())
    assert seen == sorted(left, key=lambda t: (work[t][0] is Lane.BULK, t))
