"""Where a request comes from: the peer's address, or what the operator's proxies say of the browser."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import hdrs, web

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

FORWARDED = (
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Real-IP",
    "CF-Connecting-IP",
    "Via",
)
"""Headers of proxies. From anybody but a trusted proxy they can only take rights away."""

_MAX_HOPS = 16


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """Where a request comes from.

    Attributes:
        ip: Address of the browser or program; None where it is not known.
        scheme: ``http`` or ``https``, as the browser sees it.
        host: The ``Host`` header as the browser sent it.
        forwarded: Whether the request passed a proxy, as its headers say.
    """

    ip: IpAddress | None
    scheme: str
    host: str
    forwarded: bool

    @property
    def is_loopback(self) -> bool:
        """Whether the request comes from this machine."""
        return self.ip is not None and self.ip.is_loopback

    @property
    def bucket(self) -> str:
        """Return what rate limits count by: the address, or the network of 64 bits that an IPv6 client owns."""
        if isinstance(self.ip, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((self.ip, 64), strict=False))
        return str(self.ip)


class ProxyTrust:
    """Reads the headers of the proxies that the operator trusts."""

    def __init__(self, networks: Sequence[Network], scheme: str) -> None:
        """Args:
        networks: Addresses of trusted proxies.
        scheme: The scheme of connections to this process.
        """
        self._networks = tuple(networks)
        self._scheme = scheme

    def client_of(self, request: web.Request) -> ClientAddress:
        """Return where a request comes from. Headers count only where the peer is a trusted proxy."""
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        ip = parse_ip(str(peer[0])) if isinstance(peer, tuple) else None
        scheme, host = self._scheme, request.headers.get(hdrs.HOST, "")
        forwarded = any(name in request.headers for name in FORWARDED)
        if ip is None or not self._trusts(ip):
            return ClientAddress(ip, scheme, host, forwarded)
        proto = request.headers.get("X-Forwarded-Proto", "").strip().lower()
        if proto in {"http", "https"}:
            scheme = proto
        host = request.headers.get("X-Forwarded-Host", "").strip() or host
        return ClientAddress(self._nearest(request, ip), scheme, host, forwarded)

    def _nearest(self, request: web.Request, peer: IpAddress) -> IpAddress | None:
        """Return the last address that no trusted proxy has: what stands before it, the client itself may have written."""
        line = ",".join(request.headers.getall("X-Forwarded-For", []))
        for text in reversed(line.split(",")[-_MAX_HOPS:] if line.strip() else []):
            found = parse_ip(text.strip())
            if found is None or not self._trusts(found):
                return found
            peer = found
        return peer

    def _trusts(self, ip: IpAddress) -> bool:
        return any(ip in network for network in self._networks)


def parse_ip(text: str) -> IpAddress | None:
    """Return an IP address, IPv4 inside IPv6 as IPv4; None if it is none."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
