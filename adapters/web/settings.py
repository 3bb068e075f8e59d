"""The page's settings and limits, and whether other machines can reach it."""

from __future__ import annotations

import ipaddress

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from adapters.platform import PlatformLimits, PlatformSettings

LIMITS = PlatformLimits(max_count=16)

TOKEN_FILE = "web-token"  # noqa: S105 - a file's name
"""Where a generated token is kept in the data folder, readable by its owner alone (0600)."""


class WebSettings(PlatformSettings):
    """``EASEL_WEB_*``."""

    model_config = SettingsConfigDict(env_prefix="EASEL_WEB_")

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address that the page listens on; other machines than this one need the page's token.",
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

    @property
    def enabled(self) -> bool:
        """Whether the page has a port."""
        return self.port != 0

    @property
    def public_link(self) -> str:
        """Address of the page for others; empty where it has none."""
        return self.public_url or ""

    @property
    def address(self) -> str:
        """Host and port that the page listens on."""
        return f"{self.host}:{self.port}"

    @property
    def exposed(self) -> bool:
        """Whether other machines can reach the page, as far as the settings tell."""
        host = self.host.lower()
        return self.public_url is not None or not (host == "localhost" or is_loopback(host))


def is_loopback(address: str) -> bool:
    """Whether an IP address is this machine's own loopback, in IPv4, IPv6, or IPv4 inside IPv6."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback
