"""Who takes the next step: within bounds, and nobody is forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.contract import Lane, Recipe
from engine.diffusion.request_state import (
    MAX_PASSED,
    MAX_PASSED_BULK,
    SHORTER,
    BatchKey,
    RequestState,
    StepScheduler,
)

SMALL, LARGE, OTHER = BatchKey("m", 8, 8), BatchKey("m", 16, 16), BatchKey("n", 8, 8)


def request(ticket: int, steps: int = 8, key: BatchKey = SMALL, lane: Lane = Lane.INTERACTIVE) -> RequestState:
    recipe = Recipe(str(ticket), key.model, "", "", key.width, key.height, steps, 0.0, 0)
    return RequestState(ticket, recipe, lane, key.precision)


def scheduler(*open_: RequestState, most: int = 8, loaded: Sequence[str] = ()) -> StepScheduler:
    made = StepScheduler(lambda _: most, loaded)
    for one in open_:
        made.add(one)
    return made


def step(made: StepScheduler) -> list[int]:
    """Take one step, as the executor does."""
    team = made.schedule()
    for one in team:
        one.begun = True
        one.steps -= 1
        if not one.steps:
            made.remove(one.ticket)
    return [one.ticket for one in team]


def test_nothing_is_open() -> None:
    assert scheduler().schedule() == []


def test_those_of_a_kind_share_a_step_within_the_limit() -> None:
    assert step(scheduler(request(1), request(2, key=LARGE), request(3), request(4), most=2)) == [1, 3]


def test_who_has_begun_stays_in() -> None:
    made = scheduler(request(1), request(2), most=2)
    step(made)
    made.add(request(3))
    assert step(made) == [1, 2]


def test_a_short_one_of_another_size_is_next_and_then_the_long_one_goes_on() -> None:
    made = scheduler(request(1, 50))
    step(made)
    made.add(request(2, 2, LARGE))
    assert [step(made) for _ in range(3)] == [[2], [2], [1]]


def test_a_short_one_finds_its_place_in_a_full_batch_of_long_ones() -> None:
    made = scheduler(request(1, 50), request(2, 50), most=2)
    step(made)
    made.add(request(3, 8))
    assert 3 in step(made)


def test_what_has_begun_in_one_precision_ends_before_another_is_loaded() -> None:
    first, second = request(1, 2), request(2, 4)
    made = scheduler(first, second, loaded=("m",))
    step(made)
    made.preempt(first)
    first.begun, first.precision = False, "fp32"
    assert [step(made) for _ in range(4)] == [[2], [2], [2], [1]]


def test_another_precision_waits_for_a_few_and_no_more() -> None:
    first = request(1, 2, replace(SMALL, precision="fp32"))
    made = scheduler(first, loaded=("m",))
    for ticket in range(2, 20):
        late = request(ticket, 1, BatchKey("m", 8 * ticket, 8))
        late.begun = True
        made.add(late)
    order = [step(made)[0] for _ in range(6)]
    assert order.index(1) == MAX_PASSED


def test_nobody_passes_in_another_precision() -> None:
    made = scheduler(request(1, 50, lane=Lane.BULK), loaded=("m",))
    step(made)
    made.add(request(2, 1, replace(SMALL, precision="fp32")))
    assert step(made) == [1]


def test_who_joins_passes_nobody() -> None:
    first = request(1, 50)
    made = scheduler(first)
    step(made)
    made.add(request(2, 2))
    assert step(made) == [1, 2]
    assert first.passed == 0


def test_a_long_one_is_set_aside_so_often_and_no_more() -> None:
    made = scheduler(request(1, 50))
    step(made)
    passed = 0
    for ticket in range(2, 20):
        made.add(request(ticket, 1, LARGE))
        passed += step(made) == [ticket]
    assert passed == MAX_PASSED


def test_one_that_is_hardly_shorter_waits() -> None:
    made = scheduler(request(1, 8))
    step(made)
    made.add(request(2, 2, LARGE))  # 512 of 448 that are left
    assert step(made) == [1]


def test_urgent_work_sets_bulk_work_aside_and_does_not_share_with_it() -> None:
    made = scheduler(request(1, 2, lane=Lane.BULK))
    step(made)
    made.add(request(2, 50))
    assert step(made) == [2]


def test_bulk_work_lets_urgent_work_in() -> None:
    made = scheduler(request(1, 50, lane=Lane.BULK), request(2, 50, lane=Lane.BULK))
    assert step(made) == [1, 2]


def test_what_is_alone_shares_no_step() -> None:
    lonely = request(2)
    lonely.alone = True
    made = scheduler(request(1), lonely, request(3))
    assert step(made) == [1, 3]
    made.remove(1)
    assert step(made) == [2]


def test_the_model_is_not_changed_for_a_short_one() -> None:
    made = scheduler(request(1, 50), loaded=("m",))
    step(made)
    made.add(request(2, 1, OTHER))
    assert step(made) == [1]


def test_a_short_one_for_another_model_goes_first_where_both_are_on_the_device() -> None:
    made = scheduler(request(1, 50), loaded=("m", OTHER.model))
    step(made)
    made.add(request(2, 1, OTHER))
    assert step(made) == [2]
    made.remove(2)
    made.add(request(3, 1, replace(OTHER, precision="fp32")))
    assert step(made) == [1], "another precision means a load"


def test_the_loaded_model_goes_before_but_not_for_ever() -> None:
    other = request(1, 1, OTHER)
    made = scheduler(other, loaded=("m",))
    first: list[int] = []
    for ticket in range(2, 9):
        made.add(request(ticket, 1))
        made.add(request(100 + ticket, 1, LARGE))
        first += step(made)
        if 1 in first:
            break
    assert first.index(1) <= MAX_PASSED + 1


KINDS = st.sampled_from([SMALL, LARGE, OTHER])


@given(
    st.lists(st.tuples(KINDS, st.integers(1, 50), st.sampled_from(Lane)), min_size=1, max_size=30),
    st.integers(1, 4),
)
def test_all_of_them_come_to_their_end(work: list[tuple[BatchKey, int, Lane]], most: int) -> None:
    made = scheduler(*(request(n, steps, key, lane) for n, (key, steps, lane) in enumerate(work)), most=most)
    steps = 0
    while len(made):
        assert step(made)
        steps += 1
    assert steps <= sum(s for _, s, _ in work)


class Comings(RuleBasedStateMachine):
    """Requests come, step and are dropped in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.made = scheduler(most=3, loaded=("m",))
        self.open: dict[int, RequestState] = {}
        self.coming = 0
        self.last: list[RequestState] = []

    @rule(key=KINDS, steps=st.integers(1, 20), lane=st.sampled_from(Lane))
    def come(self, key: BatchKey, steps: int, lane: Lane) -> None:
        self.coming += 1
        one = request(self.coming, steps, key, lane)
        self.open[one.ticket] = one
        self.made.add(one)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.open)))
        del self.open[ticket]
        self.made.remove(ticket)

    @precondition(lambda self: self.open)
    @rule()
    def step(self) -> None:
        before = {t.ticket: t.work for t in self.open.values()}
        leader_before = next((t for t in self.last if t.ticket in self.open), None)
        team = self.made.schedule()
        leader = team[0]
        assert {t.ticket for t in team} <= self.open.keys()
        assert len({t.key for t in team}) == 1
        assert len(team) <= 3
        if leader.lane is Lane.INTERACTIVE:
            assert all(t.lane is Lane.INTERACTIVE for t in team)
        if leader_before is self.last[0] if self.last else False:
            assert leader_before is not None
            if leader is not leader_before:
                urgent = leader.lane is Lane.INTERACTIVE and leader_before.lane is Lane.BULK
                assert urgent or before[leader.ticket] <= SHORTER * before[leader_before.ticket]
        for one in team:
            one.begun = True
            one.steps -= 1
            if not one.steps:
                del self.open[one.ticket]
                self.made.remove(one.ticket)
        self.last = [t for t in team if t.ticket in self.open] if team[0].ticket in self.open else []

    @invariant()
    def nobody_is_passed_too_often(self) -> None:
        for one in self.open.values():
            assert one.passed <= (MAX_PASSED_BULK if one.lane is Lane.BULK else MAX_PASSED)

    @invariant()
    def all_are_there(self) -> None:
        assert {t.ticket for t in self.made} == self.open.keys()


TestComings = Comings.TestCase
TestComings.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
