"""Platforms are run again after any fault, and the operator can see which one serves nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from adapters.cli import wiring
from adapters.cli.engines import engine_of
from adapters.cli.wiring import Easel
from bot.settings import Settings
from engine.contract import Engine
from engine.host.process_engine import ProcessEngine
from engine.multi_engine import MultiEngine


class Falling:
    """A platform whose library raises, once."""

    name = "discord"
    surface = None

    def __init__(self) -> None:
        self.runs = 0
        self.serves = asyncio.Event()

    async def run(self) -> None:
        self.runs += 1
        if self.runs == 1:
            raise RuntimeError("a fault of a library")
        self.serves.set()
        await asyncio.Event().wait()


class Parts:
    """What the composition root hands over: remembers what it is told."""

    def __init__(self) -> None:
        self.problems: list[str | None] = []
        self.stopped = asyncio.Event()
        self.studio = SimpleNamespace(connection_problem=lambda _name, problem: self.problems.append(problem))
        self.dispatch = SimpleNamespace(
            attach=self._nothing, detach=lambda _name: None, stop=self._stop, ended=self.stopped.wait
        )

    async def _nothing(self, *_: object) -> None:
        pass

    async def _stop(self) -> None:
        self.stopped.set()


async def test_a_platform_that_falls_over_is_a_problem_and_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "FIRST_PAUSE", 0.0)
    parts, falling = Parts(), Falling()
    built: dict[str, Any] = {"title": "", "db": None, "owners": None, "services": (falling,)}
    easel = Easel(studio=cast(Any, parts.studio), dispatch=cast(Any, parts.dispatch), **built)
    stop = asyncio.Event()
    run = asyncio.create_task(easel.run(stop))
    await asyncio.wait_for(falling.serves.wait(), 10)
    assert [problem for problem in parts.problems if problem and "discord" in problem] != []
    stop.set()
    assert await asyncio.wait_for(run, 10) == 0


def test_each_device_has_a_process_and_a_single_one_is_that_process(tmp_path: Path) -> None:
    def slots(*devices: str) -> tuple[type[Engine], list[str]]:
        engine = engine_of(Settings(_env_file=None, data_dir=tmp_path, device=devices))
        return type(engine), [slot.id for slot in engine.slots()]

    assert slots("cpu")[0] is ProcessEngine
    assert slots("cpu", "cpu") == (MultiEngine, ["cpu:0", "cpu:1"])
    assert slots("cuda:2", "cuda:0") == (MultiEngine, ["cuda:2", "cuda:0"])
