"""Where a job stands, and when its pictures will be there."""

from __future__ import annotations

from bot.dispatch.estimate import Estimate
from bot.dispatch.live import Live
from bot.dispatch.outlook import Outlook
from bot.dispatch.queue import JobQueue
from bot.dispatch.runs import Run
from bot.model.jobs import Job, JobState
from bot.model.requests import DrawRequest
from bot.policy.recipes import batch_key, recipes_of
from bot.ports import Ticket, Waiting

REQUEST = DrawRequest("p", "p", "", 192, 192, 8, 1.0, 7, 4, "demo")
KIND = batch_key(REQUEST)


def outlook(queue: JobQueue, estimate: Estimate, runs: dict[int, Run], live: Live) -> Outlook:
    return Outlook(queue, lambda: runs, live, estimate)


def running(live: Live) -> Run:
    job = Job(9, JobState.RUNNING, 1, 1, None, REQUEST, "en", "", 0, 0.0)
    live.begin(9, REQUEST.count)
    return Run(job, recipes_of(9, REQUEST), painting={0, 1, 2, 3})


def test_unknown_time_but_known_place() -> None:
    queue = JobQueue()
    queue.put(Ticket(1, 1, 2, KIND))
    look = outlook(queue, Estimate(), {}, Live())
    assert look.waiting(1) == Waiting(1, None)
    assert look.waiting(2) is None


def test_everything_before_it_counts_and_itself() -> None:
    queue, estimate, live = JobQueue(), Estimate(), Live()
    estimate.measured(KIND, 3.0)
    queue.put(Ticket(1, 1, 2, KIND))
    queue.put(Ticket(2, 1, 1, KIND))
    queue.put(Ticket(3, 2, 1, KIND))
    run = running(live)
    look = outlook(queue, estimate, {9: run}, live)
    assert look.waiting(1) == Waiting(1, 12.0 + 6.0)
    assert look.waiting(3) == Waiting(2, 12.0 + 6.0 + 3.0)
    assert look.waiting(2) == Waiting(3, 12.0 + 6.0 + 3.0 + 3.0)
    for index in range(4):
        live.step(9, index, 0.5)
    assert look.waiting(1) == Waiting(1, 6.0 + 6.0)


def test_a_kind_that_was_never_measured_hides_the_time_behind_it() -> None:
    queue, estimate = JobQueue(), Estimate()
    estimate.measured(KIND, 3.0)
    queue.put(Ticket(1, 1, 1, KIND))
    queue.put(Ticket(2, 2, 1, ("another",)))
    queue.put(Ticket(3, 3, 1, KIND))
    look = outlook(queue, estimate, {}, Live())
    assert look.waiting(1) == Waiting(1, 3.0)
    assert look.waiting(3) == Waiting(3, None)


def test_what_changes_in_the_queue_is_seen() -> None:
    queue = JobQueue()
    queue.put(Ticket(1, 1, 1, KIND))
    queue.put(Ticket(2, 2, 4, KIND))
    look = outlook(queue, Estimate(), {}, Live())
    assert look.waiting(2) == Waiting(2, None)
    queue.remove(1)
    assert look.waiting(2) == Waiting(1, None)
    (piece,) = queue.take(2)
    rest = piece.rest()
    assert rest is not None
    queue.give_back(rest)
    assert look.waiting(2) is None, "partly drawn: it does not wait any more"
