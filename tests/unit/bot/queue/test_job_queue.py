"""The queue of jobs: batches, and never one job in two of them."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from bot.core.ports import Ticket
from bot.queue.fair_queue import WorkItem
from bot.queue.job_queue import JobQueue


def ticket(job_id: int, person: int = 1, count: int = 1, key: str = "a") -> Ticket:
    return Ticket(job_id, person, count, (key,))


def order(queue: JobQueue) -> list[int]:
    return [work.ticket.job_id for _, work in queue.order()]


def take(queue: JobQueue, limit: int) -> tuple[WorkItem, ...]:
    lead = queue.lead(lambda *_: True)
    return () if lead is None else queue.take(limit, lead)


def test_a_job_is_added_once() -> None:
    queue = JobQueue()
    queue.put(ticket(1, count=3))
    queue.put(ticket(1, count=3))
    assert len(queue) == 1
    assert 1 in queue
    assert list(queue) == [1]
    assert [len(w.indexes) for w in take(queue, 8)] == [3]
    assert len(queue) == 0
    assert take(queue, 8) == ()


def test_the_rest_of_a_job_stays_first_in_its_persons_queue() -> None:
    queue = JobQueue()
    queue.put(ticket(1, count=3))
    queue.put(ticket(2))
    (piece,) = take(queue, 2)
    assert order(queue) == [2], "while a batch has a job, no other batch gets it"
    rest = piece.rest()
    assert rest is not None
    queue.put_front(rest)
    assert order(queue) == [1, 2]
    head = queue.lead(lambda *_: True)
    assert head is not None
    assert (head.indexes, head.started) == ((2,), True)


def test_removing() -> None:
    queue = JobQueue()
    queue.put(ticket(1))
    before = queue.version
    assert queue.remove(1)
    assert not queue.remove(1)
    assert queue.version == before + 1
    assert order(queue) == []


async def test_wait_changed_returns_after_each_change() -> None:
    queue = JobQueue()
    queue.put(ticket(1))
    await queue.wait_changed()
    waiting = asyncio.create_task(queue.wait_changed())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.notify()
    await waiting


async def test_wait_nonempty_returns_once_there_is_work() -> None:
    queue = JobQueue()
    waiting = asyncio.create_task(queue.wait_nonempty())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.put(ticket(1))
    await waiting
    queue.remove(1)
    again = asyncio.create_task(queue.wait_nonempty())
    await asyncio.sleep(0)
    assert not again.done()
    again.cancel()


@given(
    jobs=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9), st.sampled_from("ab")), max_size=20),
    limit=st.integers(1, 5),
)
def test_every_picture_is_handed_out_once(jobs: list[tuple[int, int, str]], limit: int) -> None:
    queue = JobQueue()
    for job_id, (person, count, key) in enumerate(jobs):
        queue.put(ticket(job_id, person, count, key))
    handed: list[tuple[int, int]] = []
    while len(queue):
        pieces = take(queue, limit)
        handed += [(w.ticket.job_id, i) for w in pieces for i in w.indexes]
        for piece in pieces:
            if (rest := piece.rest()) is not None:
                queue.put_front(rest)
    assert sorted(handed) == [(job_id, i) for job_id, (_, count, _) in enumerate(jobs) for i in range(count)]


@given(loads=st.dictionaries(st.integers(1, 5), st.integers(1, 6), min_size=2))
def test_nobody_waits_for_more_than_one_batch_of_each_other_person(loads: dict[int, int]) -> None:
    queue = JobQueue()
    job_id = 0
    for person, n in loads.items():
        for _ in range(n):
            job_id += 1
            queue.put(ticket(job_id, person, key=str(job_id)))
    turns: list[int] = []
    while len(queue):
        turns += [w.ticket.person_id for w in take(queue, 4)]
    assert set(turns[: len(loads)]) == set(loads)


def test_a_job_that_was_moved_ahead_is_begun_first_also_the_rest_of_it() -> None:
    queue = JobQueue()
    for job_id, person in ((1, 1), (2, 1), (3, 2), (4, 3)):
        queue.put(ticket(job_id, person, count=3 if job_id == 4 else 1, key=str(job_id)))
    assert queue.move_ahead(2)
    assert queue.move_ahead(4)
    assert order(queue)[:2] == [4, 2]
    assert sorted(order(queue)[2:]) == [1, 3]
    (piece,) = take(queue, 2)
    assert piece.ticket.job_id == 4
    rest = piece.rest()
    assert rest is not None
    queue.put_front(rest)
    begun = [w.ticket.job_id for _ in range(4) for w in take(queue, 8)]
    assert begun[:2] == [4, 2]
    assert sorted(begun[2:]) == [1, 3]


def test_a_job_that_was_moved_behind_begins_after_those_that_waited_and_not_after_all_later_ones() -> None:
    queue = JobQueue()
    for job_id in (1, 2, 3):
        queue.put(ticket(job_id, job_id, key=str(job_id)))
    assert queue.newest() == 3
    assert queue.move_behind(1, queue.newest())
    assert order(queue) == [2, 3, 1]
    assert 1 in queue
    assert len(queue) == 3
    queue.put(ticket(4, 4, key="4"))
    begun = [w.ticket.job_id for _ in range(2) for w in take(queue, 8)]
    assert begun == [2, 3] or begun == [2, 4]
    queue.remove(3)
    # From here on it has its turn beside those that came later.
    assert set(order(queue)) == {1, 4} - set(begun)
    assert not queue.move_behind(77, queue.newest())
    assert not queue.move_ahead(77)


def test_moved_jobs_can_be_moved_again_and_removed() -> None:
    queue = JobQueue()
    for job_id in (1, 2, 3):
        queue.put(ticket(job_id, job_id, key=str(job_id)))
    queue.move_behind(2, queue.newest())
    queue.move_ahead(2)
    assert order(queue) == [2, 1, 3]
    queue.move_behind(2, last_id=1)
    assert order(queue)[-1] == 2
    assert queue.remove(1)
    assert set(order(queue)) == {2, 3}, "nothing that goes before it waits any more"
    queue.move_behind(3, queue.newest())
    assert queue.remove(3)
    assert order(queue) == [2]
    assert queue.remove(2)
    assert len(queue) == 0


@given(
    st.lists(st.tuples(st.sampled_from(["ahead", "behind", "take", "remove", "put"]), st.integers(1, 12)), max_size=40)
)
def test_every_job_is_begun_once_however_it_is_moved(steps: list[tuple[str, int]]) -> None:
    queue, waiting, begun = JobQueue(), set[int](), list[int]()
    for what, job_id in steps:
        match what:
            case "put" if job_id not in begun:
                queue.put(ticket(job_id, job_id % 3, key=str(job_id % 2)))
                waiting.add(job_id)
            case "ahead":
                assert queue.move_ahead(job_id) is (job_id in waiting)
            case "behind":
                assert queue.move_behind(job_id, queue.newest()) is (job_id in waiting)
            case "remove":
                assert queue.remove(job_id) is (job_id in waiting)
                waiting.discard(job_id)
            case "take":
                taken = [w.ticket.job_id for w in take(queue, 1)]
                assert bool(taken) is bool(waiting), "a job that waits can always be begun"
                begun += taken
                waiting -= set(taken)
        assert set(queue) == waiting == set(order(queue))
        assert len(queue) == len(waiting)
    assert len(begun) == len(set(begun))
