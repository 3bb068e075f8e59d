"""Who may speak to the page: Host against DNS rebinding, Origin against other sites, and headers for the browser."""

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
"""What this machine calls itself."""

EVERYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared, not listened on
"""Addresses to listen on that are no name to be called by."""

_SAFE = frozenset({"GET", "HEAD"})
_OWN_SITE = frozenset({"", "same-origin", "none"})


def _url(text: str) -> URL | None:
    try:
        return URL(text)
    except ValueError:
        return None


class Guard:
    """Decides by headers alone.

    DNS rebinding makes an attacker's own name lead to this machine; so only the names of this machine and those that
    the settings give are let in. An address that means "all" (``0.0.0.0``, ``::``) names nobody.
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
        """Whether others reach the page by HTTPS, as far as the settings say."""

    def knows(self, host: str) -> bool:
        """Whether this Easel may be called by that ``Host`` header."""
        return host_of(host) in self._names

    def is_this_machine(self, host: str) -> bool:
        """Whether that ``Host`` header is one of this machine's names for itself."""
        return host_of(host) in LOCAL

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
        # As yarl says it, an authority always names its port.
        authority = url.authority.lower()
        called = _url(f"http://{host}") or URL()
        return authority == called.authority.lower() or (url.scheme, authority) == self._public

    def check(self, request: web.Request, host: str, *, known: bool = False) -> None:
        """Refuse what is not ours.

        Args:
            request: What was asked.
            host: Its ``Host`` header.
            known: Whether the name is allowed for another reason.

        Raises:
            NotAllowed: Easel is not known under this name, or another site has sent the request.
        """
        if not known and not self.knows(host):
            raise NotAllowed("refusal.web.host", host=shown(host))
        if request.method not in _SAFE and not self.is_own(
            request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", ""), host
        ):
            raise NotAllowed("refusal.web.origin")


def host_of(header: str) -> str:
    """Return the name in a ``Host`` header, in small letters and without a dot at its end; empty where it is none."""
    url = _url(f"http://{header}") if header and not set(header) & set("/?#@\\") else None
    return (url.host or "").rstrip(".").lower() if url is not None else ""


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Give every answer the headers that keep a browser strict."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    # The page's own files are asked for anew each time (cheap, by ETag): after an update nobody sees a mixture. All else
    # is somebody's own, and no shared cache may keep it.
    own = request.path == "/" or request.path.startswith(("/static/", "/favicon.ico"))
    response.headers.setdefault("Cache-Control", "no-cache" if own else "private, no-cache")
