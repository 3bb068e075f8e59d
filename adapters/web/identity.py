"""The page's actor and locale: the owner of this Easel, in the language of their browser."""

from __future__ import annotations

from aiohttp import web

from bot.core.messages import EventRef
from bot.core.people import Actor, Place

NAME = "web"
PLACE = Place(platform=NAME, guild=None, channel="page")


def locale_of(request: web.Request) -> str:
    """Return the first supported language of ``?lang=`` or Accept-Language (browsers put the best one first)."""
    for tag in (request.query.get("lang", ""), *request.headers.get("Accept-Language", "").split(",")):
        match tag.strip().lower()[:2]:
            case "zh":
                return "zh_CN"
            case "en":
                return "en"
    return "en"


def actor_of(request: web.Request) -> Actor:
    """Return the owner: every request that was let in is the owner's."""
    return Actor(platform=NAME, user_id="local", is_admin=True, is_owner=True, locale=locale_of(request))


def place_of(request: web.Request) -> Place:  # noqa: ARG001 - every request comes from the page
    """Return the place that the request comes from."""
    return PLACE


def ref_of(actor: Actor, key: str, digest: str) -> EventRef:
    """Return the event of a request, named by its idempotency key. The page has no message address.

    Args:
        actor: Who asks; the keys of two people never meet.
        key: The request's idempotency key.
        digest: Identifies the request: the same key with another digest is refused.
    """
    return EventRef(event=f"{NAME}:{actor.platform}:{actor.user_id}:{key}", digest=digest)
