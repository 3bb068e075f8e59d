"""Request checks: Host against DNS rebinding, Origin against other sites, and security headers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from yarl import URL

from adapters.web.render import shown
from adapters.web.settings import WebSettings
from bot.core.errors import NotAllowed

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names of this machine for itself."""

EVERYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared, not listened on
"""Wildcard addresses, which are no host names."""

_SAFE = frozenset({"GET", "HEAD"})
_OWN_SITE = frozenset({"", "same-origin", "none"})


def _url(text: str) -> URL | None:
    try:
        return URL(text)
    except ValueError:
        return None


class Guard:
    """Checks the headers of requests.

    DNS rebinding makes an attacker's name resolve to this machine, so only this machine's names and the settings' names
    are accepted. Wildcard addresses (``0.0.0.0``, ``::``) are no names.
    """

    def __init__(self, settings: WebSettings) -> None:
        public = _url(settings.public_url or "")
        own = {*LOCAL, settings.host.lower()} - EVERYWHERE
        self._public: tuple[str, str] | None = None
        if public is not None and public.scheme and public.host:
            self._public = public.scheme, public.authority.lower()
            own.add(public.host.rstrip(".").lower())
        self._names = frozenset(own - {""})
        self.is_https = public is not None and public.scheme == "https"
        """Whether the public address is HTTPS."""

    def knows(self, host: str) -> bool:
        """Whether the ``Host`` header is one of this Easel's names."""
        return host_of(host) in self._names

    def is_this_machine(self, host: str) -> bool:
        """Whether the ``Host`` header is one of this machine's names for itself."""
        return host_of(host) in LOCAL

    def is_own(self, origin: str | None, site: str, host: str) -> bool:
        """Whether a request that changes state comes from this page, or from no browser.

        Args:
            origin: The ``Origin`` header, if there is one.
            site: The ``Sec-Fetch-Site`` header, or an empty text.
            host: The ``Host`` header.
        """
        if site not in _OWN_SITE:
            return False
        if origin is None:
            return True
        url = _url(origin)
        if url is None or not url.host or url.scheme not in {"http", "https"}:
            return False
        # yarl's authority always has a port.
        authority = url.authority.lower()
        called = _url(f"http://{host}") or URL()
        return authority == called.authority.lower() or (url.scheme, authority) == self._public

    def check(self, request: web.Request, host: str, *, known: bool = False) -> None:
        """Refuse requests of other sites and under unknown names.

        Args:
            request: The request.
            host: Its ``Host`` header.
            known: Whether the name is accepted for another reason.

        Raises:
            NotAllowed: The name is unknown, or another site sent the request.
        """
        if not known and not self.knows(host):
            raise NotAllowed("refusal.web.host", host=shown(host))
        if request.method not in _SAFE and not self.is_own(
            request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", ""), host
        ):
            raise NotAllowed("refusal.web.origin")


def host_of(header: str) -> str:
    """Return the name in a ``Host`` header, in lower case and without a trailing dot; empty if it is malformed."""
    url = _url(f"http://{header}") if header and not set(header) & set("/?#@\\") else None
    return (url.host or "").rstrip(".").lower() if url is not None else ""


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the security headers to a response."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    # The page's own files are revalidated each time (cheap, by ETag), so that an update never mixes versions.
    # Everything else is private, and no shared cache may store it.
    own = request.path == "/" or request.path.startswith(("/static/", "/favicon.ico"))
    response.headers.setdefault("Cache-Control", "no-cache" if own else "private, no-cache")
