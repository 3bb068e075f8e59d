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
