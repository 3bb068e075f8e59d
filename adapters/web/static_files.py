"""The page's own files, read and compressed once, and compression of other answers."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from bot.core.errors import NotFound

STATIC = Path(__file__).parent / "static"

LEAST_BYTES = 1024
"""Smaller answers are sent as they are: they fit into one packet anyway."""

MOST_BYTES = 512 * 1024
"""Larger answers are sent as they are: they hold pictures, which are compressed already."""

_GZIP = "gzip"
_COMPRESSIBLE = frozenset(
    {
        "application/json",
        "application/manifest+json",
        "image/svg+xml",
        "text/css",
        "text/html",
        "text/javascript",
    }
)
"""Media types that become smaller. Pictures and ZIPs are compressed already, and streams must not be held back. Metrics
(``text/plain``) are not compressed, since that needs a free thread."""


@dataclass(frozen=True, slots=True)
class _Variant:
    """A file as it is sent: its bytes, its ETag and its ``Content-Encoding`` (empty for none)."""

    body: bytes
    etag: str
    encoding: str = ""


class StaticFiles:
    """The files of a folder by name: no path is ever built from a request. Each is read at its first use."""

    def __init__(self, folder: Path = STATIC) -> None:
        self._paths: Mapping[str, Path] = {path.name: path for path in folder.iterdir() if path.is_file()}
        self._read: dict[str, tuple[_Variant, _Variant | None]] = {}

    def answer(self, request: web.Request, name: str) -> web.Response:
        """Return a file, compressed where the browser reads that; 304 where it has it already. Raises NotFound."""
        path = self._paths.get(name)
        if path is None:
            raise NotFound("refusal.web.not_found")
        plain, packed = self._variants(name, path)
        found = packed if packed is not None and accepts_gzip(request) else plain
        headers = {hdrs.ETAG: f'"{found.etag}"'}
        if packed is not None:
            headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
        if any(known.value in {"*", found.etag} for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        if found.encoding:
            headers[hdrs.CONTENT_ENCODING] = found.encoding
        return web.Response(body=found.body, content_type=_type_of(name), charset=_charset_of(name), headers=headers)

    def _variants(self, name: str, path: Path) -> tuple[_Variant, _Variant | None]:
        if (known := self._read.get(name)) is None:
            body = path.read_bytes()
            etag = hashlib.sha256(body).hexdigest()[:20]
            packed = gzip.compress(body, mtime=0) if _type_of(name) in _COMPRESSIBLE else body
            smaller = len(body) >= LEAST_BYTES and len(packed) < len(body)
            known = _Variant(body, etag), _Variant(packed, f"{etag}-gzip", _GZIP) if smaller else None
            self._read[name] = known
        return known


def _type_of(name: str) -> str:
    if name.endswith((".js", ".mjs")):
        return "text/javascript"  # some machines' tables say otherwise
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def _charset_of(name: str) -> str | None:
    return "utf-8" if _type_of(name).startswith("text/") else None


def accepts_gzip(request: web.Request) -> bool:
    """Whether ``Accept-Encoding`` allows gzip."""
    for part in request.headers.get(hdrs.ACCEPT_ENCODING, "").split(","):
        coding, _, parameters = part.strip().lower().partition(";")
        if coding.strip() in {_GZIP, "*"}:
            quality = parameters.replace(" ", "").removeprefix("q=")
            return quality.strip("0.") != "" or not quality
    return False


@web.middleware
async def compress(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Compress answers of text and JSON for those who read that; files and streams stay as they are."""
    response = await handler(request)
    if (
        isinstance(response, web.Response)
        and not response.prepared
        and response.content_type in _COMPRESSIBLE
        and hdrs.CONTENT_ENCODING not in response.headers
        and isinstance(response.body, bytes)
        and LEAST_BYTES <= len(response.body) <= MOST_BYTES
    ):
        response.headers.setdefault(hdrs.VARY, hdrs.ACCEPT_ENCODING)
        if accepts_gzip(request):
            response.enable_compression(web.ContentCoding.gzip)
    return response
