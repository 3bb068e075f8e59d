"""Telegram's settings and limits."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from adapters.platform import ChatSettings, PlatformLimits
from bot.core.access import AccessMode
from bot.settings import OwnerIds

LIMITS = PlatformLimits(max_count=4)


class TelegramSettings(ChatSettings):
    """``EASEL_TELEGRAM_*``."""

    model_config = SettingsConfigDict(env_prefix="EASEL_TELEGRAM_")

    token: SecretStr | None = Field(None, description="Token of the Telegram bot; Telegram is off without it.")
    api_url: str | None = Field(
        None, description="Base URL for Telegram's Bot API, such as a local Bot API server; empty: Telegram's own."
    )
    owners: OwnerIds = Field(
        (), description="Telegram user ids of this Easel's owners, separated by commas; owners have no quota."
    )
    access: AccessMode = Field(
        AccessMode.APPROVE,
        description="Who may draw on Telegram: open (anybody), approve (an owner answers a person's or group's first request), or list (only allowed ones).",
    )
    proxy: str | None = Field(None, description="Proxy for Telegram only (http:// or socks5://); empty: EASEL_PROXY.")
    storage_chat: int | None = Field(
        None,
        description="Id of a chat to which the pictures of inline messages are sent; empty: to the private chat of the person who asked.",
    )
    webhook_url: str | None = Field(
        None,
        pattern=r"^https?://[^/?#]+/[^?#]*$",
        description="Public https:// address with a path to which Telegram sends updates, behind your own proxy; empty: Easel asks for updates, which needs no address.",
    )
    webhook_host: str = Field(
        "127.0.0.1", min_length=1, description="Address on which the proxy in front of the webhook finds Easel."
    )
    webhook_port: int = Field(7861, ge=1, le=65535, description="Port of that address.")
