"""Every fault as one JSON sentence in the person's language, with the status that fits it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from aiohttp import web

from adapters.web.guard import Handler
from adapters.web.identity import locale_of
from bot.model.errors import BadInput, NotAllowed, NotFound, OverQuota, Refusal, Unavailable
from bot.studio import Studio

log = logging.getLogger(__name__)

MAX_BODY = 64 * 1024
"""Bytes; the longest prompt in UTF-8 takes under 40,000."""

MAX_PICTURES_BODY = 48 * 2**20
"""Bytes of a request with a picture to start from and its mask: 35 MiB of files, which base64 makes a third longer."""

WITH_PICTURES = "/api/draw"
"""The one address that pictures are sent to."""

_STATUS: Mapping[type[Refusal], int] = {
    BadInput: 400,
    NotAllowed: 403,
    NotFound: 404,
    OverQuota: 429,
    Unavailable: 503,
}
_HTTP: Mapping[int, Refusal] = {
    404: NotFound("refusal.web.not_found"),
    405: BadInput("refusal.web.method"),
}


def limit_of(request: web.Request) -> int:
    """How many bytes the body of this request may have."""
    return MAX_PICTURES_BODY if request.path == WITH_PICTURES else MAX_BODY


class Faults:
    """Turns what handlers raise into answers; what nobody expected goes to the log and becomes a plain apology."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer instead of raising."""
        try:
            return await handler(request)
        except Refusal as refusal:
            return self._answer(request, refusal, _STATUS.get(type(refusal), 400))
        except web.HTTPRequestEntityTooLarge as error:
            too_large = BadInput("refusal.web.too_large", limit=limit_of(request) // 1024)
            return self._answer(request, too_large, error.status)
        except web.HTTPException as error:
            if error.status not in _HTTP:
                raise
            answer = self._answer(request, _HTTP[error.status], error.status)
            if "Allow" in error.headers:
                answer.headers["Allow"] = error.headers["Allow"]
            return answer
        except (ConnectionResetError, BrokenPipeError):
            return web.Response(status=400)  # the browser has left: nobody is there to be answered
        except Exception:
            log.exception("the page could not answer %s %s", request.method, request.rel_url.raw_path)
            return self._answer(request, Unavailable("error.web"), 500)

    def _answer(self, request: web.Request, refusal: Refusal, status: int) -> web.Response:
        sentence = self._studio.refused(refusal, locale_of(request)).status
        if "text/html" in request.headers.get("Accept", ""):  # somebody reads it in the window itself
            return web.Response(text=sentence, status=status)
        return web.json_response({"error": {"key": refusal.key, "text": sentence}}, status=status)
