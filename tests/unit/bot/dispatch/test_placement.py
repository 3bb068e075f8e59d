"""Several slots share one queue: in simulated time, with the service's own queue and batcher."""

from __future__ import annotations

import random
import statistics

import pytest

from bot.core.jobs import ticket_of
from bot.dispatch.placement import SHUN_SECONDS, SWAP_AFTER
from tests.fakes.fleet import Card, Fleet
from tests.fakes.simulated_dispatch import Ask, Asked

STEPS = 8
"""Seconds of a picture on a card of speed 1."""


def equal(count: int) -> dict[str, Card]:
    return {f"cuda:{n}": Card() for n in range(count)}


def used(fleet: Fleet) -> list[int]:
    """Return how many pictures each card has drawn."""
    return [card.pictures for card in fleet.cards.values()]


def test_jobs_that_come_together_use_all_idle_slots() -> None:
    fleet = Fleet(equal(4), per_step=4)
    fleet.run([Ask(0.0, n, 1) for n in range(4)])
    assert used(fleet) == [1, 1, 1, 1]


def test_idle_slots_are_filled_before_a_busy_one_gets_its_next_batch() -> None:
    fleet = Fleet(equal(3))
    fleet.run([Ask(0.0, 1, 1), *(Ask(1.0, n, 1) for n in range(2, 5))])
    assert [slot for slot, _ in fleet.handed[:3]] == ["cuda:0", "cuda:1", "cuda:2"]


def test_the_pictures_of_a_job_are_shared_out_among_idle_slots() -> None:
    fleet = Fleet(equal(4))
    fleet.run([Ask(0.0, 1, 1, 4)])
    assert used(fleet) == [1, 1, 1, 1]
    assert fleet.jobs[1].waited == pytest.approx(STEPS)


def test_pictures_that_cost_little_more_together_stay_together() -> None:
    fleet = Fleet(equal(2), per_step=4, gain=0.1)
    # What is drawn alone and what is drawn together is measured first.
    fleet.run([Ask(0.0, 1, 1, 1), Ask(100.0, 1, 1, 4), *(Ask(200.0, n, n, 4) for n in range(3))])
    before = used(fleet)
    at = fleet.now() + 1.0
    fleet.run([Ask(at, 1, 1, 4)])
    assert sorted(now - then for now, then in zip(used(fleet), before, strict=True)) == [0, 4]


@pytest.mark.parametrize("calls", [1, 2, 4])
def test_a_card_four_times_as_fast_draws_four_times_as_much(calls: int) -> None:
    fleet = Fleet({"slow": Card(1.0, calls=calls), "fast": Card(4.0, calls=calls)})
    rng = random.Random(1)
    asks = [Ask(0.0, n % 20, n % 3, rng.choice((1, 1, 2, 4)), steps=rng.choice((4, 8, 20))) for n in range(600)]
    fleet.run(asks, until=lambda: bool(fleet.jobs) and len(fleet.queue) < 20)
    done = [sum(len(work.indexes) * work.ticket.work for work in works) for _, works in fleet.handed]
    slow = sum(n for n, (slot, _) in zip(done, fleet.handed, strict=True) if slot == "slow") / sum(done)
    assert slow == pytest.approx(0.2, abs=0.01)
    assert fleet.batcher.speeds.of("fast") / fleet.batcher.speeds.of("slow") == pytest.approx(4.0)
    assert [card.idle for card in fleet.cards.values()] == pytest.approx([0.0, 0.0], abs=0.01)


def test_a_slow_card_costs_a_person_no_more_than_a_fast_one() -> None:
    """Charged by the clock, whoever gets the slow card would have four pictures fewer."""
    fleet = Fleet({"slow": Card(1.0), "fast": Card(4.0)})
    fleet.run(
        [Ask(0.0, n % 4, 1) for n in range(400)],
        until=lambda: sum(not asked.left for asked in fleet.jobs.values()) > 200,
    )
    done = [sum(not a.left for a in fleet.jobs.values() if a.ask.person == person) for person in range(4)]
    assert max(done) - min(done) <= 3


def _wait_of_others(fleet_size: int, own: int, flood: int, seed: int) -> float:
    """Return the mean wait of nine people over two hours beside a tenth, who asks for this many at a time."""
    rng = random.Random(seed)
    asks: list[Ask] = []
    for person in range(1, 10):
        at = 0.0
        while (at := at + rng.expovariate(1 / 120.0)) < 2 * 3600:
            asks.append(Ask(at, person, person % 3, rng.choice((1, 1, 2, 4))))
    at = 0.0
    while (at := at + 120.0) < 2 * 3600:
        asks.extend(Ask(at, 99, 1) for _ in range(own + flood))
    found: list[Asked] = []
    fleet = Fleet(
        {f"cuda:{n}": Card(1.0 + n % 2) for n in range(fleet_size)},
        on_done=lambda asked: found.append(asked) if asked.ask.person != 99 else None,
    )
    others = sum(ask.person != 99 for ask in asks)
    fleet.run(asks, until=lambda: len(found) == others)
    return statistics.mean(asked.waited for asked in found)


def test_a_flooder_costs_others_at_most_a_fifth_over_hours() -> None:
    """Compared with the same load where the flooder asks for one picture every two minutes, as the others do."""
    ratio = _wait_of_others(4, 1, 20, 3) / _wait_of_others(4, 1, 0, 3)
    print(f"a flooder before four unequal cards: {ratio:.2f} times as long")  # noqa: T201 - the figure of the record
    assert ratio <= 1.2


def two_models(switch: float) -> dict[str, Card]:
    return {"one": Card(loaded="one", switch=switch), "two": Card(loaded="two", switch=switch)}


def test_jobs_go_to_the_slot_that_has_their_model() -> None:
    fleet = Fleet(two_models(60.0))
    fleet.run([Ask(0.5 * n, n, 1, model=("one", "two")[n // 2 % 2]) for n in range(40)])
    assert [card.changes for card in fleet.cards.values()] == [0, 0]


def test_an_idle_slot_loads_a_model_when_waiting_costs_more() -> None:
    fleet = Fleet(two_models(20.0))
    fleet.run([Ask(0.0, n, 1, model="one") for n in range(30)])
    assert fleet.cards["two"].changes == 1
    assert fleet.cards["two"].pictures > 10


def test_a_short_wait_is_no_reason_to_load_a_model() -> None:
    fleet = Fleet(two_models(60.0))
    fleet.run([Ask(0.0, n, 1, model="one") for n in range(3)])
    assert fleet.cards["two"].changes == 0


def test_no_job_waits_for_its_model_for_ever() -> None:
    """A slot with the model that never becomes free: after a while another one loads it."""
    fleet = Fleet({"one": Card(loaded="one", switch=30.0, calls=1), "two": Card(loaded="two", switch=1000.0, calls=1)})
    long = Ask(0.0, 1, 1, model="one", steps=700)
    other = Ask(1.0, 2, 1, model="one", steps=100)
    wakes = [Ask(1.0 + 20 * n, 3, 1, model="two", steps=1) for n in range(1, 10)]
    fleet.run([long, other, *wakes])
    begun = next(asked.begun for asked in fleet.jobs.values() if asked.ask is other)
    assert begun is not None
    assert SWAP_AFTER < begun < SWAP_AFTER + 40


def test_a_slot_that_draws_one_model_alone_gets_no_other() -> None:
    cards = {"small": Card(models=frozenset({"demo"})), "large": Card()}
    fleet = Fleet(cards)
    fleet.run([Ask(0.0, n, 1, model=("large", "demo")[n % 3 == 0]) for n in range(60)])
    assert all(work.ticket.model == "demo" for slot, works in fleet.handed if slot == "small" for work in works)
    assert fleet.cards["small"].pictures > 0


PROMPT_ALONE = frozenset({"demo"})


def test_a_slot_that_draws_from_a_prompt_alone_gets_nothing_else() -> None:
    fleet = Fleet({"plain": Card(plain=PROMPT_ALONE), "full": Card()}, per_step=4)
    # Jobs of one size may share a batch, whatever their sampler.
    fleet.run([Ask(0.0, n, 1, sampler=("", "Heun")[n % 2]) for n in range(60)])
    given = [work.ticket for slot, works in fleet.handed if slot == "plain" for work in works]
    assert given
    assert all(ticket.plain for ticket in given)
    assert all(not asked.left for asked in fleet.jobs.values())


def test_what_needs_more_than_a_prompt_waits_for_its_slot_and_holds_up_no_other() -> None:
    fleet = Fleet({"plain": Card(plain=PROMPT_ALONE), "full": Card()})
    fleet.lose("full")
    asks = [*(Ask(0.0, n, 1, sampler="Heun") for n in range(20)), *(Ask(1.0, 100 + n, 1) for n in range(5))]
    fleet.run(asks, until=lambda: sum(not asked.left for asked in fleet.jobs.values()) == 5)
    assert all(not asked.left for asked in fleet.jobs.values() if not asked.ask.sampler)
    assert not fleet.batcher.placement.could_begin()
    fleet.recover("full")
    assert fleet.batcher.placement.could_begin()
    fleet.run([])
    assert all(not asked.left for asked in fleet.jobs.values())


def test_jobs_whose_only_slot_is_lost_do_not_hold_up_others() -> None:
    cards = {"small": Card(models=frozenset({"demo"})), "large": Card(models=frozenset({"large"}), loaded="large")}
    fleet = Fleet(cards)
    fleet.lose("large")
    asks = [*(Ask(0.0, n, 1, model="large") for n in range(100)), *(Ask(1.0, 100 + n, 1) for n in range(20))]
    fleet.run(asks, events=[(500.0, lambda: fleet.recover("large"))])
    small = [asked.done for asked in fleet.jobs.values() if asked.ask.model == "demo"]
    assert max(done for done in small if done is not None) < 1 + 20 * STEPS + 1
    assert all(not asked.left for asked in fleet.jobs.values())


def test_a_lost_slot_costs_its_jobs_one_attempt_and_the_others_draw_on() -> None:
    fleet = Fleet(equal(3))
    fleet.run(
        [Ask(0.0, n, n % 4, 1 + n % 4) for n in range(40)],
        events=[(20.0, lambda: fleet.lose("cuda:1")), (90.0, lambda: fleet.recover("cuda:1"))],
    )
    assert all(not asked.left for asked in fleet.jobs.values())
    assert set(fleet.lost_times.values()) == {1}
    lost = set(fleet.lost_times)
    alone = [works for _, works in fleet.handed if any(work.solo for work in works)]
    assert {work.ticket.job_id for works in alone for work in works} == lost
    assert all(len(works) == 1 for works in alone)


def test_a_job_that_must_be_alone_gets_a_slot_under_load() -> None:
    fleet = Fleet(equal(2))
    asks = [Ask(0.0, n % 10, 1) for n in range(200)]
    fleet.run(asks, events=[(20.0, lambda: fleet.lose("cuda:0")), (21.0, lambda: fleet.recover("cuda:0"))])
    again = [begun for begun, (_, works) in enumerate(fleet.handed) if works[0].solo]
    assert again
    assert max(again) < 60, "long before the queue is empty"


def test_the_wait_is_true_for_unequal_slots() -> None:
    rng = random.Random(5)
    fleet = Fleet({"slow": Card(1.0), "fast": Card(3.0), "other": Card(2.0)}, predicting=True)
    at, asks = 0.0, []
    while at < 2 * 3600:
        at += rng.expovariate(1 / 3.2)
        asks.append(Ask(at, rng.randrange(30), rng.randrange(4), rng.choice((1, 1, 1, 2, 4))))
    fleet.run(asks)
    kept = [outcome for outcome in fleet.outcomes if outcome.value == "within"]
    assert len(kept) / len(fleet.outcomes) > 0.8


def test_nobody_waits_for_a_busy_slot_behind_others_who_could_be_drawn_elsewhere() -> None:
    """Twenty cards of one picture a second, almost as much asked for as they can draw: singles, at random moments."""
    fleet = Fleet({f"cuda:{n}": Card(STEPS, calls=4) for n in range(20)})
    rng, at = random.Random(1), 0.0
    asks: list[Ask] = []
    while at < 60.0:
        at += rng.expovariate(0.97 * 20)
        asks.append(Ask(at, len(asks) % 200, len(asks) % 200, 1))
    fleet.run(asks)
    assert max(asked.waited for asked in fleet.jobs.values()) < 3.0


def test_a_job_that_was_left_for_too_long_is_overdue_until_it_is_begun() -> None:
    fleet = Fleet({"one": Card(loaded="one", switch=30.0, calls=1), "two": Card(loaded="two", switch=9e3, calls=1)})
    placement = fleet.batcher.placement
    for person in (1, 2):
        fleet.request(Ask(0.0, person, 1, model="one", steps=700))
        fleet.advance(0.0)
    fleet.clock.advance(SWAP_AFTER)
    assert not placement.is_overdue()
    fleet.clock.advance(1.0)
    assert placement.is_overdue()
    fleet.advance(0.0)
    assert not placement.is_overdue()
    assert len(fleet.handed) == 2


def _measured(fleet: Fleet) -> None:
    """Let both cards of a fleet draw pictures, so that their speeds are known, and become idle."""
    fleet.run([Ask(0.0, person, 1) for person in range(12)])
    assert all(card.pictures for card in fleet.cards.values())


def test_the_fastest_idle_slot_draws_first() -> None:
    fleet = Fleet({"slow": Card(1.0), "fast": Card(4.0)})
    _measured(fleet)
    fleet.request(Ask(fleet.now(), 1, 1))
    fleet.advance(0.0)
    assert fleet.handed[-1][0] == "fast"


def test_what_is_handed_over_early_goes_to_the_slot_that_is_free_first() -> None:
    fleet = Fleet({"slow": Card(1.0), "fast": Card(4.0)})
    _measured(fleet)
    # The fast one has more work than the slow one, and is done with it sooner.
    for person, steps in enumerate((2 * STEPS, STEPS, 2 * STEPS)):
        fleet.request(Ask(fleet.now(), person, 1, steps=steps))
        fleet.advance(0.0)
    assert [slot for slot, _ in fleet.handed[-3:]] == ["fast", "slow", "fast"]


def test_a_slot_that_was_lost_is_given_nothing_for_a_while_that_another_idle_one_can_draw() -> None:
    fleet = Fleet(equal(2))
    fleet.request(Ask(0.0, 1, 1))
    fleet.advance(1.0)
    fleet.lose("cuda:0")
    fleet.recover("cuda:0")
    fleet.advance(2 * STEPS)
    for seconds, slot in ((SHUN_SECONDS, "cuda:1"), (0.0, "cuda:0")):
        fleet.request(Ask(fleet.now(), 1, 1))
        fleet.advance(0.0)
        assert fleet.handed[-1][0] == slot
        fleet.advance(seconds)


def test_one_slot_is_kept_free_for_what_must_go_next_and_be_alone() -> None:
    fleet = Fleet(equal(2))
    for person in range(40):
        fleet.request(Ask(0.0, person, 1, steps=8 + person % 3))
    fleet.advance(1.0)
    alone = fleet.request(Ask(1.0, 50, 1))
    fleet.queue.remove(alone)
    fleet.queue.put(ticket_of(fleet.jobs[alone].job), solo=True)
    fleet.queue.move_ahead(alone)
    before = len(fleet.handed)
    fleet.advance(100.0)
    later = [[work.ticket.job_id for work in works] for _, works in fleet.handed[before:]]
    assert [alone] in later[:4]
    assert len(later) > 2, "the other slot draws on"
