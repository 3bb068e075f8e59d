"""What is read of this machine, and of NVIDIA's tool."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from adapters.cli.machine import LocalMachine, gpu_of
from bot.owner.ports import GpuFacts

MIB = 2**20


def test_a_line_of_nvidias_tool() -> None:
    line = "NVIDIA GeForce RTX 4090, 17000, 24564, 87, 66, 312.45"
    assert gpu_of(line) == GpuFacts("NVIDIA GeForce RTX 4090", 17000 * MIB, 24564 * MIB, 0.87, 66.0, 312.45)
    assert gpu_of("Old, one, 512, 1024, [N/A], 40, [Not Supported]") == GpuFacts(
        "Old, one", 512 * MIB, 1024 * MIB, None, 40.0, None
    )


async def test_this_machine_has_memory_and_cores() -> None:
    facts = await LocalMachine().facts()
    assert facts.cpus >= 1
    assert 0 < facts.memory_used <= facts.memory_total
    assert facts.service > 0
    assert facts.system


@pytest.mark.parametrize(
    ("script", "names"),
    [("echo 'Card, 1, 2, 3, 4, 5'; echo rubbish", ["Card"]), ("exit 9", []), ("echo", [])],
)
async def test_the_tool_is_asked_and_may_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, names: list[str]
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    machine = LocalMachine()
    assert [gpu.name for gpu in (await machine.facts()).gpus] == names
    assert await machine.facts() is await machine.facts(), "an answer is kept for a while"
