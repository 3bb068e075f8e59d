"""Addresses of messages."""

from __future__ import annotations

from bot.core.messages import Address


def test_an_address_s_token_is_never_printed() -> None:
    assert "secret" not in repr(Address("discord", "1", token="secret"))
