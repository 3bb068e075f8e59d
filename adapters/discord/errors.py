"""Errors of calls to Discord, from any of the libraries involved, and Discord's error codes."""

from __future__ import annotations

import logging
import textwrap

import aiohttp
import discord
from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError

log = logging.getLogger(__name__)

PROXY = (ProxyConnectionError, ProxyError, ProxyTimeoutError)
NETWORK = (aiohttp.ClientError, TimeoutError, OSError, EOFError, *PROXY)
"""Errors after which it is unknown whether a request arrived. A SOCKS proxy that hangs up raises EOFError."""

TOKEN_ENDED = frozenset({10015, 50027})
"""Unknown webhook, invalid webhook token: the interaction's token has expired."""
ARCHIVED = 50083
MISSING_PERMISSIONS = 50013
_TOO_LARGE = 40005
_NOT_OF_CONTENT = frozenset({*TOKEN_ENDED, ARCHIVED, 10003, 10008, 10062, 40060, 50001, 50007, 50278, 160005})
"""Refusals that concern the place, the message or the interaction; other content would be refused too."""
_LINE = 300


def is_too_large(error: discord.HTTPException) -> bool:
    """Whether a file or the whole request exceeds this place's limit."""
    return error.status == 413 or error.code == _TOO_LARGE


def is_of_content(error: discord.HTTPException) -> bool:
    """Whether the content was refused: a file, an embed, a word, or a part that needs a missing permission."""
    return is_too_large(error) or (error.status in (400, 403) and error.code not in _NOT_OF_CONTENT)


def log_refusal(what: str, error: discord.HTTPException) -> None:
    """Log a refusal with its status, code and reason."""
    reason = textwrap.shorten(error.text or "no reason", _LINE, placeholder="…")
    log.warning("Discord refused %s: HTTP %s, code %s (%s)", what, error.status, error.code, reason)
