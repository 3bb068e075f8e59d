""""""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from engine.diffusion.memory import probe, w8a8
from engine.diffusion.memory.types import Device


def test_the_processor_is_looked_at() -> None:
    found = probe.probe_device(torch.device("cpu"))
    assert found.kind == "cpu"
    assert found.total == psutil.virtual_memory().total
    assert 0 < found.free == found.host_free
    assert found.free <= found.total + psutil.swap_memory().total
    assert found.fp8
    assert not found.stream


@pytest.mark.parametrize(("times", "native"), [(0.3, True), (1.0, True), (8.0, False), (50.0, False)])
def test_bf16_counts_only_where_the_processor_is_as_fast_in_it(
    times: float, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def seconds(dtype: torch.dtype) -> float:
        asked.append(dtype)
        return times if dtype == torch.bfloat16 else 1.0

    monkeypatch.setattr(probe, "_seconds", seconds)
    probe._cpu_bf16.cache_clear()
    try:
        assert [probe.probe_device(torch.device("cpu")).bf16 for _ in range(3)] == [native] * 3
        assert sorted(map(str, asked)) == ["torch.bfloat16", "torch.float32"], "it is measured once in a process"
    finally:
        probe._cpu_bf16.cache_clear()


def test_a_product_is_measured_in_both_formats() -> None:
    assert 0 < probe._seconds(torch.bfloat16) < 60
    assert 0 < probe._seconds(torch.float32) < 60


def test_a_card_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.cuda
    monkeypatch.setattr(cuda, "mem_get_info", lambda d: (5, 8))
    monkeypatch.setattr(cuda, "memory_reserved", lambda d: 3)
    monkeypatch.setattr(cuda, "memory_allocated", lambda d: 1)
    monkeypatch.setattr(cuda, "get_device_name", lambda d: "NVIDIA GeForce RTX 2060")
    monkeypatch.setattr(cuda, "get_device_capability", lambda d: (7, 5))
    monkeypatch.setattr(cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    monkeypatch.setattr(w8a8, "multiplies", lambda form, device: True)
    probe._products.cache_clear()
    monkeypatch.setattr(probe, "_casts", lambda device, dtype: True)
    found = probe.probe_device(torch.device("cuda", 0))
    assert (found.free, found.total) == (7, 8), "what PyTorch keeps and does not use is free too"
    assert (found.name, found.bf16, found.stream) == ("NVIDIA GeForce RTX 2060", False, True)
    assert found.products == {"int8"}
    probe._products.cache_clear()
    monkeypatch.setattr(w8a8, "multiplies", lambda form, device: False)
    assert not probe.probe_device(torch.device("cuda", 0)).products, "its product was wrong"
    probe._products.cache_clear()


def test_what_is_kept_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(found: Device, kept: int) -> tuple[int, int]:
        monkeypatch.setattr(probe, "_probe", lambda _: found)
        left = probe.probe_device(torch.device("cpu"), kept)
        return left.free, left.host_free

    card = Device("cuda", "a card", total=9, free=8, host_free=7, pinnable=7, bf16=True, fp8=True, stream=True)
    assert seen(card, 3) == (5, 7)
    assert seen(replace(card, kind="mps"), 3) == (5, 4)
    assert seen(replace(card, kind="cpu"), 9) == (0, 0)
    assert seen(card, 0) == (8, 7)


def test_a_number_format_that_a_device_refuses_is_no_ability() -> None:
    # Nothing can be read back from the meta device.
    assert not probe._casts(torch.device("meta"), torch.float8_e4m3fn)
    assert probe._casts(torch.device("cpu"), torch.float8_e4m3fn)


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe.limit_left(tmp_path) is None
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 250\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert probe.limit_left(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert probe.limit_left(tmp_path) == 550
    monkeypatch.setattr(probe, "_CGROUP", tmp_path)
    assert probe.host_free() == 550


def test_libraries_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"torchao", "gguf"} <= probe.libraries()
    monkeypatch.setattr(probe, "find_spec", lambda name: None)
    assert probe.libraries() == frozenset()


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


@pytest.mark.skipif(probe._glibc() is None, reason="glibc alone is told to")
def test_what_is_made_smaller_leaves_no_room_behind() -> None:
    with probe.trimming():
        assert grown() < 16 * MIB


def test_it_does_nothing_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_glibc", lambda: None)
    with probe.trimming():
        pass


def test_without_the_library_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert probe._glibc() is None
