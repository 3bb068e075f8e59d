from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from engine.contract import Lane, Recipe, TextTask
from engine.diffusion.request_state import RequestState
from engine.host.inbox import Inbox

SMALL = Recipe("x", "demo", "a cat", "", 192, 192, 8, 0.0, 7)


def requests(*tickets: int, lane: Lane = Lane.INTERACTIVE) -> list[RequestState]:
    return [RequestState(t, SMALL, lane) for t in tickets]


def tickets(taken: list[RequestState]) -> list[int]:
    return [request.ticket for request in taken]


def test_in_the_order_in_which_they_came_with_their_lane() -> None:
    inbox = Inbox()
    inbox.add(requests(1, 2, lane=Lane.BULK))
    inbox.add(requests(3))
    assert [(r.ticket, r.lane) for r in inbox.take(wait=False)] == [
        (1, Lane.BULK),
        (2, Lane.BULK),
        (3, Lane.INTERACTIVE),
    ]
    assert inbox.take(wait=False) == []


def test_dropped_ones_are_not_wanted_and_end_once() -> None:
    inbox = Inbox()
    inbox.add(requests(1, 2, 3))
    inbox.drop([1, 99])
    assert [inbox.is_active(t) for t in (1, 2, 3, 99)] == [False, True, True, False]
    assert inbox.finish(2)
    assert not inbox.finish(2)
    inbox.drop([3])
    assert not inbox.finish(3)


def test_who_looks_at_what() -> None:
    inbox = Inbox()
    inbox.add(requests(1, 2))
    inbox.set_preview(1, enabled=True)
    inbox.set_preview(2, enabled=True)
    inbox.set_preview(7, enabled=True)
    assert [inbox.wants_preview(t) for t in (1, 2, 7)] == [True, True, False]
    inbox.set_preview(1, enabled=False)
    inbox.finish(2)
    assert not inbox.wants_preview(1)
    assert not inbox.wants_preview(2)


def test_it_waits_for_work() -> None:
    inbox = Inbox()
    got: list[list[RequestState]] = []
    thread = threading.Thread(target=lambda: got.append(inbox.take(wait=True)))
    thread.start()
    inbox.add(requests(1, lane=Lane.BULK))
    thread.join(timeout=10)
    assert [tickets(b) for b in got] == [[1]]


def test_it_waits_no_longer_than_it_is_told() -> None:
    assert Inbox().take(wait=True, seconds=0.01) == []


@given(
    st.lists(st.tuples(st.sampled_from(Lane), st.booleans()), min_size=1, max_size=40),
    st.sets(st.integers(0, 39)),
)
def test_all_that_is_wanted_comes_once(work: list[tuple[Lane, bool]], dropped: set[int]) -> None:
    inbox = Inbox()
    seen: list[int] = []
    for ticket, (lane, take) in enumerate(work):
        inbox.add(requests(ticket, lane=lane))
        if take:
            seen += tickets(inbox.take(wait=False))
    inbox.drop(dropped)
    seen += tickets(inbox.take(wait=False))
    assert seen == list(range(len(work)))
    assert [t for t in seen if inbox.is_active(t)] == [t for t in range(len(work)) if t not in dropped]


def test_a_text_wakes_who_waits_and_can_be_dropped() -> None:
    inbox = Inbox()
    got: list[list[tuple[int, TextTask]]] = []

    def wait() -> None:
        inbox.take(wait=True)
        got.append(inbox.take_texts())

    thread = threading.Thread(target=wait)
    thread.start()
    inbox.add_text(1, TextTask("demo", "a cat"))
    thread.join(timeout=10)
    assert got == [[(1, TextTask("demo", "a cat"))]]
    assert inbox.take_texts() == []
    assert inbox.is_active(1)
    inbox.drop([1])
    assert not inbox.is_active(1)
