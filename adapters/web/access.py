"""Access control: requests from this machine, or with the token, are let in.

The peer address decides; headers only refuse. Behind a proxy on this machine, every request seems to come from this
machine. So with EASEL_WEB_PUBLIC_URL the token is always required, and a request with a proxy's headers is never local.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
import stat
from pathlib import Path

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from adapters.web.errors import Unauthorized
from adapters.web.request_checks import Guard, host_of
from adapters.web.routes import Role, RouteTable
from adapters.web.settings import TOKEN_FILE, WebSettings, is_loopback
from bot.core.errors import BadInput, NotAllowed

COOKIE_DAYS = 90

_METRICS = "/metrics"
_FORWARDED = (
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Real-IP",
    "CF-Connecting-IP",
    "Via",
)
_TOKEN_BYTES = 24
_LONGEST_FILE = 1024


def token_of(settings: WebSettings, data_dir: Path) -> str:
    """Return the token of an exposed page: the settings' token, else one that is generated once and kept in the data
    folder. Empty if the page is local and no token is set. Blocking: reads and writes a file.

    Raises:
        BadInput: The file holds no token, or can't be written.
    """
    if settings.token is not None:
        return settings.token.get_secret_value()
    if not settings.exposed:
        return ""
    path = data_dir / TOKEN_FILE
    try:
        return _read(path) or _made(path)
    except OSError as error:
        raise BadInput("refusal.web.token_file", path=str(path), reason=error.strerror or str(error)) from None


def _read(path: Path) -> str:
    """Return the token in a file, empty where there is no such file. Raises OSError and BadInput."""
    try:
        # Non-blocking: a FIFO of this name must not block the start.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        token = file.read(_LONGEST_FILE).decode("ascii", "replace").strip() if regular else ""
        if len(token) < _TOKEN_BYTES:
            raise BadInput("refusal.web.token_file", path=str(path), reason="no token in it")
        if os.name == "posix":
            os.fchmod(descriptor, 0o600)
    return token


def _made(path: Path) -> str:
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written to a temporary name first: a killed process leaves a whole token or none.
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{token}\n")
        file.flush()
        os.fsync(descriptor)
    part.replace(path)
    return token


class AccessControl:
    """Lets requests in. Together with Guard it decides every request."""

    def __init__(self, settings: WebSettings, guard: Guard, token: str, table: RouteTable) -> None:
        """Args:
        settings: The page's address and port.
        guard: Knows the page's names.
        token: The token that lets other machines in; empty if there is none.
        table: Knows the role that each route needs.
        """
        self._table = table
        self._guard = guard
        self._token = token.encode()
        # Behind the operator's proxy, the peer address does not identify the client.
        self._proxied = settings.public_url is not None
        # Cookies ignore ports: another Easel on this host needs a cookie of another name.
        self._cookie = f"easel_{settings.port}"

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse forbidden requests; raises Unauthorized and NotAllowed."""
        host = request.headers.get(hdrs.HOST, "")
        # DNS rebinding can't change where an IP address leads. So with a token, every IP address is an accepted name.
        self._guard.check(request, host, known=bool(self._token) and is_address(host))
        if request.path == "/" and self._token and self._right(request.query.get("token", "")):
            raise self._enter(request, host)
        if self._table.role_of(request) is Role.ANYONE or self.trusts(request):
            return await handler(request)
        raise self._refusal(request)

    def trusts(self, request: web.Request) -> bool:
        """Whether the client is the owner; answers may give the owner more details."""
        return self._brings(request) or self.is_local(request)

    def is_local(self, request: web.Request) -> bool:
        """Whether a request needs no token: its peer is this machine, and it passed no known proxy."""
        if self._proxied and request.path != _METRICS:
            return False
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        if not isinstance(peer, tuple) or not is_loopback(str(peer[0])):
            return False
        if self._proxied and not self._guard.is_this_machine(request.headers.get(hdrs.HOST, "")):
            return False
        return not any(name in request.headers for name in _FORWARDED)

    def _brings(self, request: web.Request) -> bool:
        if not self._token:
            return False
        kind, _, bearer = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if kind.lower() == "bearer" and self._right(bearer.strip()):
            return True
        return hmac.compare_digest(
            request.cookies.get(self._cookie, "").encode(errors="replace"), self._cookie_value().encode()
        )

    def _right(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(errors="replace"), self._token)

    def _cookie_value(self) -> str:
        # Derived from the token: the cookie is valid for this page alone, and expires with the token.
        return hmac.new(self._token, self._cookie.encode(), hashlib.sha256).hexdigest()

    def _enter(self, request: web.Request, host: str) -> web.HTTPSeeOther:
        """Return the answer to a link with the right token: a cookie and a redirect to the page without the token."""
        answer = web.HTTPSeeOther(request.rel_url.without_query_params("token"))
        answer.set_cookie(
            self._cookie,
            self._cookie_value(),
            max_age=COOKIE_DAYS * 86400,
            httponly=True,
            # Over HTTP, as on this machine, browsers drop secure cookies.
            secure=self._guard.is_https and not self._guard.is_this_machine(host) and not is_address(host),
            # Lax: links from other sites open the page. Requests that change state need the page's Origin anyway.
            samesite="Lax",
        )
        return answer

    def _refusal(self, request: web.Request) -> NotAllowed:
        if not self._token:
            # Without a token the page is local, so only a proxy's headers can have caused this.
            return NotAllowed("refusal.web.proxied")
        return Unauthorized("refusal.web.token.wrong" if "token" in request.query else "refusal.web.token")


def is_address(host: str) -> bool:
    """Whether a ``Host`` header is an IP address, with or without a port."""
    try:
        ipaddress.ip_address(host_of(host))
    except ValueError:
        return False
    return True
