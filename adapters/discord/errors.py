"""What may go wrong between here and Discord, whichever library says so, and what Discord's codes mean."""

from __future__ import annotations

import logging
import textwrap

import aiohttp
import discord
from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError

log = logging.getLogger(__name__)

PROXY = (ProxyConnectionError, ProxyError, ProxyTimeoutError)
NETWORK = (aiohttp.ClientError, TimeoutError, OSError, EOFError, *PROXY)
"""After these nobody knows whether a request arrived. A SOCKS proxy that hangs up is an EOFError."""

TOKEN_ENDED = frozenset({10015, 50027})
"""Unknown webhook, invalid webhook token: the interaction's token is over."""
ARCHIVED = 50083
MISSING_PERMISSIONS = 50013
_TOO_LARGE = 40005
_NOT_OF_CONTENT = frozenset({*TOKEN_ENDED, ARCHIVED, 10003, 10008, 10062, 40060, 50001, 50007, 50278, 160005})
"""Refusals of a place, a message or an interaction: sending something else would not help."""
_LINE = 300


def is_too_large(error: discord.HTTPException) -> bool:
    """Whether a file or the whole request is over this place's limit."""
    return error.status == 413 or error.code == _TOO_LARGE


def is_of_content(error: discord.HTTPException) -> bool:
    """Whether it was refused for what was in it: a file, an embed, a word; or for a right that a part of it needs."""
    return is_too_large(error) or (error.status in (400, 403) and error.code not in _NOT_OF_CONTENT)


def log_refusal(what: str, error: discord.HTTPException) -> None:
    """Write down what Discord did not do, with its status, its code and its reason."""
    reason = textwrap.shorten(error.text or "no reason", _LINE, placeholder="…")
    log.warning("Discord refused %s: HTTP %s, code %s (%s)", what, error.status, error.code, reason)
