"""Random secrets: session ids, links and API keys. Only their digests are stored."""

from __future__ import annotations

import hashlib
import secrets

_BYTES = 32


def new_token(prefix: str = "") -> str:
    """Return a new secret of 256 random bits, in letters that are valid in addresses and headers."""
    return prefix + secrets.token_urlsafe(_BYTES)


def digest_of(token: str) -> str:
    """Return a secret's digest. No salt and no slow hash: nobody can guess 256 random bits."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
