"""Requests to addresses that clients give: only to public hosts, without redirects, limited in time and size.

The IP address of a connection is checked when its socket is made. So neither a name that resolves to another address a
moment later nor another notation of an address gets around the check.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver

from adapters.downloads import download
from bot.core.errors import BadInput
from bot.core.ports import Gone, RetryLater, TooLarge
from bot.core.texts import clip

MAX_URL = 2048

FETCH_SECONDS = 20.0
"""Seconds that a file may take."""

POST_SECONDS = 10.0
"""Seconds that a webhook's receiver may take to answer."""

_SHOWN = 80
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_CLOUDS = frozenset(
    ipaddress.ip_address(one) for one in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")
)
"""Where clouds answer with secrets of the machine, besides the link-local addresses."""

_COMPATIBLE = ipaddress.IPv6Network("::/96")


class OutboundUse(StrEnum):
    """What asks for a request: a webhook, or a picture of a request."""

    WEBHOOK = "webhook"
    PICTURE = "picture"


class AddressRefused(OSError):
    """A connection would lead into a network that clients must not reach."""


def is_allowed(address: str, *, private: bool) -> bool:
    """Whether a connection to an IP address may be made for a client.

    Args:
        address: The address as the operating system has it.
        private: Whether private networks and this machine are allowed. Link-local addresses and ``_CLOUDS`` never are:
            clouds answer there with secrets.
    """
    try:
        ip = _embedded(ipaddress.ip_address(address))
    except ValueError:
        return False
    if ip.is_multicast or ip.is_unspecified or ip.is_link_local or ip in _CLOUDS:
        return False
    # Python counts the old local networks of IPv6 (fec0::/10) as global.
    local = isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local
    return private or (ip.is_global and not ip.is_reserved and not local)


def _embedded(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the IPv4 address that an IPv6 address leads to; the address itself if it is none of these."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64 or (ip in _COMPATIBLE and int(ip) > 1):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None) or ip


class OutboundClient:
    """Makes the requests, each with a connection of its own."""

    def __init__(
        self,
        refused: Callable[[OutboundUse], None],
        *,
        private: bool = False,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """Args:
        refused: Counts a refusal.
        private: Whether private networks and this machine are allowed.
        resolver: Resolves names; the operating system's by default.
        """
        self._private = private
        self._resolver = resolver
        self._count = refused

    def check(self, address: str, use: OutboundUse) -> yarl.URL:
        """Return an address as a URL. Raises BadInput if it is no http address, or names a network that is not allowed."""
        try:
            url = yarl.URL(address) if len(address) <= MAX_URL else yarl.URL()
            host, port = url.host or "", url.port
            # As the resolver does: it raises UnicodeError for empty and for too long labels.
            host.encode("idna")
        except ValueError:
            url, host, port = yarl.URL(), "", None
        if (
            url.scheme not in {"http", "https"}
            or not host
            or not host.isprintable()
            or url.user
            or url.password
            or not port
        ):
            self._count(use)
            raise BadInput("refusal.outbound.url", url=clip(address, _SHOWN))
        named = _named_address(host)
        if named is not None and not is_allowed(named, private=self._private):
            self._count(use)
            raise BadInput("refusal.outbound.private", host=clip(host, _SHOWN))
        return url.with_fragment(None)

    async def fetch(self, address: str, limit: int) -> bytes:
        """Return the file at an address of at most ``limit`` bytes.

        Raises BadInput where the address is not allowed or has no such file.
        """
        url = self.check(address, OutboundUse.PICTURE)
        host = clip(url.host or "", _SHOWN)
        try:
            with self._guarded(OutboundUse.PICTURE, FETCH_SECONDS) as session:
                async with session:
                    return await download(session, url, limit)
        except AddressRefused:
            raise BadInput("refusal.outbound.private", host=host) from None
        except TooLarge:
            raise BadInput("refusal.outbound.large", host=host, limit=limit // 2**20) from None
        except (Gone, RetryLater, TimeoutError):
            raise BadInput("refusal.outbound.failed", host=host) from None

    async def post(self, url: yarl.URL, body: bytes, headers: Mapping[str, str]) -> int:
        """Send a POST request and return the answer's status; nothing of its body is read.

        Raises:
            AddressRefused: The address leads into a network that is not allowed.
            OSError, aiohttp.ClientError: There was no answer.
        """
        with self._guarded(OutboundUse.WEBHOOK, POST_SECONDS) as session:
            async with (
                session,
                session.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                return response.status

    @contextmanager
    def _guarded(self, use: OutboundUse, seconds: float) -> Iterator[aiohttp.ClientSession]:
        """Yield a session that connects to allowed addresses alone. Raises AddressRefused if only others are there."""
        refused: list[str] = []

        def make_socket(found: aiohttp.AddrInfoType) -> socket.socket:
            family, kind, protocol, _, address = found
            if not is_allowed(str(address[0]), private=self._private):
                refused.append(str(address[0]))
                raise AddressRefused("a network that is not allowed")
            return socket.socket(family, kind, protocol)

        connector = aiohttp.TCPConnector(
            force_close=True, use_dns_cache=False, resolver=self._resolver, socket_factory=make_socket
        )
        try:
            yield aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=seconds),
                headers={"User-Agent": "Easel"},
                auto_decompress=False,
            )
        except (aiohttp.ClientError, OSError, RetryLater) as error:
            if not refused:
                raise
            self._count(use)
            raise AddressRefused(*error.args) from None


def _named_address(host: str) -> str | None:
    """Return the IP address that a host is, also in old notations such as ``0x7f.1``; None if it is a name."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return str(ipaddress.IPv4Address(socket.inet_aton(host)))
    except (OSError, UnicodeError):
        return None
