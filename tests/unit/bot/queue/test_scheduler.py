"""The scheduler: urgent before bulk, fair between places and people, shared batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from bot.core.ports import Ticket
from bot.queue.fair_queue import CROWD, WorkItem
from bot.queue.scheduler import AGED_EVERY, BULK_ABOVE, LOOK_AHEAD, MAX_PASSES, Scheduler
from engine.contract import Lane


class Line:
    """A scheduler, and the jobs that were begun."""

    def __init__(self, costs: Mapping[int, float] | None = None) -> None:
        self.costs = costs or {}
        self.scheduler = Scheduler(lambda t: self.costs.get(t.person_id, 1.0))
        self.fits: Callable[[WorkItem, Lane], bool] = lambda *_: True
        self._ids = 0

    def put(
        self,
        person: int,
        count: int = 1,
        kind: str = "",
        *,
        place: int = 0,
        solo: bool = False,
        bulk: bool = False,
        model: str = "m",
    ) -> int:
        self._ids += 1
        ticket = Ticket(self._ids, person, count, (kind or self._ids,), model, place=place, bulk=bulk)
        self.scheduler.put(WorkItem(ticket, tuple(range(count)), solo=solo))
        return self._ids

    def take(self, limit: int = 1, resident: tuple[str, ...] = ("m",)) -> list[tuple[int, int]]:
        """Take the next batch; returns each piece's job and pictures."""
        lead = self.scheduler.lead(self.fits, resident)
        taken = () if lead is None else self.scheduler.take(limit, lead)
        self.draw(taken)
        return [(work.ticket.job_id, len(work.indexes)) for work in taken]

    def people(self, batches: int) -> list[int]:
        """Return the people whose items begin the next batches of one picture."""
        found = []
        for _ in range(batches):
            lead = self.scheduler.lead(self.fits, ("m",))
            assert lead is not None
            taken = self.scheduler.take(1, lead)
            self.draw(taken)
            found.append(taken[0].ticket.person_id)
        return found

    def draw(self, taken: Sequence[WorkItem]) -> None:
        """End everything that was taken in the expected time."""
        for work in taken:
            assert work.charge is not None
            for _ in work.indexes:
                self.scheduler.settle(work.charge, work.charge.seconds_per_picture)


def test_an_empty_queue_has_no_batch() -> None:
    assert Line().take() == []


def test_people_take_turns_whatever_they_have_waiting() -> None:
    line = Line()
    for _ in range(4):
        line.put(1)
    line.put(2)
    line.put(2)
    assert line.people(6) == [1, 2, 1, 2, 1, 1]


def test_people_with_more_expensive_pictures_have_fewer_turns() -> None:
    line = Line({1: 3.0, 2: 1.0})
    for _ in range(3):
        line.put(1)
    for _ in range(8):
        line.put(2)
    assert line.people(8).count(2) == 6


def test_idle_time_gives_no_credit() -> None:
    line = Line()
    for _ in range(7):
        line.put(1)
    line.people(5)
    for _ in range(7):
        line.put(2)
    assert line.people(4).count(1) == 2, "the newcomer does not catch up on what it has not asked for"


def test_places_take_turns_whatever_the_number_of_people_in_one() -> None:
    line = Line()
    for person in range(3):
        for _ in range(4):
            line.put(10 + person, place=1)
    for person in range(3):
        for _ in range(4):
            line.put(20 + person, place=2)
    led = line.people(12)
    assert sum(person < 20 for person in led) == 6


def test_the_weight_of_a_place_is_its_number_of_people_up_to_a_limit() -> None:
    line = Line()
    for person in range(3 * CROWD):
        for _ in range(8):
            line.put(100 + person, place=1)
    for _ in range(8):
        line.put(1, place=-1)
    led = line.people(4 * (CROWD + 1))
    assert led.count(1) in (4, 5), "one in nine: neither half of all nor nearly nothing"


def test_large_requests_go_when_nothing_urgent_waits() -> None:
    line = Line()
    large = line.put(1, 5, bulk=True)
    small = line.put(2)
    assert [line.take(), line.take()] == [[(small, 1)], [(large, 1)]]


def test_many_small_requests_are_bulk_like_one_large_one() -> None:
    line = Line()
    for _ in range(BULK_ABOVE + 1):
        line.put(1)
    other = line.put(2)
    assert line.take() == [(other, 1)]
    assert line.take() == [(1, 1)]
    another = line.put(3)
    assert line.people(2).count(1) == 1, "what is left of them is no more than others have"
    assert another not in line.scheduler


def test_pictures_in_flight_count_as_much_as_waiting_ones() -> None:
    line = Line()
    for _ in range(BULK_ABOVE):
        line.put(1, kind="a")
    lead = line.scheduler.lead(line.fits)
    assert lead is not None
    taken = line.scheduler.take(8, lead)
    assert sum(len(work.indexes) for work in taken) == BULK_ABOVE
    mine = line.put(1)
    assert [(lane, work.ticket.job_id) for lane, work in line.scheduler.order()] == [(Lane.BULK, mine)]
    line.draw(taken[:1])
    assert [(lane, work.ticket.job_id) for lane, work in line.scheduler.order()] == [(Lane.INTERACTIVE, mine)]


def test_the_jobs_of_a_person_begin_in_order() -> None:
    line = Line()
    large = line.put(1, 6, bulk=True)
    small = line.put(1)
    assert line.take(8) == [(large, 6)]
    assert line.take(8) == [(small, 1)]


def test_bulk_does_not_overtake_urgent_work_that_does_not_fit() -> None:
    line = Line()
    line.put(1, 6, bulk=True)
    line.put(2)
    line.fits = lambda _, lane: lane is Lane.BULK
    assert line.take() == []


def test_the_oldest_item_goes_regularly() -> None:
    line = Line()
    large = line.put(1, 6, bulk=True)
    led = []
    for person in range(2, 2 + AGED_EVERY):
        line.put(person)
        led += line.take(8)
    assert (large, 6) in led
    assert led.index((large, 6)) == AGED_EVERY - 1


def test_the_engine_waits_for_the_oldest_item_when_it_does_not_fit() -> None:
    line = Line()
    first = line.put(1)
    line.fits = lambda work, _: work.ticket.job_id != first
    for person in range(2, 2 + AGED_EVERY - 1):
        line.put(person)
        assert line.take() != []
    line.put(99)
    assert line.take() == []
    line.fits = lambda *_: True
    assert line.take() == [(first, 1)]


def test_bulk_that_does_not_fit_does_not_delay_urgent_work() -> None:
    line = Line()
    line.put(1, 6, bulk=True)
    line.fits = lambda _, lane: lane is Lane.INTERACTIVE
    for person in range(2, 2 + 3 * AGED_EVERY):
        line.put(person)
        assert line.take() != []


def test_other_jobs_fill_the_batch() -> None:
    line = Line()
    jobs = [line.put(1, 2, "a"), line.put(2, 1, "a"), line.put(3, 4, "a")]
    assert line.take(4) == [(jobs[0], 2), (jobs[1], 1), (jobs[2], 1)]


def test_a_large_job_is_taken_in_pieces() -> None:
    line = Line()
    line.put(1, 6, bulk=True)
    lead = line.scheduler.lead(line.fits)
    assert lead is not None
    (piece,) = line.scheduler.take(4, lead)
    assert (piece.indexes, piece.later) == ((0, 1, 2, 3), (4, 5))
    rest = piece.rest()
    assert rest is not None
    assert (rest.indexes, rest.later, rest.started, rest.charge) == ((4, 5), (), True, None)


def test_another_kind_or_lane_stays_out_of_the_batch() -> None:
    line = Line()
    first = line.put(1, kind="a")
    line.put(2, kind="b")
    line.put(3, 5, "a", bulk=True)
    third = line.put(4, kind="a")
    assert line.take(8) == [(first, 1), (third, 1)]


def test_a_job_of_a_lost_batch_goes_alone() -> None:
    line = Line()
    alone = line.put(1, kind="a", solo=True)
    other = line.put(2, kind="a")
    assert line.take(8) == [(alone, 1)]
    again = line.put(3, kind="a", solo=True)
    assert line.take(8) == [(other, 1)]
    assert line.take(8) == [(again, 1)]


def test_one_person_alone_fills_a_batch() -> None:
    line = Line()
    for _ in range(8):
        line.put(1, kind="a")
    assert len(line.take(8)) == 8


def test_sharing_gives_a_person_at_most_one_batch_of_surplus() -> None:
    line = Line()
    for _ in range(40):
        line.put(1, kind="a", bulk=True)
        line.put(2, kind="b", bulk=True)
        line.put(3, kind="a", bulk=True)
    served = {1: 0, 2: 0, 3: 0}
    for _ in range(12):
        lead = line.scheduler.lead(line.fits)
        assert lead is not None
        for work in line.scheduler.take(4, lead):
            served[work.ticket.person_id] += len(work.indexes)
    assert max(served.values()) - min(served.values()) <= 2 * (1 + 4)


def test_an_item_that_does_not_fit_is_passed() -> None:
    line = Line()
    first, second = line.put(1), line.put(2)
    line.fits = lambda work, _: work.ticket.job_id != first
    assert line.take() == [(second, 1)]
    assert line.take() == []


def test_a_resident_model_passes_others_a_limited_number_of_times() -> None:
    line = Line()
    other = line.put(1, model="b")
    served = []
    for person in range(2, 12):
        line.put(person, model="a")
        served += line.take(resident=("a",))
    assert [job_id for job_id, _ in served].index(other) == MAX_PASSES


def test_another_model_is_taken_when_no_item_needs_a_resident_one() -> None:
    line = Line()
    first = line.put(1, model="b")
    line.put(2, model="a")
    assert line.take(resident=("c",)) == [(first, 1)]


def test_models_that_are_resident_together_take_turns_as_if_they_were_one() -> None:
    line = Line()
    jobs = [line.put(person, model="ab"[person % 2]) for person in range(6)]
    served = [job for _ in jobs for job, _ in line.take(resident=("a", "b"))]
    assert served == jobs, "no turn is lost to a change that costs nothing"


def test_resident_models_pass_one_that_has_to_be_loaded_in_their_turns() -> None:
    line = Line()
    other, second, first = line.put(1, model="c"), line.put(2, model="b"), line.put(3, model="a")
    assert [line.take(resident=("a", "b")) for _ in range(3)] == [[(second, 1)], [(first, 1)], [(other, 1)]]


def test_a_resident_model_is_found_however_far_back() -> None:
    line = Line()
    for person in range(1, 3 * LOOK_AHEAD):
        line.put(person, model="b", place=person)
    last = line.put(999, model="a", place=999)
    assert line.take(resident=("a",)) == [(last, 1)]


def test_the_search_for_an_item_is_limited() -> None:
    line = Line()
    for person in range(1, LOOK_AHEAD + 1):
        line.put(person, place=person)
    last = line.put(999, place=999)
    line.fits = lambda work, _: work.ticket.job_id == last
    assert line.take() == []


@pytest.mark.parametrize(("measured", "turns"), [(3.0, 2), (1.0, 4)])
def test_measured_time_is_charged(measured: float, turns: int) -> None:
    line = Line()
    for _ in range(BULK_ABOVE):
        line.put(1)
        line.put(2)
    led = []
    for _ in range(8):
        lead = line.scheduler.lead(line.fits)
        assert lead is not None
        (work,) = line.scheduler.take(1, lead)
        led.append(work.ticket.person_id)
        assert work.charge is not None
        line.scheduler.settle(work.charge, measured if work.ticket.person_id == 1 else work.charge.seconds_per_picture)
    assert led.count(1) == turns


def test_the_order_is_the_order_of_batches() -> None:
    line = Line({1: 2.0})
    for person in (1, 1, 2, 3, 3, 2, 1):
        line.put(person, place=person % 2)
    line.put(4, 6, bulk=True)
    expected = [work.ticket.job_id for _, work in line.scheduler.order()]
    begun = []
    while lead := line.scheduler.lead(line.fits):
        begun += [work.ticket.job_id for work in line.scheduler.take(8, lead)]
    assert sorted(begun) == sorted(expected)
    assert begun[:4] == expected[:4]
    assert begun[-1] == expected[-1]
