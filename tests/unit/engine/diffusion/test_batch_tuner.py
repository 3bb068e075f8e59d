from __future__ import annotations

from engine.diffusion.batch_tuner import BatchTuner


def seen(tuner: BatchTuner, count: int, each: float, times: int = 5) -> None:
    for _ in range(times):
        tuner.record(100, count, each * count)


def test_unmeasured_it_is_what_it_is_worth() -> None:
    assert BatchTuner().max_batch(100, 8) == 8


def test_measured_to_be_no_worse_all_may_come() -> None:
    tuner = BatchTuner()
    seen(tuner, 1, 1.0)
    seen(tuner, 8, 1.05)
    assert tuner.max_batch(100, 8) == 8


def test_measured_to_be_worse_fewer_may_come_and_other_sizes_do_not_care() -> None:
    tuner = BatchTuner()
    seen(tuner, 4, 1.0)
    seen(tuner, 8, 2.0)
    assert tuner.max_batch(100, 8) == 4
    assert tuner.max_batch(200, 8) == 8


def test_a_single_slow_step_proves_nothing() -> None:
    tuner = BatchTuner()
    seen(tuner, 4, 1.0)
    seen(tuner, 8, 1.0)
    tuner.record(100, 8, 999.0)
    assert tuner.max_batch(100, 8) == 8
    rare = BatchTuner()
    seen(rare, 4, 1.0)
    seen(rare, 8, 9.0, times=2)
    assert rare.max_batch(100, 8) == 8
