"""Downloads of files that people sent to a platform: bounded, from the platform alone, without redirects."""

from __future__ import annotations

import aiohttp
import yarl
from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError

from bot.core.ports import Gone, RetryLater, TooLarge

_CHUNK = 64 * 1024
_PASSING = 5.0
_LONGEST = 300.0
_BUSY = 429
_FAULTS = (aiohttp.ClientError, OSError, EOFError, ProxyError, ProxyConnectionError, ProxyTimeoutError)


async def download(session: aiohttp.ClientSession, url: yarl.URL, limit: int, *, proxy: str | None = None) -> bytes:
    """Return the file at an address of the platform. The caller limits the time.

    Args:
        session: Makes the request.
        url: The address. It may hold a token, so no error names it.
        limit: Most bytes.
        proxy: Address of an HTTP proxy.

    Raises:
        Gone: There is no file, or the address leads elsewhere.
        TooLarge: It has more than ``limit`` bytes.
        RetryLater: The platform can't be reached, or asks to wait.
    """
    try:
        # Not compressed, so that the bytes that are counted are those that are kept.
        plain = {"Accept-Encoding": "identity"}
        async with session.get(url, proxy=proxy, allow_redirects=False, headers=plain) as response:
            if response.status == _BUSY or response.status >= 500:
                raise RetryLater(_pause(response))
            if response.status != 200 or response.headers.get("Content-Encoding", "identity") != "identity":
                raise Gone(f"its server answers {response.status}")
            if (response.content_length or 0) > limit:
                raise TooLarge(limit)
            data = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK):
                data += chunk
                if len(data) > limit:
                    raise TooLarge(limit)
            return bytes(data)
    except _FAULTS as error:
        raise RetryLater(_PASSING) from _nameless(error)


def _pause(response: aiohttp.ClientResponse) -> float:
    try:
        return min(max(float(response.headers.get("Retry-After", _PASSING)), 0.0), _LONGEST)
    except ValueError:
        return _PASSING


def _nameless(error: BaseException) -> Exception:
    """Return an error of the same kind without its text, which may hold the address."""
    return ConnectionError(type(error).__name__)
