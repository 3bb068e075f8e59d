"""What may go wrong between here and Discord, whichever library says so."""

from __future__ import annotations

import aiohttp
from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError

PROXY = (ProxyConnectionError, ProxyError, ProxyTimeoutError)
NETWORK = (aiohttp.ClientError, TimeoutError, OSError, EOFError, *PROXY)
"""After these nobody knows whether a request arrived. A SOCKS proxy that hangs up is an EOFError."""
