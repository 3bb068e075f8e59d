"""Connections: idle ones close when all are taken, half requests end, and a lack of descriptors does not flood the log."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from adapters.web import service
from adapters.web.service import Listener, connection_options, mark_busy

PATIENCE = 10.0


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            if condition():
                return
            await asyncio.sleep(0.001)


class Site:
    """A listener over a small application: ``/`` answers at once, ``/wait`` when it is let."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.gate = asyncio.Event()
        self.refused: list[str] = []
        self.waiting = 0
        self.open: list[asyncio.StreamWriter] = []

    async def _wait(self, _: web.Request) -> web.Response:
        self.waiting += 1
        await self.gate.wait()
        return web.Response(text="late")

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Site]:
        async def at_once(_: web.Request) -> web.Response:
            return web.Response(text="ok")

        app = web.Application(middlewares=[mark_busy])

        async def read(request: web.Request) -> web.Response:
            self.waiting += 1
            return web.Response(text=(await request.read()).decode())

        app.add_routes([web.get("/", at_once), web.get("/wait", self._wait), web.post("/", read)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        assert runner.server is not None
        self.listener = Listener(runner.server, most=self.most, refused=self.refused.append, **connection_options())
        await self.listener.start("127.0.0.1", 0)
        self.port = self.listener._sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            for writer in self.open:
                writer.close()
            await self.listener.stop()
            await runner.cleanup()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.open.append(writer)
        return reader, writer

    async def ask(self, path: str = "/") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self.connect()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return reader, writer

    async def answered(self) -> bool:
        reader, _ = await self.ask()
        async with asyncio.timeout(PATIENCE):
            return b" 200 " in await reader.readline()


@pytest.fixture
async def small() -> AsyncIterator[Site]:
    async with Site(8).opened() as site:
        yield site


async def test_many_idle_connections_keep_nobody_out(small: Site) -> None:
    for half in (b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: "):
        for _ in range(40):
            _, writer = await small.connect()
            writer.write(half)
        assert await small.answered()
        assert len(small.listener.connections) <= 8


async def test_the_one_that_was_idle_the_longest_makes_room(small: Site) -> None:
    readers = []
    for _ in range(8):
        reader, _ = await small.ask()
        await reader.readuntil(b"ok")
        readers.append(reader)
    assert await small.answered()
    async with asyncio.timeout(PATIENCE):
        assert await readers[0].read() == b""
    assert not readers[-1].at_eof()


async def test_bodies_that_do_not_come_keep_nobody_out(small: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SLOW_BODY_SECONDS", 0.0)
    half = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"
    for _ in range(7):
        _, writer = await small.connect()
        writer.write(half)
    await small.ask("/wait")
    await until(lambda: small.waiting == 8)
    for times in (1, 2, 3):
        assert await small.answered()
        assert small.refused == ["slow"] * times
        _, writer = await small.connect()  # it takes the place that the answered connection leaves
        writer.write(half)
        await until(lambda: small.waiting == 8 + times)  # noqa: B023 - it is called here alone
    # What is being answered has its place.
    small.gate.set()
    reader, _ = await small.ask()
    async with asyncio.timeout(PATIENCE):
        assert b" 200 " in await reader.readline()


async def test_what_is_being_answered_is_never_dropped(small: Site, caplog: pytest.LogCaptureFixture) -> None:
    answers = [await small.ask("/wait") for _ in range(8)]
    await until(lambda: small.waiting == 8)
    late = asyncio.ensure_future(small.answered())
    await until(lambda: "are all busy" in caplog.text)
    assert not late.done()
    small.gate.set()
    for reader, _ in answers:
        async with asyncio.timeout(PATIENCE):
            assert b" 200 " in await reader.readline()
    assert await late
    assert caplog.text.count("are all busy") == 1


async def test_a_header_that_does_not_come_ends_the_connection(small: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "HEAD_SECONDS", 0.01)
    for half in (b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: "):
        reader, writer = await small.connect()
        writer.write(half)
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
    assert small.refused == ["slow", "slow"]
    # One whose header came may take its time to be answered.
    reader, _ = await small.ask("/wait")
    await until(lambda: small.waiting == 1)
    small.gate.set()
    async with asyncio.timeout(PATIENCE):
        assert b" 200 " in await reader.readline()
    await until(lambda: not [c for c in small.listener.connections if c.busy])


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
async def test_a_lack_of_descriptors_pauses_and_is_said_once(
    small: Site, number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service, "PAUSE_SECONDS", 0.001)
    loop = asyncio.get_running_loop()
    accept, failed = loop.sock_accept, 0

    async def failing(one: socket.socket) -> Any:
        nonlocal failed
        if failed < 50:
            failed += 1
            raise OSError(number, "none left")
        return await accept(one)

    monkeypatch.setattr(loop, "sock_accept", failing)
    await small.listener.stop()
    await small.listener.start("127.0.0.1", 0)
    small.port = small.listener._sockets[0].getsockname()[1]
    assert await small.answered()
    assert failed == 50
    assert len([r for r in caplog.records if "can't accept" in r.getMessage()]) == 1
    assert not [r for r in caplog.records if r.exc_info]


async def test_a_lack_of_descriptors_lets_go_of_an_idle_connection(
    small: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PAUSE_SECONDS", 0.001)
    reader, _ = await small.ask()
    await reader.readuntil(b"ok")
    await small.listener._failed(OSError(errno.EMFILE, "none left"))
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b""


async def test_a_closed_connection_is_forgotten(small: Site) -> None:
    _, writer = await small.connect()
    await until(lambda: small.listener.connections)
    writer.close()
    await until(lambda: not small.listener.connections)


async def test_an_address_that_can_not_be_had_leaves_no_socket_behind(small: Site) -> None:
    taken = Listener(small.listener._server)
    with pytest.raises(OSError, match=str(small.port)):
        await taken.start("127.0.0.1", small.port)
    assert taken._sockets == []


def test_connections_leave_descriptors_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    def limit(soft: int) -> int:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, 10**6))
        return service.most_connections()

    assert limit(1024) == 341
    assert limit(65_536) == service.MAX_CONNECTIONS
    assert limit(resource.RLIM_INFINITY) == service.MAX_CONNECTIONS
    assert limit(10) == 8


def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: set_to.append(limits))

    def raised(soft: int, hard: int) -> list[tuple[int, int]]:
        set_to.clear()
        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
        service.allow_descriptors()
        return list(set_to)

    assert raised(1024, 4096) == [(3 * service.MAX_CONNECTIONS, 4096)]
    assert raised(256, 1024) == [(1024, 1024)]
    assert raised(1024, resource.RLIM_INFINITY) == [(3 * service.MAX_CONNECTIONS, resource.RLIM_INFINITY)]
    assert raised(65_536, 65_536) == []
    assert raised(resource.RLIM_INFINITY, resource.RLIM_INFINITY) == []
