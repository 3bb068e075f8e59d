"""Errors as one JSON sentence in the person's language, with the HTTP status."""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Callable, Mapping
from types import MappingProxyType

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from adapters.web.identity import locale_of
from bot.core.errors import BadInput, Conflict, NotAllowed, NotFound, OverQuota, Refusal, Unavailable
from bot.studio import Studio

log = logging.getLogger(__name__)

RETRY_SECONDS = 60
"""Default of ``Retry-After`` for status 429."""


class Unauthorized(NotAllowed):
    """The request carries no token, or a wrong one."""


class TooManyRequests(NotAllowed):
    """The client or the person has sent too many requests."""


class RequestTimeout(BadInput):
    """The body arrived too slowly."""


class LengthRequired(BadInput):
    """The body has no length."""


class BodyTooLarge(BadInput):
    """The body exceeds the limit of this address."""


class Unsupported(BadInput):
    """This address does not accept the body's content type."""


class RangeRefused(BadInput):
    """A range was requested of a file that is sent only as a whole."""


_STATUS: Mapping[type[Refusal], int] = {
    BadInput: 400,
    Unauthorized: 401,
    NotAllowed: 403,
    NotFound: 404,
    RequestTimeout: 408,
    Conflict: 409,
    LengthRequired: 411,
    BodyTooLarge: 413,
    Unsupported: 415,
    RangeRefused: 416,
    TooManyRequests: 429,
    OverQuota: 429,
    Unavailable: 503,
}
_HTTP: Mapping[int, Refusal] = {
    404: NotFound("refusal.web.not_found"),
    405: BadInput("refusal.web.method"),
}


def status_of(refusal: Refusal) -> int:
    """Return the HTTP status of a refusal: that of its class, or of its nearest base class with one."""
    return next((_STATUS[kind] for kind in type(refusal).__mro__ if kind in _STATUS), 400)


def _let_go(error: BaseException) -> None:
    """Clear the frames of an exception: reference cycles would keep the request's body in memory for a while."""
    current: BaseException | None = error
    while current is not None:
        traceback.clear_frames(current.__traceback__)
        current = current.__context__


_BEGUN = web.RequestKey("answer_begun", bool)


async def mark_begun(request: web.Request, response: web.StreamResponse) -> None:  # noqa: ARG001 - aiohttp's signature
    """Note that the answer to a request has begun; from then on it can't become an error."""
    request[_BEGUN] = True


def _broken_off(request: web.Request) -> web.Response:
    """Cut the connection, so that no client takes a part of an answer for the whole; what is returned is not sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


ErrorForm = Callable[[Refusal, str, int], web.Response]
"""Makes the answer to a refusal of the refusal, its sentence and the status; the answer may have another status."""


def _logged_path(request: web.Request) -> str:
    """Return the path, for the log; where it has the token of a link, the route's path."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None and "token" in request.match_info else request.rel_url.raw_path


class ErrorMiddleware:
    """Turns exceptions of handlers into answers. Unexpected ones are logged and answered with status 500."""

    def __init__(self, studio: Studio, forms: Mapping[str, ErrorForm] = MappingProxyType({})) -> None:
        """Args:
        studio: Has the sentences.
        forms: How answers look below other paths than the page's own API, by the paths' beginning.
        """
        self._studio = studio
        self._forms = forms

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer instead of raising."""
        try:
            return await handler(request)
        except Refusal as refusal:
            _let_go(refusal)
            if _BEGUN in request:
                log.info("an answer to %s %s broke off (%s)", request.method, _logged_path(request), refusal.key)
                return _broken_off(request)
            return self._answer(request, refusal, status_of(refusal))
        except web.HTTPException as error:
            if error.status not in _HTTP:
                raise
            answer = self._answer(request, _HTTP[error.status], error.status)
            if "Allow" in error.headers:
                answer.headers["Allow"] = error.headers["Allow"]
            return answer
        except (ConnectionResetError, BrokenPipeError):
            return web.Response(status=400)  # the client has disconnected
        except Exception:
            # The path alone: the query may hold a search.
            log.exception("the page could not answer %s %s", request.method, _logged_path(request))
            if _BEGUN in request:
                return _broken_off(request)
            return self._answer(request, Unavailable("error.web"), 500)

    def _answer(self, request: web.Request, refusal: Refusal, status: int) -> web.Response:
        sentence = self._studio.refused(refusal, locale_of(request), "web").status
        form = next((form for path, form in self._forms.items() if request.path.startswith(path)), None)
        if form is not None:
            answer = form(refusal, sentence, status)
        elif "text/html" in request.headers.get("Accept", ""):  # the browser shows the answer itself
            answer = web.Response(text=sentence, status=status)
        else:
            answer = web.json_response({"error": {"key": refusal.key, "text": sentence}}, status=status)
        wait = refusal.params.get("wait")
        if isinstance(wait, int | float):
            answer.headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(wait)))
        elif status == 429:
            answer.headers[hdrs.RETRY_AFTER] = str(RETRY_SECONDS)
        if status == 401:
            answer.headers.setdefault(hdrs.WWW_AUTHENTICATE, "Bearer")
        return answer
