"""The HTTP handlers of one's own account (sessions, passkeys, password, keys), and of owners' invitations and keys."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from aiohttp import web
from pydantic import Field

from adapters.web.access import AccessControl
from adapters.web.identity import actor_of, identity_of, locale_of, place_of, ref_of, role_of
from adapters.web.inspection import VIEW
from adapters.web.passkeys import PasskeyVerifier, host_for
from adapters.web.render import Json, card_json
from adapters.web.request_checks import Body, BodyReader
from adapters.web.routes import Role, Route
from adapters.web.settings import WebSettings
from adapters.web.sign_in import PasskeyBody
from bot.commands.model import Invocation
from bot.core.cards import Card
from bot.core.errors import BadInput, NotAllowed
from bot.core.sign_in import ApiKey, Identity, SignInMethod
from bot.studio import Studio

PAGE = Path(__file__).parent / "static" / "account.html"


class IdBody(Body):
    """The number of a session, a passkey, a key or an invitation."""

    id: int = Field(ge=1, le=2**63 - 1)


class PasswordBody(Body):
    """An old and a new password."""

    old: str = Field(max_length=1024)
    new: str = Field(max_length=1024)


class KeyBody(Body):
    """A new API key. Owners may give it a rule (``20/day``), or a person to act as (``telegram:123``)."""

    name: str = Field(max_length=200)
    quota: str = Field("", max_length=200)
    person: str = Field("", max_length=200)


class LinkBody(Body):
    """A code that /link gave in a chat."""

    code: str = Field(min_length=1, max_length=40)


class FilesBody(Body):
    """How much of one's requests picture files tell; ``always`` leaves it to the operator."""

    recipe: Literal["always", "public", "never"]


class InvitationBody(Body):
    """A new invitation: see ``InvitationService.create``."""

    name: str = Field("", max_length=200)
    quota: str = Field("", max_length=200)
    person: str = Field("", max_length=200)
    days: int = Field(7, ge=1, le=90)


class AccountHandlers:
    """Handlers for ``/account`` and its API."""

    def __init__(
        self,
        settings: WebSettings,
        studio: Studio,
        access: AccessControl,
        verifier: PasskeyVerifier,
        bodies: BodyReader,
    ) -> None:
        self._settings = settings
        self._studio = studio
        self._access = access
        self._verifier = verifier
        self._bodies = bodies

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("GET", "/account", self.page, Role.MEMBER),
            Route("GET", "/api/account", self.show, Role.MEMBER),
            Route("POST", "/api/account/sessions/end", self.end_session, Role.MEMBER),
            Route("POST", "/api/account/sessions/end-all", self.end_all, Role.MEMBER),
            Route("POST", "/api/account/password", self.change_password, Role.MEMBER),
            Route("POST", "/api/account/passkeys/options", self.passkey_options, Role.MEMBER),
            Route("POST", "/api/account/passkeys", self.add_passkey, Role.MEMBER),
            Route("POST", "/api/account/passkeys/remove", self.remove_passkey, Role.MEMBER),
            Route("POST", "/api/account/keys", self.create_own_key, Role.MEMBER),
            Route("POST", "/api/account/keys/revoke", self.revoke_own_key, Role.MEMBER),
            Route("POST", "/api/account/link", self.link, Role.MEMBER),
            Route("POST", "/api/account/files", self.set_files, Role.MEMBER),
            Route("GET", "/api/invitations", self.invitations, Role.OWNER),
            Route("POST", "/api/invitations", self.invite, Role.OWNER),
            Route("POST", "/api/invitations/withdraw", self.withdraw, Role.OWNER),
            Route("GET", "/api/keys", self.keys, Role.OWNER),
            Route("POST", "/api/keys", self.create_key, Role.OWNER),
            Route("POST", "/api/keys/revoke", self.revoke_key, Role.OWNER),
        ]

    async def page(self, request: web.Request) -> web.StreamResponse:  # noqa: ARG002 - aiohttp's signature
        """Return the account's page."""
        # With no-referrer, browsers send a form's POST without its origin.
        return web.FileResponse(PAGE, headers={"Cache-Control": "no-cache", "Referrer-Policy": "same-origin"})

    async def show(self, request: web.Request) -> web.Response:
        """Return the account with its sessions, passkeys and keys, and the page's texts."""
        identity, locale = _identity(request), locale_of(request)
        accounts, found = self._studio.accounts, dict[str, object]()
        account_id = identity.account_id
        if account_id is not None and identity.session_id is not None:
            sessions = await accounts.sessions.list(account_id)
            found = {
                "login": await accounts.passwords.login_of(account_id),
                "sessions": [
                    {
                        "id": one.id,
                        "method": one.method.value,
                        "browser": one.browser,
                        "created_at": _time(one.created_at),
                        "used_at": _time(one.used_at),
                        "current": one.id == identity.session_id,
                    }
                    for one in sessions
                ],
                "passkeys": [
                    {
                        "id": one.id,
                        "name": one.name,
                        "host": one.host,
                        "created_at": _time(one.created_at),
                        "used_at": _time(one.used_at),
                    }
                    for one in await accounts.passkeys.list(account_id)
                ],
                "keys": [_key(key) for key in await accounts.keys.list_own(account_id)],
            }
        return web.json_response(
            {
                "lang": locale.replace("_", "-"),
                "name": identity.actor.name,
                "platform": identity.actor.platform,
                "method": identity.method.value,
                "role": role_of(identity).name.lower(),
                "place": identity.admin_of is not None,
                "recipe": self._studio.recipe_rule(identity.actor).value,
                "login": "",
                "sessions": [],
                "passkeys": [],
                "keys": [],
                **found,
                "may_add_passkey": self._may_add_passkey(request, identity),
                "may_make_keys": self._may_make_keys(identity),
                "texts": self._studio.texts("account.", locale),
            }
        )

    async def end_session(self, request: web.Request) -> web.Response:
        """End one of one's sessions."""
        body = await self._bodies.json(request, IdBody)
        await self._studio.accounts.sessions.end(_own(request), body.id)
        return web.json_response({})

    async def end_all(self, request: web.Request) -> web.Response:
        """End all of one's sessions, this one too."""
        await self._studio.accounts.sessions.end_all(_own(request))
        answer = web.json_response({})
        self._access.put_session(request, answer, "")
        return answer

    async def change_password(self, request: web.Request) -> web.Response:
        """Change one's password; all other sessions end."""
        identity, body = _identity(request), await self._bodies.json(request, PasswordBody)
        bucket = f"account {_own(request)}"
        with self._access.attempt(request, "refusal.password.old", bucket):
            await self._studio.accounts.passwords.change(
                _own(request), body.old, body.new, session_id=identity.session_id
            )
        return web.json_response({})

    async def passkey_options(self, request: web.Request) -> web.Response:
        """Return what the browser needs for a new passkey."""
        identity, client = _identity(request), self._access.client_of(request)
        account_id = _own(request)
        known = await self._studio.accounts.passkeys.list(account_id)
        name = identity.actor.name or "Easel"
        return web.json_response(self._verifier.registration_options(client, f"account {account_id}", name, known))

    async def add_passkey(self, request: web.Request) -> web.Response:
        """Store a new passkey of one's own."""
        body, account_id = await self._bodies.json(request, PasskeyBody), _own(request)
        passkey = self._verifier.register(
            self._access.client_of(request), f"account {account_id}", body.name, body.credential
        )
        await self._studio.accounts.passkeys.add(account_id, passkey)
        return web.json_response({}, status=201)

    async def remove_passkey(self, request: web.Request) -> web.Response:
        """Remove one of one's passkeys."""
        body = await self._bodies.json(request, IdBody)
        await self._studio.accounts.passkeys.remove(_own(request), body.id)
        return web.json_response({})

    async def create_own_key(self, request: web.Request) -> web.Response:
        """Create an API key that acts as oneself; the answer alone has it."""
        identity, body = _identity(request), await self._bodies.json(request, KeyBody)
        if body.quota or body.person:
            raise BadInput("refusal.key.quota")
        if not self._may_make_keys(identity):
            raise NotAllowed("refusal.key.owner")
        made = await self._studio.accounts.keys.create_own(actor_of(request), _own(request), body.name)
        return web.json_response({"key": made.key, **_key(made.info)}, status=201)

    async def revoke_own_key(self, request: web.Request) -> web.Response:
        """Revoke an API key that acts as oneself."""
        body = await self._bodies.json(request, IdBody)
        await self._studio.accounts.keys.revoke_own(actor_of(request), _own(request), body.id)
        return web.json_response({})

    async def link(self, request: web.Request) -> web.Response:
        """Join the account with that of a chat, by the code that /link gave there."""
        _own(request)
        body = await self._bodies.json(request, LinkBody)
        card = await self._command(request, "link", {"code": body.code})
        return web.json_response({"card": card_json(card)})

    async def set_files(self, request: web.Request) -> web.Response:
        """Set how much of one's requests picture files tell, as ``/settings`` in a chat does."""
        body = await self._bodies.json(request, FilesBody)
        await self._command(request, "settings", {"recipe": body.recipe})
        return web.json_response({})

    async def _command(self, request: web.Request, name: str, args: dict[str, str]) -> Card:
        actor = actor_of(request)
        ref = ref_of(actor, str(uuid.uuid4()), "")
        return await self._studio.command(
            Invocation(actor, place_of(request), self._studio.commands.by_name[name], ref, args)
        )

    async def invitations(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        """Return the invitations that are still valid."""
        found = await self._studio.accounts.invitations.list()
        return web.json_response(
            {
                "invitations": [
                    {"id": one.id, "name": one.name, "quota": one.quota, "expires_at": _time(one.expires_at)}
                    for one in found
                ]
            }
        )

    async def invite(self, request: web.Request) -> web.Response:
        """Create an invitation; the answer alone has its link."""
        body = await self._bodies.json(request, InvitationBody)
        token = await self._studio.accounts.invitations.create(
            actor_of(request), name=body.name, quota=body.quota, person=body.person, days=body.days
        )
        client = self._access.client_of(request)
        base = self._settings.public_link or f"{client.scheme}://{client.host}"
        return web.json_response({"url": f"{base.rstrip('/')}/invite/{token}"}, status=201)

    async def withdraw(self, request: web.Request) -> web.Response:
        """Make an invitation invalid."""
        body = await self._bodies.json(request, IdBody)
        await self._studio.accounts.invitations.withdraw(actor_of(request), body.id)
        return web.json_response({})

    async def keys(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        """Return all API keys."""
        return web.json_response({"keys": [_key(key) for key in await self._studio.accounts.keys.list_all()]})

    async def create_key(self, request: web.Request) -> web.Response:
        """Create an API key for anybody; the answer alone has it."""
        body = await self._bodies.json(request, KeyBody)
        made = await self._studio.accounts.keys.create(
            actor_of(request), body.name, quota=body.quota, person=body.person
        )
        return web.json_response({"key": made.key, **_key(made.info)}, status=201)

    async def revoke_key(self, request: web.Request) -> web.Response:
        """Revoke any API key."""
        body = await self._bodies.json(request, IdBody)
        await self._studio.accounts.keys.revoke(actor_of(request), str(body.id))
        return web.json_response({})

    def _may_make_keys(self, identity: Identity) -> bool:
        return identity.session_id is not None and (identity.actor.is_owner or self._settings.member_keys)

    def _may_add_passkey(self, request: web.Request, identity: Identity) -> bool:
        try:
            host_for(self._access.client_of(request))
        except BadInput:
            return False
        return identity.session_id is not None


def account_json(studio: Studio, request: web.Request) -> Json | None:
    """Return the name and the links of the person at the page, for its menu; None for programs.

    ``id`` names what the browser keeps for them, so that others who use it later do not get that.
    """
    identity, locale = identity_of(request), locale_of(request)
    if identity is None or identity.method is SignInMethod.KEY:
        return None
    name = identity.actor.name or studio.text(f"account.role.{role_of(identity).name.lower()}", locale)
    links = [
        {"label": studio.text("web.inspect", locale), "url": VIEW},
        {"label": studio.text("account.title", locale), "url": "/account"},
    ]
    if identity.actor.is_owner:
        links.append({"label": studio.text("account.owner", locale), "url": "/owner"})
    return {
        "id": f"{identity.actor.platform}:{identity.actor.user_id}",
        "name": name,
        "links": links,
        "owner": identity.actor.is_owner,
    }


def _identity(request: web.Request) -> Identity:
    identity = identity_of(request)
    assert identity is not None, "the route is for members"
    return identity


def _own(request: web.Request) -> int:
    """Return the account of who asks.

    Raises:
        NotAllowed: There is no session: this machine and the page's token have no account to manage, and an API key that
            leaks must not make further ways in.
    """
    identity = _identity(request)
    if identity.account_id is None or identity.session_id is None:
        raise NotAllowed("refusal.account.session")
    return identity.account_id


def _key(key: ApiKey) -> Json:
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "account": f"{key.platform}:{key.user_id}",
        "created_at": _time(key.created_at),
        "used_at": _time(key.used_at),
        "revoked_at": _time(key.revoked_at),
    }


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
