"""Requests to addresses that clients name: nothing leads into private networks, whatever a name resolves to."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer

from adapters.web.outbound import AddressRefused, OutboundClient, OutboundUse, is_allowed
from bot.core.errors import BadInput

FILE = b"a file" * 1000

PUBLIC = ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"]
LINK_LOCAL = [
    "169.254.169.254",
    "fe80::1",
    "fe80::1%1",
    "168.63.129.16",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
]
PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "::1",
    "fc00::1",
    "fec0::1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::127.0.0.1",
    "2002:7f00:1::",
    "64:ff9b::7f00:1",
]


@pytest.mark.parametrize("private", [False, True])
def test_which_addresses_are_allowed(private: bool) -> None:
    assert all(is_allowed(address, private=private) for address in PUBLIC)
    assert not any(is_allowed(address, private=private) for address in LINK_LOCAL)
    assert not any(is_allowed(address, private=private) for address in ("0.0.0.0", "::", "224.0.0.1", "ff02::1", "x"))
    assert {is_allowed(address, private=private) for address in PRIVATE} == {private}


class Resolver(AbstractResolver):
    """Answers each question with the next of its addresses, as a name that changes does."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = list(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Answer one question."""
        address = self._addresses.pop(0)
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
        ]

    async def close(self) -> None:
        """Nothing is open."""


class Refusals(Counter[OutboundUse]):
    """Counts refusals."""

    def add(self, use: OutboundUse) -> None:
        """Count one."""
        self[use] += 1


class Receiver:
    """A server on loopback that notes what it gets."""

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer as the path says."""
        self.got.append((request.path, await request.read()))
        match request.path:
            case "/moved":
                raise web.HTTPFound("http://169.254.169.254/latest/meta-data/")
            case "/large":
                return web.Response(body=b"x" * 100_000)
            case "/endless":
                response = web.StreamResponse()
                await response.prepare(request)
                for _ in range(100):
                    await response.write(b"x" * 10_000)
                return response
            case "/gone":
                raise web.HTTPGone
        return web.Response(body=FILE)


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, TestServer]]:
    receiver, app = Receiver(), web.Application()
    app.router.add_route("*", "/{rest:.*}", receiver.answer)
    server = TestServer(app)
    async with server:
        yield receiver, server


async def test_a_file_is_fetched_where_it_is_allowed(receiver: tuple[Receiver, TestServer]) -> None:
    refused = Refusals()
    client = OutboundClient(refused.add, private=True)
    assert await client.fetch(str(receiver[1].make_url("/a.png#part")), 10_000) == FILE
    assert await client.post(receiver[1].make_url("/hook"), b"{}", {}) == 200
    assert receiver[0].got == [("/a.png", b""), ("/hook", b"{}")]
    assert refused[OutboundUse.PICTURE] == 0


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:{}/",
        "http://2130706433:{}/",
        "http://0x7f.1:{}/",
        "http://[::ffff:127.0.0.1]:{}/",
        "http://localhost:{}/",
    ],
)
async def test_this_machine_is_not_reached(receiver: tuple[Receiver, TestServer], address: str) -> None:
    refused = Refusals()
    client = OutboundClient(refused.add)
    with pytest.raises(BadInput) as error:
        await client.fetch(address.format(receiver[1].port), 10_000)
    assert error.value.key == "refusal.outbound.private"
    assert receiver[0].got == []
    assert refused[OutboundUse.PICTURE] == 1


async def test_a_name_that_changes_leads_nowhere_else(receiver: tuple[Receiver, TestServer]) -> None:
    refused = Refusals()
    # A check of the name before the connection would have seen the first address.
    client = OutboundClient(refused.add, resolver=Resolver("127.0.0.1", "::1", "169.254.169.254"))
    url = client.check(f"http://rebinding.example:{receiver[1].port}/hook", OutboundUse.WEBHOOK)
    for _ in range(3):
        with pytest.raises(AddressRefused):
            await client.post(url, b"{}", {})
    assert receiver[0].got == []
    assert refused[OutboundUse.WEBHOOK] == 3


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/moved", "refusal.outbound.failed"),
        ("/gone", "refusal.outbound.failed"),
        ("/large", "refusal.outbound.large"),
        ("/endless", "refusal.outbound.large"),
    ],
)
async def test_redirects_and_large_files_are_refused(
    receiver: tuple[Receiver, TestServer], path: str, key: str
) -> None:
    client = OutboundClient(Refusals().add, private=True)
    with pytest.raises(BadInput) as error:
        await client.fetch(str(receiver[1].make_url(path)), 50_000)
    assert error.value.key == key
    # A webhook's redirect is an answer like others, and is not followed.
    if path == "/moved":
        assert await client.post(receiver[1].make_url(path), b"", {}) == 302


def addresses() -> Sequence[str]:
    return (
        "ftp://example.org/",
        "file:///etc/passwd",
        "//example.org/",
        "http://",
        "http://user:password@example.org/",
        "http://example.org:99999/",
        "http://[::1",
        "http://example.org/" + "x" * 3000,
        "",
    )


@pytest.mark.parametrize("address", addresses())
def test_what_is_no_address_is_refused(address: str) -> None:
    refused = Refusals()
    with pytest.raises(BadInput) as error:
        OutboundClient(refused.add, private=True).check(address, OutboundUse.WEBHOOK)
    assert error.value.key == "refusal.outbound.url"
    assert refused[OutboundUse.WEBHOOK] == 1


async def test_nobody_at_the_address_is_no_picture() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(BadInput) as error:
        await OutboundClient(Refusals().add, private=True).fetch(f"http://127.0.0.1:{port}/", 1000)
    assert error.value.key == "refusal.outbound.failed"
