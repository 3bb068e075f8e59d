"""The HTTP handlers of signing in: the sign-in page, one-time links, invitations and passkeys."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from aiohttp import hdrs, web
from pydantic import Field

from adapters.web import pages
from adapters.web.access import AccessControl, browser_of
from adapters.web.errors import TooManyRequests, Unauthorized, status_of
from adapters.web.identity import identity_of, locale_of
from adapters.web.pages import HtmlPage, InputField, Words
from adapters.web.passkeys import PasskeyVerifier
from adapters.web.request_checks import Body, BodyReader
from adapters.web.routes import Role, Route
from bot.core.errors import NotAllowed, NotFound, Refusal
from bot.core.sign_in import NewSession, SignInLink, SignInMethod
from bot.studio import Studio

_MAX_NEXT = 512


class PasskeyBody(Body):
    """A browser's answer to the options of a passkey."""

    credential: dict[str, Any]
    name: str = Field("", max_length=64)


class NameBody(Body):
    """The name of a new account, which the browser shows with the passkey."""

    name: str = Field("", max_length=64)


class SignInHandlers:
    """Handlers that open sessions. Everybody may call them; attempts are limited by client and by name."""

    def __init__(self, studio: Studio, access: AccessControl, verifier: PasskeyVerifier, bodies: BodyReader) -> None:
        self._studio = studio
        self._access = access
        self._verifier = verifier
        self._bodies = bodies

    def routes(self) -> list[Route]:
        """Return the routes. GET never uses a link up: previews of chats fetch it too."""
        return [
            Route("GET", "/signin", self.page, Role.ANYONE),
            Route("POST", "/signin", self.sign_in, Role.ANYONE),
            Route("POST", "/signin/passkey/options", self.passkey_options, Role.ANYONE),
            Route("POST", "/signin/passkey", self.passkey, Role.ANYONE),
            Route("GET", "/enter/{token}", self.link_page, Role.ANYONE),
            Route("POST", "/enter/{token}", self.link, Role.ANYONE),
            Route("GET", "/invite/{token}", self.invitation_page, Role.ANYONE),
            Route("POST", "/invite/{token}", self.accept, Role.ANYONE),
            Route("POST", "/invite/{token}/passkey/options", self.invitation_options, Role.ANYONE),
            Route("POST", "/invite/{token}/passkey", self.accept_passkey, Role.ANYONE),
            Route("POST", "/signout", self.sign_out, Role.ANYONE),
        ]

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Return the sign-in page; who has a session already goes on to the page."""
        identity = identity_of(request)
        if identity is not None and identity.method is not SignInMethod.LOCAL:
            raise web.HTTPSeeOther(_next(request.query.get("next", "")))
        return self._sign_in_page(request, request.query.get("next", "")).response(locale_of(request))

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        """Sign in by name and password, or by the page's token, from the page's forms."""
        form = await self._bodies.form(request)
        following = _next(form.get("next", ""))
        try:
            opened = await self._opened(request, form)
        except Refusal as refusal:
            page = self._sign_in_page(request, following, refusal, login=form.get("login", ""))
            return self._refused_page(request, page, refusal)
        return self._entered(request, opened, following)

    async def _opened(self, request: web.Request, form: dict[str, str]) -> NewSession:
        accounts, login = self._studio.accounts, form.get("login", "")[:64].strip().lower()
        if token := form.get("token", "").strip():
            self._access.check_attempts(request)
            if not self._access.right_token(token):
                self._access.count_failure(request)
                raise Unauthorized("refusal.web.token.wrong")
            return await self._access.open_by_token(request)
        # By the name too: many clients may guess the password of one.
        with self._access.attempt(request, "refusal.password.wrong", f"login {login}"):
            return await accounts.passwords.sign_in(login, form.get("password", ""), **self._browser(request))

    async def passkey_options(self, request: web.Request) -> web.Response:
        """Return what the browser needs for a sign-in by passkey."""
        return web.json_response(self._verifier.sign_in_options(self._access.client_of(request)))

    async def passkey(self, request: web.Request) -> web.StreamResponse:
        """Sign in by passkey."""
        body = await self._bodies.json(request, PasskeyBody)
        self._access.check_attempts(request)
        passkeys = self._studio.accounts.passkeys
        try:
            found = await passkeys.find(str(body.credential.get("id", "")))
            count = self._verifier.verify(self._access.client_of(request), found, body.credential)
            opened = await passkeys.sign_in(found, count, **self._browser(request))
        except NotAllowed as refusal:
            if refusal.key in {"refusal.passkey.wrong", "refusal.passkey.unknown"}:
                self._access.count_failure(request)
            raise
        return self._opened_json(request, opened)

    async def link_page(self, request: web.Request) -> web.StreamResponse:
        """Return the page of a link from a chat, with a button that signs in."""
        self._access.check_attempts(request)
        words = self._words(request)
        try:
            link = await self._known(request, self._studio.accounts.sessions.find_link(_token(request)))
        except Refusal as refusal:
            return self._refused_page(request, HtmlPage(words("title")), refusal)
        button = pages.form(request.path, words("enter.button"), words=words)
        intro = self._text(request, "enter.intro", name=link.name or "?")
        return HtmlPage(words("title"), intro, parts=(button,)).response(locale_of(request))

    async def link(self, request: web.Request) -> web.StreamResponse:
        """Sign in by a link from a chat, once."""
        self._access.check_attempts(request)
        sessions = self._studio.accounts.sessions
        try:
            opened = await self._known(request, sessions.open_by_link(_token(request), **self._browser(request)))
        except Refusal as refusal:
            return self._refused_page(request, HtmlPage(self._words(request)("title")), refusal)
        return self._entered(request, opened, "/")

    async def invitation_page(self, request: web.Request) -> web.StreamResponse:
        """Return the page of an invitation: a form for a password, and a button for a passkey."""
        self._access.check_attempts(request)
        try:
            link = await self._known(request, self._studio.accounts.invitations.find(_token(request)))
        except Refusal as refusal:
            return self._refused_page(request, HtmlPage(self._words(request)("title")), refusal)
        return self._invitation_page(request, link, {"name": link.name}).response(locale_of(request))

    async def accept(self, request: web.Request) -> web.StreamResponse:
        """Set up a password by an invitation, and sign in."""
        self._access.check_attempts(request)
        form = await self._bodies.form(request)
        invitations = self._studio.accounts.invitations
        link = None
        try:
            link = await self._known(request, invitations.find(_token(request)))
            opened = await invitations.accept_with_password(
                _token(request),
                form.get("name", ""),
                form.get("login", ""),
                form.get("password", ""),
                **self._browser(request),
            )
        except Refusal as refusal:
            page = HtmlPage(self._words(request)("title"))
            if link is not None and not isinstance(refusal, NotFound):
                page = self._invitation_page(request, link, form, refusal)
            return self._refused_page(request, page, refusal)
        return self._entered(request, opened, "/")

    async def invitation_options(self, request: web.Request) -> web.Response:
        """Return what the browser needs for a new passkey by an invitation."""
        self._access.check_attempts(request)
        body = await self._bodies.json(request, NameBody)
        link = await self._known(request, self._studio.accounts.invitations.find(_token(request)))
        name = body.name.strip() or link.name or "Easel"
        client = self._access.client_of(request)
        return web.json_response(self._verifier.registration_options(client, f"invitation {link.id}", name))

    async def accept_passkey(self, request: web.Request) -> web.StreamResponse:
        """Set up a passkey by an invitation, and sign in."""
        self._access.check_attempts(request)
        body = await self._bodies.json(request, PasskeyBody)
        invitations = self._studio.accounts.invitations
        link = await self._known(request, invitations.find(_token(request)))
        passkey = self._verifier.register(
            self._access.client_of(request), f"invitation {link.id}", browser_of(request), body.credential
        )
        opened = await invitations.accept_with_passkey(_token(request), body.name, passkey, **self._browser(request))
        return self._opened_json(request, opened)

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        """End the browser's session, if it has one."""
        await self._studio.accounts.sessions.close(self._access.session_of(request))
        answer = web.Response(status=303, headers={hdrs.LOCATION: "/signin"})
        self._access.put_session(request, answer, "")
        return answer

    async def _known(self, request: web.Request, found: Awaitable[Any]) -> Any:
        """Await what a link's token finds; a wrong token counts as a failure of the client."""
        try:
            return await found
        except NotFound:
            self._access.count_failure(request)
            raise

    def _browser(self, request: web.Request) -> dict[str, str]:
        return {"browser": browser_of(request), "replaces": self._access.session_of(request)}

    def _entered(self, request: web.Request, opened: NewSession, following: str) -> web.Response:
        answer = web.Response(status=303, headers={hdrs.LOCATION: following, "Cache-Control": "no-store"})
        self._access.put_session(request, answer, opened.token)
        return answer

    def _opened_json(self, request: web.Request, opened: NewSession) -> web.Response:
        answer = web.json_response({"name": opened.name})
        self._access.put_session(request, answer, opened.token)
        return answer

    def _sign_in_page(
        self, request: web.Request, following: str, refusal: Refusal | None = None, *, login: str = ""
    ) -> HtmlPage:
        words = self._words(request)
        hidden = (("next", _next(following)),)
        token = InputField("token", "password", autocomplete="off")
        parts = [
            pages.passkey_button(
                "sign-in", "/signin/passkey", words("passkey.sign_in"), words, following=_next(following)
            ),
            pages.form(
                "/signin",
                words("button"),
                InputField("login", value=login, autocomplete="username webauthn", limits=(0, 64)),
                InputField("password", "password", autocomplete="current-password"),
                words=words,
                hidden=hidden,
            ),
            pages.more(words("owner"), pages.form("/signin", words("owner.button"), token, words=words, hidden=hidden)),
        ]
        problem = "" if refusal is None else self._sentence(request, refusal)
        return HtmlPage(words("title"), words("intro"), problem, tuple(parts), "sign_in.js")

    def _invitation_page(
        self, request: web.Request, link: SignInLink, filled: dict[str, str], refusal: Refusal | None = None
    ) -> HtmlPage:
        words = self._words(request)
        name = InputField("name", value=filled.get("name", ""), autocomplete="nickname", limits=(0, 40), required=False)
        fields = [
            *((name,) if link.account_id is None else ()),
            InputField("login", value=filled.get("login", ""), autocomplete="username", limits=(2, 40)),
            InputField("password", "password", autocomplete="new-password", limits=(10, 256)),
        ]
        parts = (
            pages.form(request.path, words("invite.button"), *fields, words=words),
            pages.passkey_button("register", f"{request.path}/passkey", words("passkey.register"), words),
        )
        problem = "" if refusal is None else self._sentence(request, refusal)
        intro = (
            words("invite.intro") if link.account_id is None else self._text(request, "invite.again", name=link.name)
        )
        return HtmlPage(words("invite.title"), intro, problem, parts, "sign_in.js")

    def _refused_page(self, request: web.Request, page: HtmlPage, refusal: Refusal) -> web.Response:
        problem = page.problem or self._sentence(request, refusal)
        shown = HtmlPage(page.title, page.intro, problem, page.parts, page.script)
        # A wrong password is no missing right: 401 as for a wrong token.
        status = 401 if refusal.key == "refusal.password.wrong" else status_of(refusal)
        answer = shown.response(locale_of(request), status)
        wait = refusal.params.get("wait")
        if isinstance(refusal, TooManyRequests) and isinstance(wait, int | float):
            answer.headers[hdrs.RETRY_AFTER] = str(int(wait) + 1)
        return answer

    def _sentence(self, request: web.Request, refusal: Refusal) -> str:
        return self._studio.refused(refusal, locale_of(request), "web").status

    def _text(self, request: web.Request, key: str, **params: str) -> str:
        return self._studio.text(f"sign_in.{key}", locale_of(request), **params)

    def _words(self, request: web.Request) -> Words:
        return lambda key: self._text(request, key)


def _token(request: web.Request) -> str:
    return request.match_info["token"]


def _next(path: str) -> str:
    """Return a path of this page to open after the sign-in; anything else becomes ``/``."""
    plain = len(path) <= _MAX_NEXT and path.isprintable() and not set(path) & set("\\ ")
    return path if plain and path.startswith("/") and not path.startswith("//") else "/"
