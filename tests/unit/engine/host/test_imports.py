"""Imports without the garbage collector."""

from __future__ import annotations

import gc

import pytest

from engine.host.imports import collect_rarely, large_imports


def test_the_collector_waits_and_then_leaves_alone_what_was_made() -> None:
    before = gc.get_freeze_count()
    with large_imports():
        assert not gc.isenabled()
        made: list[list[int]] = [[] for _ in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(made)


def test_it_runs_again_after_an_import_that_failed() -> None:
    with pytest.raises(ModuleNotFoundError), large_imports():
        raise ModuleNotFoundError("torch")
    assert gc.isenabled()


def test_what_waits_is_walked_through_less_often() -> None:
    before = gc.get_threshold()
    waiting: list[list[int]] = [[] for _ in range(1000)]
    try:
        collect_rarely()
        assert gc.get_freeze_count() >= len(waiting)
        assert all(new > old for new, old in zip(gc.get_threshold(), (700, 10, 10), strict=True))
    finally:
        gc.set_threshold(*before)
