from __future__ import annotations

import ctypes

import psutil
import pytest
import torch

from engine.diffusion.memory import usage

MIB = 2**20


def grown() -> int:
    """Make large tensors and keep small ones, as quantising does; return by how many bytes the process grew."""
    process = psutil.Process()
    before = process.memory_info().rss
    kept: list[torch.Tensor] = []
    older: list[torch.Tensor] = []
    for number in range(60):
        large = torch.ones((8 + 4 * (number % 3)) * MIB // 4)
        kept.append(large.to(torch.int8))
        _ = large * 2
        older = [*older[-1:], large]
    del large, older, _
    return process.memory_info().rss - before - sum(t.nbytes for t in kept)


@pytest.mark.skipif(usage._glibc() is None, reason="glibc alone is told to")
def test_what_is_made_smaller_leaves_no_room_behind() -> None:
    with usage.trimming():
        assert grown() < 16 * MIB


def test_it_does_nothing_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "_glibc", lambda: None)
    with usage.trimming():
        pass


def test_without_the_library_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert usage._glibc() is None
