"""Streams of pictures as Server-Sent Events: partial pictures while they are drawn, then each finished one."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import Mapping

from aiohttp import web
from PIL import Image

from adapters.web.errors import status_of
from adapters.web.event_writer import EventWriter
from adapters.web.openai.errors import error_body
from adapters.web.openai.parameters import ImageParameters
from adapters.web.picture_links import Format
from bot.core.cards import PendingImages
from bot.core.errors import Refusal


class ImageStream(EventWriter):
    """The stream of one request for pictures."""

    def __init__(self, request: web.Request, kind: str, parameters: ImageParameters) -> None:
        """Args:
        request: The request.
        kind: ``image_generation`` or ``image_edit``, which the events' names begin with.
        parameters: Its parameters.
        """
        super().__init__(request)
        self._kind = kind
        self._parameters = parameters
        self._wanted = parameters.partial_images or 0
        self._sent: dict[int, int] = {}
        self._numbers: dict[int, int] = {}

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
        await self.event("error", error_body(refusal, sentence, status_of(refusal)))

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
        await self.event(kind, {**shared, **more})


def _converted(data: bytes, kind: Format) -> bytes:
    with Image.open(io.BytesIO(data)) as picture:
        if (picture.format or "").lower() == kind:
            return data
        out = io.BytesIO()
        picture.convert("RGB").save(out, kind.upper())
    return out.getvalue()
