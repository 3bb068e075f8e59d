"""A child process: its messages, limits, end and environment, and when it is started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest

from engine.host.child_process import ChildFailed, ChildProcess, child_environment, exit_reason
from engine.moderation import wire

WAITS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WAITS:
        monkeypatch.delenv(name, raising=False)


def waits(*, calm: bool = True) -> dict[str, str]:
    return {name: value for name, value in child_environment({}, offline=True, calm=calm).items() if name in WAITS}


def test_its_threads_soon_sleep_where_they_wait() -> None:
    assert waits() == {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}
    assert waits(calm=False) == {}


@pytest.mark.parametrize("name", WAITS)
def test_an_operators_own_thread_settings_are_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert waits() == waits(calm=False) == {name: "1"}


def test_easels_own_settings_stay_outside_and_what_is_given_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASEL_DISCORD_TOKEN", "secret")
    monkeypatch.setenv("HF_ENDPOINT", "https://one.example")
    found = child_environment({"HF_ENDPOINT": "https://two.example"}, offline=False)
    assert not any(name.startswith("EASEL_") for name in found)
    assert found["HF_ENDPOINT"] == "https://two.example"
    assert found["PATH"] == os.environ["PATH"]
    assert "HF_HUB_OFFLINE" not in found
    assert child_environment({}, offline=True)["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0, "ended by itself (exit status 0)"),
        (-9, "was ended by SIGKILL, perhaps for want of memory"),
        (-15, "was ended by SIGTERM"),
        (-999, "was ended by signal 999"),
    ],
)
def test_an_exit_status_is_explained(code: int, reason: str) -> None:
    assert exit_reason(code) == reason


@contextlib.asynccontextmanager
async def child(what: str) -> AsyncIterator[ChildProcess[wire.Message]]:
    """Run the classifier's stand-in until it is loaded."""
    command = (sys.executable, "-m", "tests.fakes.moderation_child", what)
    environment = child_environment({}, offline=True)
    started = await ChildProcess.start(command, environment, wire.CODEC, name="classifier", closing=30.0)
    try:
        async with asyncio.timeout(60):
            started.send(wire.ClassifierSetup("nowhere", ()))
            assert await started.receive() == wire.Ready()
            yield started
    finally:
        await started.stop()


async def test_messages_go_both_ways_until_it_is_stopped() -> None:
    async with child("judges") as started:
        started.send(wire.Judge(b"0.5"))
        assert await started.receive() == wire.Score(0.5)
        alive = [started.alive]
    alive.append(started.alive)
    assert alive == [True, False]
    assert list(started.last_lines) == ["loading..."] * 8
    started.send(wire.Judge(b"0.5"))  # lost
    with pytest.raises(ChildFailed, match="exit status 0"):
        await started.receive()


async def test_a_limit_holds_for_an_answer_that_is_awaited_already() -> None:
    async with child("stalls") as started:
        started.send(wire.Judge(b"0.5"))
        answer = asyncio.create_task(started.receive())
        await asyncio.sleep(0)
        started.expect_within(0.01)
        with pytest.raises(ChildFailed, match=r"classifier's process was silent for too long"):
            await answer
        assert not started.alive


async def test_an_end_from_outside_names_the_signal() -> None:
    async with child("judges") as started:
        os.kill(started.pid, signal.SIGKILL)
        with pytest.raises(ChildFailed, match="was ended by SIGKILL"):
            await started.receive()


async def test_what_is_no_message_ends_it() -> None:
    async with child("raves") as started:
        started.send(wire.Judge(b"0.5"))
        with pytest.raises(ChildFailed, match="not a message"):
            await started.receive()
        assert not started.alive
