from __future__ import annotations

from engine.backoff import Backoff


def test_the_pause_between_starts_grows_to_its_longest() -> None:
    now = [0.0]
    backoff = Backoff(1.0, 60.0, lambda: now[0])
    assert (backoff.pause, backoff.resting) == (1, False)
    pauses = []
    for _ in range(8):
        backoff.fail()
        pauses.append(backoff.pause)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    resting = [backoff.resting]
    now[0] = 60.0
    resting.append(backoff.resting)
    assert resting == [True, False]
    backoff.failures = 10**6
    assert backoff.pause == 60
    backoff.fail()
    backoff.succeed()
    assert (backoff.pause, backoff.failures, backoff.resting) == (1, 0, False)
