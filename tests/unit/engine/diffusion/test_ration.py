"""A try, then a pause; each try doubles it."""

from __future__ import annotations

from engine.diffusion.ration import Ration
from tests.fakes.clock import FakeClock


def test_each_try_doubles_the_pause_up_to_the_longest() -> None:
    clock = FakeClock()
    ration = Ration(10.0, 30.0, clock.now)
    pauses = []
    for _ in range(5):
        assert ration.take("a")
        assert not ration.take("a")
        pauses.append(ration.left("a"))
        clock.advance(pauses[-1])
    assert pauses == [10.0, 20.0, 30.0, 30.0, 30.0]


def test_each_key_has_its_own_and_what_succeeded_begins_anew() -> None:
    clock = FakeClock()
    ration = Ration(10.0, 30.0, clock.now)
    assert ration.left("a") == 0.0
    assert ration.take("a")
    assert ration.take("b")
    ration.forget("a")
    assert ration.take("a")
    assert ration.left("a") == 10.0
