"""Discord's settings and limits."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from adapters.platform import ChatSettings, PlatformLimits
from bot.core.access import AccessMode
from bot.settings import OwnerIds

LIMITS = PlatformLimits(max_count=4)


class DiscordSettings(ChatSettings):
    """``EASEL_DISCORD_*``."""

    model_config = SettingsConfigDict(env_prefix="EASEL_DISCORD_")

    token: SecretStr | None = Field(None, description="Token of the Discord bot; Discord is off without it.")
    api_url: str | None = Field(
        None, description="Base URL for Discord's REST API, such as a proxy's; empty: Discord's own."
    )
    gateway_url: str | None = Field(None, description="URL of Discord's gateway; empty: Discord's own.")
    owners: OwnerIds = Field(
        (), description="Discord user ids of this Easel's owners, separated by commas; owners have no quota."
    )
    access: AccessMode = Field(
        AccessMode.APPROVE,
        description="Who may draw on Discord: open (anybody), approve (an owner answers a server's first request), or list (only allowed ones).",
    )
    proxy: str | None = Field(None, description="Proxy for Discord only (http:// or socks5://); empty: EASEL_PROXY.")
