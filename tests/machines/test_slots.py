"""Several slots under everything that can happen to them: no picture lost or drawn twice at once, no slot idle for nothing."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.fakes.fleet import Card, Fleet
from tests.fakes.simulated_dispatch import Ask

NAMES = ("slow", "fast", "other", "small")
ANY = st.sampled_from(NAMES)


class Slots(RuleBasedStateMachine):
    """People request and cancel; cards of several speeds are lost and come back."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet(
            {
                "slow": Card(1.0, loaded="a", switch=15.0, calls=1),
                "fast": Card(4.0, loaded="a", switch=5.0),
                "other": Card(2.0, loaded="b", switch=10.0, calls=4),
                "small": Card(1.0, loaded="b", models=frozenset({"b"})),
            },
            per_step=2,
            gain=0.6,
        )

    @rule(
        person=st.integers(1, 4),
        place=st.integers(1, 2),
        model=st.sampled_from("ab"),
        count=st.sampled_from((1, 2, 4, 16)),
        steps=st.sampled_from((1, 4, 20)),
    )
    def ask(self, person: int, place: int, model: str, count: int, steps: int) -> None:
        self.fleet.request(Ask(self.fleet.now(), person, place, count, steps=steps, model=model))

    @rule(seconds=st.sampled_from((0.3, 2.0, 20.0)))
    def advance(self, seconds: float) -> None:
        self.fleet.advance(seconds)

    @precondition(lambda self: any(asked.left for asked in self.fleet.jobs.values()))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.fleet.cancel(data.draw(st.sampled_from([n for n, asked in self.fleet.jobs.items() if asked.left])))

    @rule(name=ANY)
    def lose_or_recover(self, name: str) -> None:
        if self.fleet.cards[name].lost:
            self.fleet.recover(name)
        else:
            self.fleet.lose(name)

    @invariant()
    def every_picture_is_in_one_place(self) -> None:
        waiting = {item.ticket.job_id: set(item.indexes) for _, item in self.fleet.queue.order()}
        for job_id, asked in self.fleet.jobs.items():
            run = self.fleet.active.get(job_id)
            drawn = set(run.painting) if run is not None else set()
            assert not drawn & waiting.get(job_id, set())
            assert drawn | waiting.get(job_id, set()) == asked.left

    @invariant()
    def what_was_lost_is_drawn_alone(self) -> None:
        for load in self.fleet.batcher.placement.loads.values():
            batches = load.in_flight._batches
            assert len(batches) <= load.slot.calls
            assert len(batches) <= 1 or not any(batch.solo for batch in batches)

    @invariant()
    def no_slot_is_idle_for_nothing(self) -> None:
        self.fleet.advance(0.0)
        placement = self.fleet.batcher.placement
        heads = self.fleet.queue.models()
        for load in placement.loads.values():
            if load.slot.ready and load.in_flight.is_empty() and (placement._kept or (0, ""))[1] != load.id:
                assert not {model for model in heads if load.slot.can_draw(model)} & load.resident

    @invariant()
    def pictures_are_counted(self) -> None:
        waiting = Counter[str]()
        for _, item in self.fleet.queue.order():
            waiting[item.ticket.model] += len(item.indexes)
        assert all(self.fleet.queue.pictures(model) == waiting[model] for model in "ab")

    def teardown(self) -> None:
        for name, card in self.fleet.cards.items():
            if card.lost:
                self.fleet.recover(name)
        self.fleet.run(())
        assert not any(asked.left for asked in self.fleet.jobs.values())
        assert not self.fleet.active
        assert not self.fleet.queue._scheduler._pictures


def test_several_slots() -> None:
    run_state_machine_as_test(
        Slots,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
