"""systemd is told that the service is ready and alive, and not that it is alive while it is not."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.cli.systemd import Systemd

PERIOD = 0.03


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "notify"))
        one.setblocking(False)
        yield one


async def told(listening: socket.socket) -> list[str]:
    async with asyncio.timeout(20):
        message = await asyncio.get_running_loop().sock_recv(listening, 1000)
    return message.decode().splitlines()


async def test_ready_pings_and_stopping(listening: socket.socket) -> None:
    systemd = Systemd(listening.getsockname(), PERIOD)
    async with systemd.serving(lambda: True, lambda: "demo: warm"):
        assert await told(listening) == ["READY=1", "STATUS=demo: warm"]
        for _ in range(3):
            assert await told(listening) == ["WATCHDOG=1", "STATUS=demo: warm"]
    while (last := await told(listening))[0] == "WATCHDOG=1":
        pass
    assert last == ["STOPPING=1"]


async def test_no_ping_while_nothing_is_drawn(listening: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    alive, asked = True, asyncio.Event()

    def is_alive() -> bool:
        asked.set()
        return alive

    async with Systemd(listening.getsockname(), PERIOD).serving(is_alive, lambda: ""):
        assert (await told(listening))[0] == "READY=1"
        assert (await told(listening))[0] == "WATCHDOG=1"
        alive = False
        for _ in range(4):
            asked.clear()
            await asyncio.wait_for(asked.wait(), 20)
        with pytest.raises(BlockingIOError):
            # A ping may have been sent before it was known; no second one is.
            listening.recv(1000), listening.recv(1000)
        assert [record.levelno for record in caplog.records] == [logging.CRITICAL]
        alive = True
        assert (await told(listening))[0] == "WATCHDOG=1"


async def test_a_fault_that_ends_the_pings_is_logged(
    listening: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    asked = asyncio.Event()

    def is_alive() -> bool:
        asked.set()
        raise RuntimeError("a fault")

    async with Systemd(listening.getsockname(), PERIOD).serving(is_alive, lambda: ""):
        await asyncio.wait_for(asked.wait(), 20)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


async def test_without_systemd_nothing_is_sent() -> None:
    async with Systemd().serving(lambda: True, lambda: ""):
        pass


async def test_a_socket_that_is_gone_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    systemd = Systemd(str(tmp_path / "nobody"), PERIOD)
    for _ in range(2):
        systemd.notify(READY=1)
    (record,) = caplog.records
    assert "systemd can't be told" in record.getMessage()


def test_an_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(f"\0easel-{os.getpid()}")
        one.settimeout(20)
        Systemd(f"@easel-{os.getpid()}").notify(READY=1)
        assert one.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_its_variables_are_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], seconds: float
) -> None:
    for name, value in {"NOTIFY_SOCKET": "/run/notify", **given}.items():
        monkeypatch.setenv(name, value)
    assert Systemd.from_environment()._watchdog == seconds
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()
