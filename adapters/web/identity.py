"""Who sits at the page: the person who runs this Easel, in the language of their browser."""

from __future__ import annotations

from aiohttp import web

from bot.core.messages import EventRef
from bot.core.people import Actor, Place

PLATFORM = "web"
PLACE = Place(platform=PLATFORM, guild=None, channel="page")


def locale_of(request: web.Request) -> str:
    """The first language of ``?lang=`` or of Accept-Language (browsers put the best one first) that Easel speaks."""
    for tag in (request.query.get("lang", ""), *request.headers.get("Accept-Language", "").split(",")):
        match tag.strip().lower()[:2]:
            case "zh":
                return "zh_CN"
            case "en":
                return "en"
    return "en"


def actor_of(request: web.Request) -> Actor:
    """Whoever reaches the page is its owner: it listens on this machine alone unless its owner opens it up."""
    return Actor(platform=PLATFORM, user_id="local", is_admin=True, is_owner=True, locale=locale_of(request))


def ref_of(key: str, digest: str) -> EventRef:
    """The event behind a request, named by the page's own key: sent twice, it is one job. The page keeps no message.

    ``digest`` is one of what is asked for: the same key for something else is refused.
    """
    return EventRef(event=f"{PLATFORM}:{key}", digest=digest)
