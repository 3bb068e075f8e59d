"""Streams of pictures as Server-Sent Events: partial pictures while they are drawn, then each finished one."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from collections.abc import Mapping

from aiohttp import hdrs, web
from PIL import Image

from adapters.web.errors import status_of
from adapters.web.following import Disconnected
from adapters.web.openai.errors import error_body
from adapters.web.openai.parameters import Format, ImageParameters
from bot.core.cards import PendingImages
from bot.core.errors import Refusal

BEAT_SECONDS = 15.0
"""Seconds between comments, which keep proxies from closing a silent stream."""

SEND_SECONDS = 30.0
"""Seconds after which a client that reads nothing is disconnected."""


class ImageStream:
    """The stream of one request. It begins with its first event."""

    def __init__(self, request: web.Request, kind: str, parameters: ImageParameters) -> None:
        """Args:
        request: The request.
        kind: ``image_generation`` or ``image_edit``, which the events' names begin with.
        parameters: Its parameters.
        """
        self._request = request
        self._kind = kind
        self._parameters = parameters
        self._wanted = parameters.partial_images or 0
        self._sent: dict[int, int] = {}
        self._numbers: dict[int, int] = {}
        self._last = time.monotonic()
        self.response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "text/event-stream", "X-Accel-Buffering": "no"})

    async def beat(self) -> None:
        """Send a comment if nothing was sent for a while."""
        if time.monotonic() - self._last >= BEAT_SECONDS:
            await self._write(b": still here\n\n")

    def wants(self, index: int, number: int, progress: float | None) -> bool:
        """Whether a preview of a picture is due: they are spread evenly over the time that it is drawn."""
        sent = self._sent.get(index, 0)
        due = sent < self._wanted and (progress or 0.0) >= sent / (self._wanted + 1)
        return due and self._numbers.get(index) != number

    async def partial(self, index: int, number: int, preview: bytes, coming: PendingImages) -> None:
        """Send a preview of a picture.

        Args:
            index: The picture, from 0.
            number: The preview's number.
            preview: Its file.
            coming: The pictures that are drawn.
        """
        sent = self._sent.get(index, 0)
        self._sent[index], self._numbers[index] = sent + 1, number
        data = await asyncio.to_thread(_converted, preview, self._parameters.format)
        size = f"{coming.width}x{coming.height}"
        await self._picture("partial_image", data, size, {"partial_image_index": sent})

    async def completed(self, data: bytes, size: str, usage: Mapping[str, object]) -> None:
        """Send a finished picture."""
        more: dict[str, object] = {"usage": dict(usage)}
        if self._parameters.identifier is not None:
            more["safety_identifier"] = self._parameters.identifier
        await self._picture("completed", data, size, more)

    async def failed(self, refusal: Refusal, sentence: str) -> None:
        """Send an error; the stream has begun, so that it can't be the answer's status any more."""
        await self._event("error", error_body(refusal, sentence, status_of(refusal)))

    async def _picture(self, name: str, data: bytes, size: str, more: Mapping[str, object]) -> None:
        kind = f"{self._kind}.{name}"
        shared = {
            "type": kind,
            "b64_json": base64.b64encode(data).decode("ascii"),
            "created_at": int(time.time()),
            "size": size,
            "quality": self._parameters.quality or "auto",
            "background": "opaque",
            "output_format": self._parameters.format,
        }
        await self._event(kind, {**shared, **more})

    async def _event(self, name: str, data: Mapping[str, object]) -> None:
        await self._write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())

    async def _write(self, data: bytes) -> None:
        """Write to the stream. Raises Disconnected where the client has left or reads nothing."""
        try:
            if not self.response.prepared:
                await self.response.prepare(self._request)
            async with asyncio.timeout(SEND_SECONDS):
                await self.response.write(data)
        except (ConnectionResetError, TimeoutError):
            if self._request.transport is not None:
                self._request.transport.abort()
            raise Disconnected from None
        self._last = time.monotonic()


def _converted(data: bytes, kind: Format) -> bytes:
    with Image.open(io.BytesIO(data)) as picture:
        if (picture.format or "").lower() == kind:
            return data
        out = io.BytesIO()
        picture.convert("RGB").save(out, kind.upper())
    return out.getvalue()
