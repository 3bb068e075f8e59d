"""The page's settings and limits, and whether other machines can reach it."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_core import PydanticCustomError
from pydantic_settings import SettingsConfigDict

from adapters.platform import PlatformLimits, PlatformSettings
from bot.core.errors import BadInput
from bot.settings import CommaSeparated

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LIMITS = PlatformLimits(max_count=16)

TOKEN_FILE = "web-token"  # noqa: S105 - a file's name
"""Where a generated token is kept in the data folder, readable by its owner alone (0600)."""

EVERYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared, not listened on
"""Wildcard addresses, which are no host names."""

_HOST = re.compile(r"([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)\.?(?::\d{1,5})?", re.ASCII)


def _host_names(hosts: tuple[str, ...]) -> tuple[str, ...]:
    found = [_HOST.fullmatch(host.lower()) for host in hosts]
    if not all(found):
        raise PydanticCustomError("hosts", "must be host names such as easel.example, separated by commas")
    return tuple(dict.fromkeys(match[1] for match in found if match is not None))


def _networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(text, strict=False)) for text in texts)
    except ValueError:
        raise PydanticCustomError(
            "networks", "must be IP addresses or networks such as 10.0.0.0/8, separated by commas"
        ) from None


class WebSettings(PlatformSettings):
    """``EASEL_WEB_*``."""

    model_config = SettingsConfigDict(env_prefix="EASEL_WEB_")

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address that the page listens on; from other machines than this one people sign in.",
    )
    port: int = Field(7860, ge=0, le=65535, description="Port of the page; 0 turns the page off.")
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^/?#]",
        description="Public URL of the page behind your own proxy; its host is allowed.",
    )
    token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Token for the page from other machines, 16 characters or more; empty: one is generated and kept in the data folder.",
    )

    hosts: Annotated[CommaSeparated, AfterValidator(_host_names)] = Field(
        (),
        description="Further public host names of the page, separated by commas; the first one stands in links where EASEL_WEB_PUBLIC_URL is empty.",
    )
    tls_cert: Path | None = Field(
        None, description="File with the page's TLS certificate and its chain, in PEM format."
    )
    tls_key: Path | None = Field(None, description="File with the certificate's private key, in PEM format.")
    trusted_proxies: Annotated[CommaSeparated, AfterValidator(_networks)] = Field(
        (),
        description="IP addresses or networks (10.0.0.0/8) of your own proxies, whose X-Forwarded-For, -Proto and -Host are believed.",
    )
    unsafe_bind: bool = Field(
        False,
        description="Whether the page may listen on another address than loopback without TLS and without trusted proxies.",
    )
    member_keys: bool = Field(False, description="Whether everybody who signs in may create API keys of their own.")
    private_targets: bool = Field(
        False,
        description="Whether webhooks and addresses of pictures in requests may lead to this machine and into private networks.",
    )

    @property
    def proxies(self) -> tuple[Network, ...]:
        """The networks of the trusted proxies."""
        return tuple(ipaddress.ip_network(text) for text in self.trusted_proxies)

    @property
    def scheme(self) -> str:
        """Scheme of the address that the page itself listens on."""
        return "http" if self.tls_cert is None else "https"

    @property
    def proxied(self) -> bool:
        """Whether requests from this machine may be those of a proxy."""
        return self.public_url is not None or bool(self.hosts or self.trusted_proxies)

    @property
    def enabled(self) -> bool:
        """Whether the page has a port."""
        return self.port != 0

    @property
    def public_link(self) -> str:
        """Address of the page for others; empty where it has none."""
        if self.public_url is not None or not self.hosts:
            return self.public_url or ""
        # A proxy listens on the usual port; without one, this process does on its own.
        return f"https://{self.hosts[0]}" if self.trusted_proxies else f"{self.scheme}://{self.hosts[0]}:{self.port}"

    @property
    def address(self) -> str:
        """Host and port that the page listens on."""
        return f"{self.host}:{self.port}"

    @property
    def local_url(self) -> str:
        """Address of the page for programs on this machine, without a slash at its end."""
        host = "127.0.0.1" if self.host in EVERYWHERE else self.host
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def exposed(self) -> bool:
        """Whether other machines can reach the page, as far as the settings tell."""
        return self.proxied or not self._on_loopback

    @property
    def _on_loopback(self) -> bool:
        host = self.host.lower()
        return host == "localhost" or is_loopback(host)

    def check_bind(self) -> None:
        """Raise BadInput if the page would send secrets in the clear to other machines, or TLS has one file of two."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise BadInput("refusal.web.tls_pair")
        if not (self._on_loopback or self.tls_cert is not None or self.trusted_proxies or self.unsafe_bind):
            raise BadInput("refusal.web.bind", where=self.address)


def is_loopback(address: str) -> bool:
    """Whether an IP address is this machine's own loopback, in IPv4, IPv6, or IPv4 inside IPv6."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback
