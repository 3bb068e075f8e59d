"""Who may speak to the page: Host against DNS rebinding, Origin against other sites, and headers for the browser."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable

from aiohttp import web
from yarl import URL

from bot.model.errors import NotAllowed
from bot.settings import Settings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_SAFE = frozenset({"GET", "HEAD"})
_OWN_SITE = frozenset({"", "same-origin", "none"})


def _url(text: str) -> URL | None:
    try:
        return URL(text)
    except ValueError:
        return None


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


class Guard:
    """Decides by headers alone.

    DNS rebinding needs a name that its attacker owns; so ``localhost``, the configured names and bare IP addresses are
    let in, and every other name is refused.
    """

    def __init__(self, settings: Settings) -> None:
        public = _url(settings.web_public_url or "")
        self._public = public.origin() if public is not None and public.absolute else None
        own = {"localhost", settings.web_host.lower()}
        self._names = frozenset(own if self._public is None else own | {self._public.host or ""})

    def knows(self, host: str) -> bool:
        """Whether this Easel may be called by that ``Host`` header."""
        url = _url(f"http://{host}") if host and not set(host) & set("/?#@\\") else None
        if url is None or not url.host:
            return False
        name = url.host.rstrip(".").lower()
        return name in self._names or _is_ip(name)

    def is_own(self, origin: str | None, site: str, host: str) -> bool:
        """Whether a request that changes something comes from our own page, or from no browser at all.

        Args:
            origin: The ``Origin`` header, if there is one.
            site: The ``Sec-Fetch-Site`` header, or nothing.
            host: The ``Host`` header.
        """
        if site not in _OWN_SITE:
            return False
        if origin is None:
            return True
        url = _url(origin)
        if url is None or not url.host or url.scheme not in {"http", "https"}:
            return False
        return url.origin() == self._public or url.authority.lower() == (_url(f"http://{host}") or URL()).authority.lower()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what is not ours; raises NotAllowed."""
        host = request.headers.get("Host", "")
        if not self.knows(host):
            raise NotAllowed("refusal.web.host", host="@@" + host if host.startswith("@") else host)
        if request.method not in _SAFE and not self.is_own(
            request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", ""), host
        ):
            raise NotAllowed("refusal.web.origin")
        return await handler(request)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:  # noqa: ARG001 - aiohttp's signature
    """Give every answer the headers that keep a browser strict."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    # The page's own files are asked for anew each time (cheap, by ETag): after an update nobody sees a mixture.
    response.headers.setdefault("Cache-Control", "no-cache")
