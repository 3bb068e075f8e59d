"""Which slot draws each waiting picture, and when."""

from __future__ import annotations

import pytest

from bot.dispatch.schedule import ListSchedule
from bot.dispatch.slot_load import SlotLoad
from engine.contract import EngineState, Phase, Slot


def slots(*models: frozenset[str]) -> list[SlotLoad]:
    return [SlotLoad(Slot(f"{n}", EngineState(Phase.WARM), models=able)) for n, able in enumerate(models)]


ANY = frozenset[str]()


def test_work_goes_to_the_slot_that_is_free_first() -> None:
    schedule = ListSchedule(slots(ANY, ANY), {"0": 1.0, "1": 4.0})
    schedule.begin({"0": 3.0})
    found = [schedule.assign("demo", 4.0) for _ in range(5)]
    assert [(one.slot, one.ends) for one in found if one] == [
        ("1", 1.0),
        ("1", 2.0),
        ("1", 3.0),
        ("1", 4.0),
        ("0", 7.0),
    ]


def test_work_that_needs_more_than_a_prompt_goes_to_a_slot_that_draws_it() -> None:
    plain = SlotLoad(Slot("plain", EngineState(Phase.WARM), plain=frozenset({"demo"})))
    schedule = ListSchedule([plain, *slots(ANY)], {"plain": 4.0, "0": 1.0})
    schedule.begin({})
    found = [schedule.assign("demo", 4.0, plain=False), schedule.assign("demo", 4.0)]
    assert [one.slot for one in found if one] == ["0", "plain"]
    alone = ListSchedule([plain], {"plain": 1.0})
    alone.begin({})
    assert alone.assign("demo", 4.0, plain=False) is None


def test_one_slot_draws_one_thing_after_another() -> None:
    schedule = ListSchedule(slots(ANY), {"0": 1.0})
    schedule.begin({"0": 5.0})
    one, other = schedule.assign("demo", 2.0), schedule.assign("demo", 3.0)
    assert one is not None
    assert other is not None
    assert (one.given, one.ends) == pytest.approx((2.0, 7.0))
    assert (other.given, other.ends) == pytest.approx((5.0, 10.0))


def test_work_of_another_lane_comes_after_what_was_given() -> None:
    schedule = ListSchedule(slots(ANY, ANY), {"0": 1.0, "1": 1.0})
    schedule.begin({})
    schedule.assign("demo", 2.0)
    schedule.begin({"0": 1.0, "1": 10.0})
    found = schedule.assign("demo", 1.0)
    assert found is not None
    assert (found.slot, found.given, found.ends) == ("0", 3.0, 4.0)


def test_a_slot_gets_only_what_it_can_draw() -> None:
    schedule = ListSchedule(slots(frozenset({"a"}), frozenset({"b"})), {"0": 1.0, "1": 1.0})
    schedule.begin({})
    assert [found.slot if (found := schedule.assign(model, 1.0)) else None for model in "aabc"] == ["0", "0", "1", None]
