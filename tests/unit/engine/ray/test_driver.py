from __future__ import annotations

import asyncio
import importlib.util
import socket
from typing import cast

import pytest

from engine.host import wire as worker_wire
from engine.host.parent_pipe import ParentPipe
from engine.ray import driver, wire
from engine.ray.painter import Hello
from engine.ray.wire import ActorRequirements, Join, JoinFailed

JOIN = Join("127.0.0.1:1", "", -1, "1.0")


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert driver.join_cluster(JOIN) == JoinFailed("Ray is not installed: run pip install 'easel[ray]'.", passing=False)


def test_an_address_where_nothing_answers_is_named_before_ray_tries_for_minutes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert driver._unreachable(f"127.0.0.1:{server.getsockname()[1]}") == ""
    for address in ("127.0.0.1:1", "127.0.0.1:99999"):
        assert driver._unreachable(address).startswith(f"Nothing answers at {address}, ")


def test_another_version_is_no_passing_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "version", lambda name: "2.60.0")
    said = "Version mismatch: The cluster was started with:\n    Ray: 2.59.0\n    Python: 3.12.1\n"
    refused = driver._refused("far:6379", RuntimeError(said))
    assert not refused.passing
    assert "has another version of Ray or Python than this machine (Ray 2.60.0 and Python " in refused.problem
    assert "Ray: 2.59.0 Python: 3.12.1" in refused.problem
    assert driver._refused("far:6379", ConnectionError("no")).passing
    assert driver._refused("", RuntimeError("no")).passing


def test_ray_neither_starts_an_actor_again_nor_repeats_a_call() -> None:
    options = driver._options(ActorRequirements(2.0, {"ray.io/accelerator-type": "H100"}, {"quiet": 0.5}))
    assert options == {
        "num_cpus": 0,
        "num_gpus": 2.0,
        "max_restarts": 0,
        "max_task_retries": 0,
        "label_selector": {"ray.io/accelerator-type": "H100"},
        "resources": {"quiet": 0.5},
    }


def test_a_machine_without_easel_is_named() -> None:
    assert "not installed" in driver._sentence(RuntimeError("ModuleNotFoundError: No module named 'engine'"), "far")
    assert driver._sentence(RuntimeError("x"), "far") == "The device's process on far was lost (RuntimeError)."


class Actor:
    """Stands for the handle of an actor: it answers ``hello``, or waits for a GPU."""

    def __init__(self, hello: Hello | None) -> None:
        self.hello = self
        self._hello = hello

    async def remote(self) -> Hello:
        if self._hello is None:
            await asyncio.Event().wait()
        assert self._hello is not None
        return self._hello


class Pipe:
    def __init__(self) -> None:
        self.sent: list[wire.Message] = []

    def send(self, message: wire.Message) -> None:
        self.sent.append(message)


def actor_of(hello: Hello | None, pipe: Pipe) -> driver._Actor:
    actor = driver._Actor(3, cast("ParentPipe[wire.Message]", pipe), JOIN)
    actor._handle = Actor(hello)
    return actor


async def test_another_version_of_easel_is_no_passing_problem() -> None:
    same = Hello(7, "far", JOIN.easel)
    assert await actor_of(same, Pipe())._hello() == same
    gone = await actor_of(Hello(7, "far", "0.9"), Pipe())._hello()
    said = "far has Easel 0.9, and this machine 1.0: install the same version."
    assert gone == wire.ActorEnded(3, said, fault=False, passing=False)


async def test_one_that_waits_for_a_gpu_says_so_and_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "NO_GPU_SECONDS", 0.01)
    monkeypatch.setattr(driver, "START_SECONDS", 0.01)
    pipe = Pipe()
    gone = await actor_of(None, pipe)._hello()
    assert gone == wire.ActorEnded(3, "No machine of the cluster has a free GPU for it.", fault=False)
    (said,) = pipe.sent
    assert isinstance(said, wire.Said)
    assert worker_wire.CODEC.decode_all(said.frames) == [worker_wire.Notice("It waits for a free GPU of the cluster.")]
