"""Imports without the garbage collector."""

from __future__ import annotations

import gc

import pytest

from engine.host.imports import large_imports


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
