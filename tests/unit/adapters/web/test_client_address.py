"""Where a request comes from: only the operator's own proxies are believed."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from adapters.web.client_address import ClientAddress, ProxyTrust

TRUSTED = ("10.0.0.0/8", "127.0.0.1/32", "fd00::/8")


class Transport:
    def __init__(self, peer: Any) -> None:
        self._peer = peer

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._peer if name == "peername" else default


def seen(peer: str, trusted: tuple[str, ...] = TRUSTED, scheme: str = "http", **headers: str) -> ClientAddress:
    given = {"Host": "inside:7860", **{name.replace("_", "-"): value for name, value in headers.items()}}
    request = make_mocked_request("GET", "/", headers=given, transport=Transport((peer, 1)))
    return ProxyTrust([ip_network(one) for one in trusted], scheme).client_of(request)


@pytest.mark.parametrize("peer", ["8.8.8.8", "11.0.0.1", "::ffff:8.8.8.8", "fe80::1%eth0"])
def test_a_stranger_s_headers_change_nothing(peer: str) -> None:
    found = seen(
        peer,
        X_Forwarded_For="127.0.0.1",
        X_Forwarded_Proto="https",
        X_Forwarded_Host="easel.example",
        Forwarded="for=::1",
    )
    assert (str(found.ip), found.scheme, found.host) == (
        peer.removeprefix("::ffff:").partition("%")[0],
        "http",
        "inside:7860",
    )
    assert found.forwarded
    assert not found.is_loopback


def test_a_trusted_proxy_is_believed() -> None:
    found = seen("10.1.2.3", X_Forwarded_For="203.0.113.9", X_Forwarded_Proto="HTTPS", X_Forwarded_Host="easel.example")
    assert (str(found.ip), found.scheme, found.host) == ("203.0.113.9", "https", "easel.example")


@pytest.mark.parametrize(
    ("line", "client"),
    [
        # What the client wrote itself stands before what the proxy adds.
        ("127.0.0.1, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("fd00::1, 2001:db8::7", "2001:db8::7"),
        ("10.0.0.5", "10.0.0.5"),
        ("", "10.0.0.1"),
        ("127.0.0.1, nonsense", "None"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        (", ".join(["127.0.0.1"] * 100), "127.0.0.1"),
    ],
)
def test_the_last_address_that_no_trusted_proxy_has_is_the_client_s(line: str, client: str) -> None:
    found = seen("10.0.0.1", X_Forwarded_For=line) if line else seen("10.0.0.1")
    assert str(found.ip) == client


def test_an_odd_scheme_is_not_taken() -> None:
    assert seen("10.0.0.1", X_Forwarded_Proto="javascript").scheme == "http"
    assert seen("8.8.8.8", scheme="https").scheme == "https"


def test_rates_count_an_ipv6_network_as_one_client() -> None:
    assert seen("2001:db8::1").bucket == seen("2001:db8::ffff").bucket != seen("2001:db8:0:1::1").bucket
    assert seen("192.0.2.1").bucket != seen("192.0.2.2").bucket
