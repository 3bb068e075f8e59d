"""Who asks, from which place, and in which language."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from adapters.web.routes import Role
from bot.core.errors import NotAllowed, NotFound
from bot.core.messages import EventRef
from bot.core.people import Actor, Place
from bot.core.sign_in import Identity

NAME = "web"
PLACE = Place(platform=NAME, guild=None, channel="page")

_IDENTITY = web.RequestKey("identity", Identity)


def locale_of(request: web.Request) -> str:
    """Return the first supported language of ``?lang=`` or Accept-Language (browsers put the best one first)."""
    for tag in (request.query.get("lang", ""), *request.headers.get("Accept-Language", "").split(",")):
        match tag.strip().lower()[:2]:
            case "zh":
                return "zh_CN"
            case "en":
                return "en"
    return "en"


def remember_identity(request: web.Request, identity: Identity | None) -> None:
    """Keep whom a request acts as; the access control alone calls this."""
    if identity is not None:
        request[_IDENTITY] = identity


def identity_of(request: web.Request) -> Identity | None:
    """Return whom a request acts as; None where nobody is signed in."""
    return request.get(_IDENTITY)


def role_of(identity: Identity | None) -> Role:
    """Return the role of somebody who is signed in, or of nobody."""
    if identity is None:
        return Role.ANYONE
    if identity.actor.is_owner:
        return Role.OWNER
    return Role.MEMBER if identity.admin_of is None else Role.ADMIN


def actor_of(request: web.Request) -> Actor:
    """Return the account that a request acts as, in the request's language.

    Raises:
        NotAllowed: Nobody is signed in. The routes of members, admins and owners never see that.
    """
    identity = identity_of(request)
    if identity is None:
        raise NotAllowed("refusal.web.token")
    return replace(identity.actor, locale=locale_of(request))


def place_of(request: web.Request) -> Place:  # noqa: ARG001 - every request comes from the page
    """Return the place that the request comes from."""
    return PLACE


def admin_of(request: web.Request) -> tuple[Actor, Place]:
    """Return the account as an admin, with the place whose admin it is. Raises NotFound where it is none's."""
    identity = identity_of(request)
    if identity is None or identity.admin_of is None:
        raise NotFound("refusal.web.place")
    return replace(identity.actor, is_admin=True, locale=locale_of(request)), identity.admin_of


def ref_of(actor: Actor, key: str, digest: str) -> EventRef:
    """Return the event of a request, named by its idempotency key. The page has no message address.

    Args:
        actor: Who asks; the keys of two people never meet.
        key: The request's idempotency key.
        digest: Identifies the request: the same key with another digest is refused.
    """
    return EventRef(event=f"{NAME}:{actor.platform}:{actor.user_id}:{key}", digest=digest)
