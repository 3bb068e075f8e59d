"""A ZIP of pictures that is made while it is sent: one chunk of a file is in memory at a time."""

from __future__ import annotations

import asyncio
import json
import logging
import zipfile
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, cast

from aiohttp import hdrs, web

from adapters.web.render import recipe_json
from bot.core.cards import JobDetails
from bot.core.pictures import PictureFile

METADATA = "metadata.json"
"""Name of the file in the ZIP that says how each picture was drawn."""

CHUNK = 256 * 1024
"""Bytes of a file that are read at once."""

STALLED_SECONDS = 30.0
"""Seconds after which a client that takes nothing is disconnected."""

log = logging.getLogger(__name__)

Pictures = Sequence[tuple[PictureFile, JobDetails]]


class _Sink:
    """Collects what zipfile writes, until it is taken. It can't seek, so zipfile writes sizes behind each file."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Collect some bytes."""
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: the bytes are taken when a step is done."""

    def take(self) -> bytes:
        """Return what was collected since the last call."""
        taken, self._parts = b"".join(self._parts), []
        return taken


async def zip_chunks(pictures: Pictures) -> AsyncIterator[bytes]:
    """Yield a ZIP with these pictures' files and ``metadata.json``. Files that are gone are left out of both.

    PNGs are stored as they are: they are compressed already.
    """
    sink, written = _Sink(), list[dict[str, object]]()
    with zipfile.ZipFile(cast(BinaryIO, sink), "w", zipfile.ZIP_STORED) as archive:
        for picture, details in pictures:
            try:
                source = await asyncio.to_thread(Path.open, picture.path, "rb")
            except OSError:
                log.info("a picture of a ZIP has no file any more")
                continue
            with source, archive.open(_entry(picture.name, details.created_at), "w", force_zip64=False) as target:
                while data := await asyncio.to_thread(source.read, CHUNK):
                    await asyncio.to_thread(target.write, data)
                    yield sink.take()
            written.append(_metadata(picture, details))
        text = json.dumps({"pictures": written}, ensure_ascii=False, indent=2)
        archive.writestr(_entry(METADATA, datetime.now(UTC).timestamp()), text, zipfile.ZIP_DEFLATED)
    yield sink.take()


async def send_zip(request: web.Request, name: str, pictures: Pictures) -> web.StreamResponse:
    """Answer with a ZIP of pictures. A client that takes nothing, or a fault, cuts the connection.

    Args:
        request: The request.
        name: Name of the file for the browser: letters, digits, dots and hyphens.
        pictures: The pictures and how they were requested.
    """
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: "application/zip",
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}"',
            hdrs.CACHE_CONTROL: "private, no-store",
        }
    )
    await response.prepare(request)
    try:
        async for data in zip_chunks(pictures):
            async with asyncio.timeout(STALLED_SECONDS):
                await response.write(data)
        await response.write_eof()
    except (ConnectionError, TimeoutError):
        _cut(request)
    except Exception:
        # The answer has begun and can't become an error: without its end, no program takes the file for whole.
        log.exception("a ZIP could not be made")
        _cut(request)
    return response


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _entry(name: str, seconds: float) -> zipfile.ZipInfo:
    moment = datetime.fromtimestamp(seconds, UTC)
    # A ZIP can't hold years before 1980.
    entry = zipfile.ZipInfo(name, max(moment.timetuple()[:6], (1980, 1, 1, 0, 0, 0)))
    entry.external_attr = 0o600 << 16
    return entry


def _metadata(picture: PictureFile, details: JobDetails) -> dict[str, object]:
    return {
        "file": picture.name,
        "seed": None if picture.seed is None else str(picture.seed),
        "width": picture.width,
        "height": picture.height,
        "created_at": datetime.fromtimestamp(details.created_at, UTC).isoformat(timespec="seconds"),
        "kind": details.kind,
        "recipe": recipe_json(None, details),
    }
