"""Which devices EASEL_DEVICE means, and what the process of each sees."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from engine.contract import EngineConfig
from engine.host import devices

CONFIG = EngineConfig("demo", "nowhere", environment={"HF_TOKEN": "hf_1"})


class Driver:
    """A stand-in for NVIDIA's library, with the calls that are made of it."""

    def __init__(self, cards: int, *, starts: bool = True) -> None:
        self.cards, self.starts = cards, starts
        self.calls: list[str] = []

    def __call__(self, name: str) -> Any:
        assert name == ("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
        return self

    def nvmlInit_v2(self) -> int:  # noqa: N802 - its name
        self.calls.append("init")
        return 0 if self.starts else 9

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802 - its name
        self.calls.append("count")
        ctypes.cast(count, ctypes.POINTER(ctypes.c_uint)).contents.value = self.cards
        return 0

    def nvmlShutdown(self) -> int:  # noqa: N802 - its name
        self.calls.append("shutdown")
        return 0


def no_library(_: str) -> Any:
    raise OSError("no such library")


def _proc(folder: Path, cards: int) -> Path:
    for number in range(cards):
        (folder / f"0000:0{number}:00.0").mkdir(parents=True)
    return folder


def test_one_card_is_counted_without_the_drivers_library(tmp_path: Path) -> None:
    driver = Driver(5)
    assert devices.count_cards(_proc(tmp_path, 1), driver) == 1
    assert driver.calls == []


@pytest.mark.parametrize("known", [0, 3])
def test_cards_are_counted_by_the_drivers_library(tmp_path: Path, known: int) -> None:
    # A container may see three cards in /proc and be given two; Windows has no /proc.
    driver = Driver(2)
    assert devices.count_cards(_proc(tmp_path, known) if known else tmp_path / "none", driver) == 2
    assert driver.calls == ["init", "count", "shutdown"]


def test_without_a_driver_there_is_no_card(tmp_path: Path) -> None:
    broken = Driver(2, starts=False)
    assert devices.count_cards(tmp_path / "none", broken) == 0
    assert broken.calls == ["init"]
    assert devices.count_cards(tmp_path / "none", no_library) == 0
    assert devices.count_cards(tmp_path / "none", lambda _: object()) == 0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int, str | None, str], None]:
    """Set the number of cards, ``CUDA_VISIBLE_DEVICES``, and the library of PyTorch that tells what it is built for."""

    def make(cards: int, visible: str | None = None, library: str = "libtorch_cuda.so") -> None:
        monkeypatch.setattr(devices, "count_cards", lambda: cards)
        monkeypatch.delenv(devices.VISIBLE, raising=False)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if visible is not None:
            monkeypatch.setenv(devices.VISIBLE, visible)
        (tmp_path / "lib").mkdir()
        (tmp_path / "lib" / library).touch()
        spec = ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
        monkeypatch.setattr("importlib.util.find_spec", lambda _: spec)

    return make


Machine = Callable[..., None]


@pytest.mark.parametrize(
    ("cards", "visible", "library", "slots"),
    [
        (0, None, "libtorch_cuda.so", ()),
        (1, None, "libtorch_cuda.so", ()),
        (3, None, "libtorch_cuda.so", ("cuda:0", "cuda:1", "cuda:2")),
        (3, "2,0", "libtorch_cuda.so", ("cuda:0", "cuda:1")),
        (3, "2, 0", "torch_cuda.dll", ("cuda:0", "cuda:1")),
        (3, "0,7,1", "libtorch_cuda.so", ()),  # the list ends at a card that is not there
        (3, "0,1,-1,2", "libtorch_cuda.so", ("cuda:0", "cuda:1")),
        (3, "1,1", "libtorch_cuda.so", ()),
        (3, "", "libtorch_cuda.so", ()),
        (1, "MIG-8a/1/0,MIG-8a/2/0", "libtorch_cuda.so", ("cuda:0", "cuda:1")),
        (3, None, "libtorch_cpu.so", ()),
        (3, None, "libtorch_hip.so", ()),
    ],
)
def test_auto_is_every_card(
    machine: Machine, cards: int, visible: str | None, library: str, slots: tuple[str, ...]
) -> None:
    machine(cards, visible, library)
    assert devices.slot_names(("auto",)) == slots
    configs = devices.config_of_each(CONFIG, ("auto",))
    assert [config.device for config in configs] == list(slots or ("auto",))


def test_named_devices_keep_their_names_and_a_single_one_needs_none(machine: Machine) -> None:
    machine(3)
    assert devices.slot_names(("cuda:2", "cuda:0")) == ("cuda:2", "cuda:0")
    assert devices.slot_names(("cpu", "cpu")) == ("cpu:0", "cpu:1")
    for alone in ("cpu", "mps", "cuda", "cuda:1"):
        assert devices.config_of_each(CONFIG, (alone,)) == (CONFIG,)
    found = devices.config_of_each(CONFIG, ("cpu", "cpu"))
    assert [(one.device, one.slot, one.devices) for one in found] == [("cpu", "cpu:0", 2), ("cpu", "cpu:1", 2)]


@pytest.mark.parametrize(("visible", "card"), [(None, "1"), ("2,0", "0"), ("GPU-8a12,GPU-77", "GPU-77")])
def test_a_process_sees_its_own_card_alone(machine: Machine, visible: str | None, card: str) -> None:
    machine(3, visible)
    found = devices.seen_alone(EngineConfig("demo", "nowhere", device="cuda:1", environment={"HF_TOKEN": "hf_1"}))
    assert (found.device, found.slot) == ("cuda", "cuda:1")
    assert found.environment == {"HF_TOKEN": "hf_1", devices.VISIBLE: card}


def test_a_card_that_is_not_visible_is_left_to_pytorch_to_refuse(machine: Machine) -> None:
    machine(3, "2")
    config = EngineConfig("demo", "nowhere", device="cuda:1")
    assert devices.seen_alone(config) == config


def test_engines_on_one_processor_share_its_cores(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    three = EngineConfig("demo", "nowhere", device="cpu", slot="cpu:0", devices=3)
    assert devices.seen_alone(three).environment == {"OMP_NUM_THREADS": "2"}
    assert devices.seen_alone(EngineConfig("demo", "nowhere", device="cpu")).environment == {}
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert devices.seen_alone(three).environment == {}


def test_servers_are_told_from_devices_of_this_machine() -> None:
    both = ("cuda:0", "comfy:http://10.0.0.5:8188", "comfy:https://draw.example/comfy")
    assert devices.local(both) == ("cuda:0",)
    assert devices.servers(both) == ("http://10.0.0.5:8188", "https://draw.example/comfy")
    assert [devices.server_name(url) for url in devices.servers(both)] == [
        "comfy:10.0.0.5:8188",
        "comfy:draw.example/comfy",
    ]
