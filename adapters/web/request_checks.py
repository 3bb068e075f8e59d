"""Checks of requests: Host against DNS rebinding, Origin against other sites, and bodies within limits of size, time and memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeVar
from urllib.parse import parse_qsl

from aiohttp import BadContentDispositionHeader, BodyPartReader, MultipartReader, hdrs, web
from aiohttp.http import HttpProcessingError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json
from yarl import URL

from adapters.web.errors import BodyTooLarge, LengthRequired, RequestTimeout, Unsupported
from adapters.web.render import shown
from adapters.web.settings import EVERYWHERE, WebSettings
from bot.core.errors import BadInput, NotAllowed, Unavailable
from bot.core.requests import MAX_PICTURE_BYTES, MAX_PICTURES_BYTES, DrawForm

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names of this machine for itself."""

SAFE_METHODS = frozenset({"GET", "HEAD"})
"""Methods of requests that change nothing."""

_OWN_SITE = frozenset({"", "same-origin", "none"})


def _url(text: str) -> URL | None:
    try:
        return URL(text)
    except ValueError:
        return None


class Guard:
    """Checks the headers of requests.

    DNS rebinding makes an attacker's name resolve to this machine, so only this machine's names and the settings' names
    are accepted. Wildcard addresses (``0.0.0.0``, ``::``) are no names.
    """

    def __init__(self, settings: WebSettings) -> None:
        public = _url(settings.public_url or "")
        own = {*LOCAL, settings.host.lower(), *settings.hosts} - EVERYWHERE
        self._public_names = frozenset(settings.hosts)
        self._public: tuple[str, str] | None = None
        if public is not None and public.scheme and public.host:
            self._public = public.scheme, public.authority.lower()
            own.add(public.host.rstrip(".").lower())
        self._names = frozenset(own - {""})
        self.is_https = public is not None and public.scheme == "https"
        """Whether the public address is HTTPS."""

    def knows(self, host: str) -> bool:
        """Whether the ``Host`` header is one of this Easel's names."""
        return host_of(host) in self._names

    def is_this_machine(self, host: str) -> bool:
        """Whether the ``Host`` header is one of this machine's names for itself."""
        return host_of(host) in LOCAL

    def is_own(self, origin: str | None, site: str, host: str, scheme: str = "http") -> bool:
        """Whether a request that changes state comes from this page, or from no browser.

        Args:
            origin: The ``Origin`` header, if there is one.
            site: The ``Sec-Fetch-Site`` header, or an empty text.
            host: The ``Host`` header.
            scheme: The scheme by which the page was called.
        """
        if site not in _OWN_SITE:
            return False
        if origin is None:
            return True
        url = _url(origin)
        if url is None or not url.host or url.scheme not in {"http", "https"}:
            return False
        # yarl's authority always has a port.
        authority = url.authority.lower()
        called = _url(f"{scheme}://{host}") or URL()
        if authority == called.authority.lower() or (url.scheme, authority) == self._public:
            return True
        # A proxy may hand on another Host than the browser's.
        return url.scheme == "https" and url.host.rstrip(".").lower() in self._public_names

    def check_host(self, host: str, *, known: bool = False) -> None:
        """Refuse a ``Host`` header with an unknown name, unless it is ``known`` for another reason. Raises NotAllowed."""
        if not known and not self.knows(host):
            raise NotAllowed("refusal.web.host", host=shown(host))

    def check_origin(self, request: web.Request, host: str, scheme: str, *, cookie: bool = False) -> None:
        """Refuse requests of other sites that change state.

        Args:
            request: The request.
            host: Its ``Host`` header.
            scheme: The scheme by which the page was called.
            cookie: Whether it brings a session's cookie. Then it comes from a browser, which says its origin.

        Raises:
            NotAllowed: Another site sent the request, or nothing says which site did.
        """
        if request.method in SAFE_METHODS:
            return
        origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", "")
        if (cookie and origin is None and not site) or not self.is_own(origin, site, host, scheme):
            raise NotAllowed("refusal.web.origin")


def host_of(header: str) -> str:
    """Return the name in a ``Host`` header, in lower case and without a trailing dot; empty if it is malformed."""
    url = _url(f"http://{header}") if header and not set(header) & set("/?#@\\") else None
    return (url.host or "").rstrip(".").lower() if url is not None else ""


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the security headers to a response."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    # The page's own files are revalidated each time (cheap, by ETag), so that an update never mixes versions.
    # Everything else is private, and no shared cache may store it.
    own = request.path == "/" or request.path.startswith(("/static/", "/favicon.ico"))
    response.headers.setdefault("Cache-Control", "no-cache" if own else "private, no-cache")


MAX_JSON = 64 * 1024
"""Most bytes of a JSON body. The longest prompt takes under 40,000 in UTF-8; parsing takes about a millisecond."""

MAX_PICTURE = MAX_PICTURE_BYTES
MAX_MULTIPART = MAX_PICTURES_BYTES
"""Most bytes of a multipart body: a picture and its mask or reference pictures, and the text fields."""

MAX_ALL = 64 * 2**20
"""Most bytes of all multipart bodies in memory; further bodies wait in their sockets."""

WAIT_SECONDS = 20.0
"""Seconds that a multipart body waits for memory before it is refused."""

BODY_SECONDS = 10.0
"""Seconds that a body may take to arrive, plus one second for each RATE bytes."""

RATE = 128 * 1024
"""Bytes per second. Slower uploads are aborted, since they hold memory that others wait for."""

MAX_LARGE_JSON = 48 * 2**20
"""Most bytes of a JSON body with pictures in base64: a picture of MAX_PICTURE bytes, and its mask."""

MOST_VALUES = 100_000
"""Most values in a large JSON body: as objects, each of two bytes (``{}``) takes 70 in memory."""

_CHUNK = 256 * 1024
_MAX_PARTS = 32
_FILES = ("image", "mask")
_REFERENCES = "references"
_FILE = "file"
_NUMBERS = frozenset({"count", "seed", "steps", "guidance", "strength", "clip_skip", "control_weight"})
_MULTIPART = "multipart/form-data"
_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"

Form = TypeVar("Form", bound=BaseModel)
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{8,64}$")]


class Body(BaseModel):
    """A JSON body: unknown fields are refused, and types are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class DrawBody(Body):
    """The text fields of a request as typed. ``key`` is its idempotency key."""

    key: Key
    prompt: str
    size: str | None = None
    count: str | None = None
    seed: str | None = None
    steps: str | None = None
    guidance: str | None = None
    negative: str | None = None
    model: str | None = None
    style: str | None = None
    strength: str | None = None
    sampler: str | None = None
    clip_skip: str | None = None
    control: str | None = None
    control_weight: str | None = None
    lora: str | None = None
    parent: str | None = None
    label: Literal["yes"] | None = None


class PressBody(Body):
    """A button of a card."""

    key: Key
    id: str


@dataclass(frozen=True, slots=True)
class Sent:
    """A request for pictures: its fields, the files of the source picture and its mask, and the reference pictures."""

    fields: DrawBody
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    references: Sequence[bytes] = field(default=(), repr=False)

    def form(self) -> DrawForm:
        """Return the request as a DrawForm."""
        return DrawForm(
            **self.fields.model_dump(exclude={"key", "label"}),
            label=self.fields.label is not None or None,
            image=self.files.get("image"),
            mask=self.files.get("mask"),
            references=tuple(self.references),
        )

    async def digest(self) -> str:
        """Return a digest of everything but the key."""
        # Hashing 32 MiB takes up to a tenth of a second: in a thread.
        return await asyncio.to_thread(self._digest)

    def _digest(self) -> str:
        found: dict[str, object] = self.fields.model_dump(exclude={"key"}, exclude_none=True)
        found |= {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()}
        if self.references:
            found[_REFERENCES] = [hashlib.sha256(data).hexdigest() for data in self.references]
        return digest(found)


def digest(asked: Mapping[str, object]) -> str:
    """Return a digest of a request; equal requests have equal digests."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Multipart:
    """A multipart body: its text fields by name, and its files in order, each with its field's name."""

    fields: Mapping[str, str]
    files: Sequence[tuple[str, bytes]] = field(repr=False)


class BodyReader:
    """Reads JSON and multipart bodies; all multipart bodies together stay within ``most`` bytes."""

    def __init__(self, most: int = MAX_ALL) -> None:
        self._most = self._free = most
        self._freed = asyncio.Condition()

    async def json(self, request: web.Request, form: type[Form]) -> Form:
        """Return a JSON body as ``form``.

        Raises:
            BadInput: It is no JSON object of that form; the sentence names the first field that is wrong.
            BodyTooLarge: It has more than MAX_JSON bytes.
            Unsupported: It is not JSON, or is compressed.
            RequestTimeout: It came too slowly.
        """
        return _checked(await self.json_object(request), form)

    async def json_object(self, request: web.Request) -> dict[str, object]:
        """Return a JSON object of at most MAX_JSON bytes. Raises what ``json`` raises."""
        if request.content_type != _JSON:
            raise Unsupported("refusal.web.body", problem=f"Content-Type: {_JSON}")
        return _object(await _read(request))

    @asynccontextmanager
    async def multipart(self, request: web.Request, files: Collection[str]) -> AsyncIterator[Multipart]:
        """Yield a multipart body; the fields named in ``files`` are pictures.

        Its files count as memory until the block ends. Raises as ``draw`` does.
        """
        if request.content_type != _MULTIPART:
            raise Unsupported("refusal.web.body", problem=f"Content-Type: {_MULTIPART}")
        async with self.room_for(request, MAX_MULTIPART, _pictures_too_large()) as length:
            with _readable():
                async with _patience(length):
                    fields, found = await _parts(request, files, None)
            yield Multipart(fields, found)

    @asynccontextmanager
    async def large_json(self, request: web.Request) -> AsyncIterator[dict[str, object]]:
        """Yield a JSON object that may hold pictures in base64. It counts as memory until the block ends.

        Raises:
            BadInput: It is no JSON object.
            BodyTooLarge: It has more than MAX_LARGE_JSON bytes.
            LengthRequired: It has no length.
            Unsupported: It is not JSON, or is compressed.
            RequestTimeout: It came too slowly.
            Unavailable: Too many bytes of other uploads are in memory.
        """
        if request.content_type != _JSON:
            raise Unsupported("refusal.web.body", problem=f"Content-Type: {_JSON}")
        async with self.whole(request, MAX_LARGE_JSON) as sent:
            yield _object(sent)

    @asynccontextmanager
    async def whole(self, request: web.Request, most: int) -> AsyncIterator[bytes]:
        """Yield a body of at most ``most`` bytes. It counts as memory until the block ends.

        Raises:
            BadInput: It has more than MOST_VALUES values of JSON.
            BodyTooLarge, LengthRequired, Unsupported, RequestTimeout, Unavailable: As for ``large_json``.
        """
        too_large = BodyTooLarge("refusal.web.too_large", limit=most // 1024)
        async with self.room_for(request, most, too_large) as length:
            with _readable():
                async with _patience(length):
                    sent = await request.clone(client_max_size=most).read()
            if sum(sent.count(mark) for mark in (b",", b"[", b"{")) > MOST_VALUES:
                raise BadInput("refusal.web.body", problem=f"JSON: more than {MOST_VALUES} values")
            yield sent

    async def form(self, request: web.Request) -> dict[str, str]:
        """Return the fields of a page's form; of two with the same name, the last one.

        Raises what ``json`` raises.
        """
        if request.content_type != _FORM:
            raise Unsupported("refusal.web.body", problem=f"Content-Type: {_FORM}")
        text = (await _read(request)).decode(errors="replace")
        try:
            return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_PARTS))
        except ValueError:
            raise BadInput("refusal.web.body", problem=f"more than {_MAX_PARTS} fields") from None

    @asynccontextmanager
    async def draw(self, request: web.Request) -> AsyncIterator[Sent]:
        """Yield a request for pictures from JSON or multipart/form-data.

        Its files count as memory until the block ends.

        Raises what ``json`` raises, and:
            LengthRequired: A multipart body has no length.
            Unavailable: Too many bytes of other uploads are in memory.
        """
        if request.content_type != _MULTIPART:
            yield Sent(await self._draw_json(request))
            return
        async with self.room_for(request, MAX_MULTIPART, _pictures_too_large()) as length:
            with _readable():
                async with _patience(length):
                    text, found = await _parts(request, {*_FILES, _REFERENCES}, DrawBody.model_fields)
            files = {name: data for name, data in found if name in _FILES}
            if len(files) < sum(name in _FILES for name, _ in found):
                raise BadInput("refusal.web.body", problem=f"{' / '.join(_FILES)}: given twice")
            references = [data for name, data in found if name == _REFERENCES]
            yield Sent(_checked(text, DrawBody), files, references)

    @asynccontextmanager
    async def file(self, request: web.Request, most: int | None = None) -> AsyncIterator[bytes]:
        """Yield the one file of a multipart body, in the field ``file``; it counts as memory until the block ends.

        Args:
            request: The request.
            most: Most bytes of the file; MAX_PICTURE if it is not given.

        Raises what ``draw`` raises.
        """
        if request.content_type != _MULTIPART:
            raise Unsupported("refusal.web.body", problem=f"Content-Type: {_MULTIPART}")
        too_large = _pictures_too_large() if most is None else _file_too_large(most)
        limit = MAX_PICTURE if most is None else most
        async with self.room_for(request, limit + MAX_JSON, too_large) as length:
            with _readable():
                async with _patience(length):
                    data = await _file(request, limit, too_large)
            yield data

    async def _draw_json(self, request: web.Request) -> DrawBody:
        if request.content_type != _JSON:
            raise Unsupported("refusal.web.body", problem=f"Content-Type: {_JSON} / {_MULTIPART}")
        try:
            sent = _object(await _read(request))
        except BodyTooLarge:
            # A larger JSON body is a client of an old version with a picture in base64.
            raise BodyTooLarge("refusal.web.json_too_large", limit=MAX_JSON // 1024) from None
        if any(sent.get(name) for name in (*_FILES, _REFERENCES)):
            raise Unsupported("refusal.web.picture_in_json")
        return _checked({n: value for n, value in sent.items() if n not in {*_FILES, _REFERENCES}}, DrawBody)

    @asynccontextmanager
    async def room_for(self, request: web.Request, most: int, too_large: BodyTooLarge) -> AsyncIterator[int]:
        """Reserve memory for a body while the block runs; yields its length in bytes.

        Args:
            request: The request.
            most: Most bytes.
            too_large: The error for a longer body.

        Raises:
            BodyTooLarge: ``too_large``.
            LengthRequired: The body has no length.
            Unsupported: It is compressed.
            Unavailable: Too many bytes of other uploads are in memory.
        """
        _uncompressed(request)
        length = request.content_length
        if length is None:
            raise LengthRequired("refusal.web.length")
        if length > most:
            raise too_large
        async with self._reserved(length):
            yield length

    @asynccontextmanager
    async def _reserved(self, size: int) -> AsyncIterator[None]:
        """Reserve ``size`` bytes while the block runs. Raises Unavailable if they are not free within WAIT_SECONDS."""
        # The largest file with what is around it in its body is a little larger than all that there is.
        size = min(size, self._most)
        try:
            async with asyncio.timeout(WAIT_SECONDS), self._freed:
                await self._freed.wait_for(lambda: self._free >= size)
                self._free -= size
        except TimeoutError:
            raise Unavailable("unavailable.web.uploads", wait=WAIT_SECONDS) from None
        try:
            yield
        finally:
            self._free += size
            async with self._freed:
                self._freed.notify_all()


def _uncompressed(request: web.Request) -> None:
    """Refuse compressed bodies, which can be thousands of times larger than their length. Raises Unsupported."""
    if (encoding := request.headers.get(hdrs.CONTENT_ENCODING, "identity")).lower() != "identity":
        raise Unsupported("refusal.web.body", problem=f"Content-Encoding: {shown(encoding)}")


@contextmanager
def _readable() -> Iterator[None]:
    """Translate aiohttp's errors for malformed bodies to BadInput."""
    try:
        yield
    except web.RequestPayloadError as error:
        raise BadInput("refusal.web.body", problem=shown(str(error))) from None
    except (HttpProcessingError, ValueError, AssertionError, RuntimeError, BadContentDispositionHeader) as error:
        # The multipart reader raises these for boundaries, headers and ends that are missing or wrong.
        raise BadInput("refusal.web.body", problem=f"{_MULTIPART}: {type(error).__name__}") from None


@asynccontextmanager
async def _patience(length: int) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(BODY_SECONDS + length / RATE):
            yield
    except TimeoutError:
        raise RequestTimeout("refusal.web.slow") from None


async def _read(request: web.Request) -> bytes:
    """Return a body of at most MAX_JSON bytes."""
    _uncompressed(request)
    too_large = BodyTooLarge("refusal.web.too_large", limit=MAX_JSON // 1024)
    if (request.content_length or 0) > MAX_JSON:
        raise too_large
    with _readable():
        try:
            async with _patience(MAX_JSON):
                return await request.clone(client_max_size=MAX_JSON).read()
        except web.HTTPRequestEntityTooLarge:
            raise too_large from None


def _object(sent: bytes) -> dict[str, object]:
    """Parse a JSON object. The parser rejects more than 200 levels of nesting."""
    try:
        found = from_json(sent, allow_inf_nan=False)
    except ValueError as error:
        raise BadInput("refusal.web.body", problem=f"JSON: {shown(str(error))}") from None
    if not isinstance(found, dict):
        raise BadInput("refusal.web.body", problem="not a JSON object")
    return found


def _checked(sent: Mapping[str, object], form: type[Form]) -> Form:
    return checked_object({name: _text(value) if name in _NUMBERS else value for name, value in sent.items()}, form)


def checked_object(sent: Mapping[str, object], form: type[Form]) -> Form:
    """Return a JSON object as ``form``. Raises BadInput, whose sentence names the first field that is wrong."""
    # Only known fields are validated, so that the number of errors is bounded.
    if (unknown := next((name for name in sent if name not in form.model_fields), None)) is not None:
        raise BadInput("refusal.web.body", problem=f"{shown(unknown)}: unknown field")
    try:
        return form.model_validate(sent)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        # The second part of a location is an alternative of a union, which does not help the client.
        raise BadInput("refusal.web.body", problem=f"{first['loc'][0]}: {first['msg']}") from None


def _text(value: object) -> object:
    """Return a JSON number as a person would type it; other values unchanged."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    # 2.0 is the number 2 in JSON.
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    try:
        return str(value)
    except ValueError:  # Python writes out no integer of more than 4,300 digits
        return "9" * 50


class _PartsReader(MultipartReader):
    """Reads the parts of a body that begins with them.

    aiohttp skips text before the first part line by line: a body of empty lines would keep the event loop busy for
    seconds.
    """

    async def _read_until_first_boundary(self) -> None:
        # Some programs begin with an empty line.
        for _ in range(2):
            line = (await self._readline()).rstrip()
            if line == self._boundary:
                return
            if line:
                break
        raise ValueError("no part at the beginning")


async def _parts(
    request: web.Request, files: Collection[str], texts: Collection[str] | None
) -> tuple[dict[str, str], list[tuple[str, bytes]]]:
    """Read the parts of a multipart body whose length is bounded: text fields, and files in order.

    Args:
        request: The request.
        files: Names of the fields that hold files; several may have the same name.
        texts: Names of the text fields; None for any.

    Raises ValueError and BadInput.
    """
    text: dict[str, str] = {}
    found: list[tuple[str, bytes]] = []
    room = MAX_JSON
    reader = _PartsReader(request.headers, request.content)
    for _ in range(_MAX_PARTS):
        part = await reader.next()
        if part is None:
            return text, found
        if not isinstance(part, BodyPartReader) or not part.name:
            raise BadInput("refusal.web.body", problem=f"{_MULTIPART}: a part without a name")
        name = part.name
        if name in text:
            raise BadInput("refusal.web.body", problem=f"{shown(name)}: given twice")
        if name in files:
            data = await _bytes(part, MAX_PICTURE, _pictures_too_large())
            # Browsers send an unused file field as an empty file without a name.
            if data or part.filename:
                found.append((name, data))
            continue
        if texts is not None and name not in texts:
            raise BadInput("refusal.web.body", problem=f"{shown(name)}: unknown field")
        value = await _bytes(part, room, BodyTooLarge("refusal.web.too_large", limit=MAX_JSON // 1024))
        room -= len(value)
        try:
            text[name] = value.decode()
        except UnicodeDecodeError:
            raise BadInput("refusal.web.body", problem=f"{shown(name)}: no UTF-8") from None
    raise BadInput("refusal.web.body", problem=f"{_MULTIPART}: more than {_MAX_PARTS} parts")


async def _file(request: web.Request, most: int, too_large: BodyTooLarge) -> bytes:
    """Return the first part of a multipart body, which must be the field ``file``, of at most ``most`` bytes.

    Raises ValueError and BadInput, and ``too_large``.
    """
    part = await _PartsReader(request.headers, request.content).next()
    if not isinstance(part, BodyPartReader) or part.name != _FILE:
        raise BadInput("refusal.web.body", problem=f"{_MULTIPART}: {_FILE}")
    return await _bytes(part, most, too_large)


def _file_too_large(most: int) -> BodyTooLarge:
    return BodyTooLarge("refusal.inspect.too_large", limit=most // 2**20)


def _pictures_too_large() -> BodyTooLarge:
    limit, together = (most // 2**20 for most in (MAX_PICTURE, MAX_MULTIPART))
    return BodyTooLarge("refusal.web.pictures_too_large", limit=limit, together=together)


async def _bytes(part: BodyPartReader, most: int, too_large: BodyTooLarge) -> bytes:
    data = bytearray()
    while chunk := await part.read_chunk(_CHUNK):
        data += chunk
        if len(data) > most:
            raise too_large
    return bytes(data)
