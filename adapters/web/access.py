"""Access control: who asks (this machine, a session, an API key or the page's token), and whether their role suffices.

Without credentials the peer address decides; headers only refuse. Behind a proxy on this machine, every request seems to
come from this machine. So with EASEL_WEB_PUBLIC_URL, EASEL_WEB_HOSTS or EASEL_WEB_TRUSTED_PROXIES everybody signs in, and
a request with a proxy's headers is never local.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
import secrets
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from yarl import URL

from adapters.web.client_address import ClientAddress, ProxyTrust, parse_ip
from adapters.web.errors import TooManyRequests, Unauthorized
from adapters.web.identity import remember_identity, role_of
from adapters.web.rate_limits import RateLimit
from adapters.web.request_checks import SAFE_METHODS, Guard, host_of
from adapters.web.routes import Role, RouteTable
from adapters.web.settings import TOKEN_FILE, WebSettings
from bot.core.errors import BadInput, NotAllowed, Refusal
from bot.core.sign_in import KEY_PREFIX, PAGE_OWNER, Identity, NewSession, SignInMethod
from bot.studio import Studio

COOKIE_SECONDS = 90 * 86400
"""How long a browser keeps the session's cookie; the session may end sooner."""

FAILURES, FAILURES_PER_MINUTE = 10, 2
"""Wrong tokens, keys and passwords of one client at once, and per minute in the long run."""

READS, READS_PER_MINUTE = 6000, 6000
WRITES, WRITES_PER_MINUTE = 120, 120
"""Requests of one person at once, and per minute. Scrolling fast through thousands of pictures reads each thumbnail."""

RECHECK_SECONDS = 20.0
"""Seconds between two checks that the sender of a long request is still signed in."""

_METRICS = "/metrics"
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
    """Decides every request: its host and origin, who asks, the role that its route needs, and how often they ask."""

    def __init__(self, settings: WebSettings, studio: Studio, token: str, table: RouteTable) -> None:
        """Args:
        settings: The page's addresses.
        studio: Knows sessions and API keys, and counts refusals.
        token: The token of the page's owner; empty if there is none.
        table: Knows the role that each route needs.
        """
        self._table = table
        self._studio = studio
        self._guard = Guard(settings)
        self._public_link = settings.public_link
        self._proxies = ProxyTrust(settings.proxies, settings.scheme)
        self._token = token
        # Behind the operator's proxy, the peer address does not identify the client.
        self._proxied = settings.proxied
        # Cookies ignore ports: another Easel on this host needs a cookie of another name.
        self._cookie = f"easel_{settings.port}"
        self.failures = RateLimit(FAILURES_PER_MINUTE, FAILURES)
        """Limits wrong tokens, keys and passwords by client."""
        self._reads = RateLimit(READS_PER_MINUTE, READS)
        self._writes = RateLimit(WRITES_PER_MINUTE, WRITES)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse forbidden requests; raises Unauthorized, NotAllowed and TooManyRequests."""
        client = self._proxies.client_of(request)
        self._check_source(request, client)
        role = self._table.role_of(request)
        try:
            identity = await self._identify(request, client)
        except Refusal as refusal:
            if role is not Role.ANYONE:
                if refusal.key.startswith("refusal.banned"):
                    self._studio.count_refused("banned")
                raise
            identity = None
        remember_identity(request, identity)
        if request.path == "/" and self._token and "token" in request.query and self._matches(request, client):
            raise await self._enter(request)
        self._check_role(request, identity, role)
        if identity is not None and identity.method is not SignInMethod.LOCAL:
            self._check_rate(request, identity)
        if role is Role.ANYONE:
            return await handler(request)
        async with self._watched(request, client):
            return await handler(request)

    def origin_of(self, request: web.Request) -> str:
        """Return how the client has called the page, such as ``https://easel.example``."""
        client = self.client_of(request)
        public = URL(self._public_link)
        # A proxy that is not trusted is not believed about the scheme; the public address is the operator's word.
        if public.host is not None and public.host.rstrip(".").lower() == host_of(client.host):
            return str(public.origin())
        return f"{client.scheme}://{client.host}"

    def client_of(self, request: web.Request) -> ClientAddress:
        """Return where a request comes from."""
        return self._proxies.client_of(request)

    def session_of(self, request: web.Request) -> str:
        """Return the token in the session's cookie; empty without one."""
        return self._session(request, self.client_of(request))

    def put_session(self, request: web.Request, answer: web.StreamResponse, token: str) -> None:
        """Add the session's cookie to an answer; with an empty token, remove it from the browser."""
        client = self.client_of(request)
        secure = self._is_secure(client)
        answer.set_cookie(
            self._cookie_name(client),
            token,
            max_age=COOKIE_SECONDS if token else 0,
            httponly=True,
            # Over HTTP, as on this machine, browsers drop secure cookies.
            secure=secure,
            # Lax: links from other sites open the page. Requests that change state need the page's Origin anyway.
            samesite="Lax",
        )

    @contextmanager
    def attempt(self, request: web.Request, wrong: str, *more: str) -> Iterator[None]:
        """Count what the block checks as a failure from its beginning, so that guesses side by side are limited too.

        Args:
            request: The request.
            wrong: Key of the refusal for a wrong secret. Without this refusal, the failure is taken back.
            more: Further keys that failures are counted by.

        Raises:
            TooManyRequests: The client, or one of the further keys, has failed too often.
        """
        self.check_attempts(request, *more)
        keys = (self.client_of(request).bucket, *more)
        for key in keys:
            self.failures.take(key)
        failed = False
        try:
            yield
        except Refusal as refusal:
            failed = refusal.key == wrong
            raise
        finally:
            if failed:
                self._studio.count_refused("credentials")
            else:
                for key in keys:
                    self.failures.give_back(key)

    def check_attempts(self, request: web.Request, *more: str) -> None:
        """Raise TooManyRequests if the client, or one of the further keys, has failed too often."""
        wait = max(self.failures.wait(key) for key in (self.client_of(request).bucket, *more))
        if wait:
            self._studio.count_refused("rate")
            raise TooManyRequests("refusal.web.attempts", wait=wait)

    def count_failure(self, request: web.Request, *more: str) -> None:
        """Count a wrong token, key or password."""
        self._studio.count_refused("credentials")
        for key in (self.client_of(request).bucket, *more):
            self.failures.take(key)

    def _check_source(self, request: web.Request, client: ClientAddress) -> None:
        # DNS rebinding can't change where an IP address leads. So with a token, every IP address is an accepted name.
        known = bool(self._token) and is_address(client.host)
        try:
            self._guard.check_host(client.host, known=known)
        except NotAllowed:
            self._studio.count_refused("host")
            raise
        try:
            cookie = self._cookie_name(client) in request.cookies
            self._guard.check_origin(request, client.host, client.scheme, cookie=cookie)
        except NotAllowed:
            self._studio.count_refused("origin")
            raise

    async def _identify(self, request: web.Request, client: ClientAddress, *, limited: bool = True) -> Identity | None:
        """Return whom a request acts as: by its API key, else by its session or the page's token, else by its address.

        Args:
            request: The request.
            client: Where it comes from.
            limited: Whether wrong secrets count as failures, and too many of them refuse a token.
        """
        accounts = self._studio.accounts
        secret = secret_of(request)
        if secret.startswith(KEY_PREFIX):
            # Nobody guesses a key: a right one works, however many wrong ones its network has sent.
            identity = await accounts.keys.identity(secret)
            if identity is None:
                if limited:
                    self.check_attempts(request)
                    self.count_failure(request)
                raise Unauthorized("refusal.web.key")
            return identity
        # Before the token: nobody may try tokens beside a session that makes each of them succeed.
        if session := self._session(request, client):
            identity = await accounts.sessions.identity(session, self._token)
            if identity is not None:
                return identity
        # From here on nothing is awaited: guesses side by side are counted one after the other.
        if secret and self._token:
            if limited:
                self.check_attempts(request)
            if self._right(secret):
                return _owner(SignInMethod.TOKEN)
        if self.is_local(request, client):
            return _owner(SignInMethod.LOCAL)
        if secret and self._token and limited:
            self.count_failure(request)
        return None

    def is_local(self, request: web.Request, client: ClientAddress) -> bool:
        """Whether a request needs no sign-in: its peer is this machine, and it passed no known proxy."""
        if not client.is_loopback or client.forwarded:
            return False
        return not self._proxied or (request.path == _METRICS and self._guard.is_this_machine(client.host))

    def _check_role(self, request: web.Request, identity: Identity | None, role: Role) -> None:
        if role_of(identity) >= role:
            return
        if identity is None:
            self._studio.count_refused("signed_out")
            if self._token and request.method in SAFE_METHODS and _shows_pages(request):
                raise web.HTTPSeeOther(URL("/signin").with_query(next=str(request.rel_url)))
            raise self._refusal(request)
        self._studio.count_refused("role")
        raise NotAllowed("refusal.web.role.admin" if role is Role.ADMIN else "refusal.web.role.owner")

    def _check_rate(self, request: web.Request, identity: Identity) -> None:
        limit = self._reads if request.method in SAFE_METHODS else self._writes
        if wait := limit.take(f"{identity.actor.platform}:{identity.actor.user_id}"):
            self._studio.count_refused("rate")
            raise TooManyRequests("refusal.web.rate", wait=wait)

    @asynccontextmanager
    async def _watched(self, request: web.Request, client: ClientAddress) -> AsyncIterator[None]:
        """Disconnect a long request, such as a stream of events, once its sender is no longer signed in."""
        watch = asyncio.create_task(self._watch(request, client), name="web access")
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _watch(self, request: web.Request, client: ClientAddress) -> None:
        role = self._table.role_of(request)
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            try:
                allowed = role_of(await self._identify(request, client, limited=False)) >= role
            except NotAllowed:
                allowed = False
            except Refusal:
                continue  # the database can't be read at the moment
            if not allowed and request.transport is not None:
                request.transport.abort()
                return

    def _matches(self, request: web.Request, client: ClientAddress) -> bool:
        self.check_attempts(request)
        if self._right(request.query["token"]):
            return True
        if not self.is_local(request, client):
            self.count_failure(request)
        return False

    def right_token(self, token: str) -> bool:
        """Whether this is the page's token."""
        return bool(self._token) and self._right(token)

    def _right(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(errors="replace"), self._token.encode())

    def _is_secure(self, client: ClientAddress) -> bool:
        if client.scheme == "https":
            return True
        # A proxy that is not trusted is not believed about the scheme; the public address is the operator's word.
        return self._guard.is_https and not self._guard.is_this_machine(client.host) and not is_address(client.host)

    def _cookie_name(self, client: ClientAddress) -> str:
        # Browsers accept a cookie of that prefix from this very host over HTTPS alone.
        return f"__Host-{self._cookie}" if self._is_secure(client) else self._cookie

    def _session(self, request: web.Request, client: ClientAddress) -> str:
        return request.cookies.get(self._cookie_name(client), "")

    async def _enter(self, request: web.Request) -> web.HTTPSeeOther:
        """Return the answer to a link with the right token: a session and a redirect to the page without the token."""
        answer = web.HTTPSeeOther(request.rel_url.without_query_params("token"))
        opened = await self.open_by_token(request)
        self.put_session(request, answer, opened.token)
        return answer

    async def open_by_token(self, request: web.Request) -> NewSession:
        """Open a session of the page's owner, whose request has brought the right token."""
        return await self._studio.accounts.sessions.open_by_token(
            self._token, browser=browser_of(request), replaces=self.session_of(request)
        )

    def _refusal(self, request: web.Request) -> Refusal:
        if not self._token:
            # Without a token the page is local, so only a proxy's headers can have caused this.
            return NotAllowed("refusal.web.proxied")
        return Unauthorized("refusal.web.token.wrong" if "token" in request.query else "refusal.web.token")


def _shows_pages(request: web.Request) -> bool:
    """Whether a browser shows the answer to a person who followed a link."""
    return "text/html" in request.headers.get(hdrs.ACCEPT, "") and "token" not in request.query


def _owner(method: SignInMethod) -> Identity:
    return Identity(PAGE_OWNER, method)


def secret_of(request: web.Request) -> str:
    """Return the secret of the ``Authorization`` header: a bearer token, or the password of HTTP basic."""
    kind, _, value = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
    return ""


_BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrom", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)


def browser_of(request: web.Request) -> str:
    """Return the browser's and the system's name, such as ``Firefox, Linux``, as far as its header tells."""
    agent = request.headers.get(hdrs.USER_AGENT, "")
    found = (next((name for mark, name in names if mark in agent), "") for names in (_BROWSERS, _SYSTEMS))
    return ", ".join(name for name in found if name)


def is_address(host: str) -> bool:
    """Whether a ``Host`` header is an IP address, with or without a port."""
    return parse_ip(host_of(host)) is not None
