"""Thumbnails: small WebP copies of pictures, named by the picture's digest, made when it is stored or when they are asked for."""

from __future__ import annotations

import asyncio
import io
import logging
import warnings
from collections import deque
from collections.abc import Collection
from pathlib import Path

from PIL import Image

from bot.core.errors import Unavailable
from bot.core.file_marks import thumbnail_marks
from bot.storage import data_files

SIDES = (320, 960)
"""Longest sides in pixels: for the tiles of a grid, and for the rows of a feed. Smaller pictures keep their size."""

TILE_BYTES = 7 * 1024
"""Most bytes of the smallest thumbnail where any quality allows it: 24 of them and the page stay under 300 kB."""

_QUALITIES = (75, 60, 45, 30, 15)
"""Qualities that are tried for the smallest thumbnail until one fits; others have the first."""

_WAITING = 256
"""Most pictures that wait; of further ones, thumbnails are made when they are asked for."""

_REST = 19.0
"""After each picture, ``run`` makes none for this many times as long as its thumbnails took: at most a twentieth of a core."""

_LONGEST_REST = 5.0
"""Longest such rest, in seconds: a slow disk takes no processor time."""

_AT_ONCE = 2
"""Most thumbnails that are made at the same time for those who ask."""

log = logging.getLogger(__name__)


def name_of(digest: str, side: int) -> str:
    """Return the name of a thumbnail's file."""
    return f"{digest}-{side}.webp"


def encode(picture: Path, side: int) -> bytes:
    """Return a WebP whose longest side has at most ``side`` pixels, with the picture's XMP. Blocks: run in a thread.

    Raises:
        OSError: The file is missing or is no picture.
    """
    with warnings.catch_warnings():
        # The limit of pixels is for pictures of strangers; this one was drawn here.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(picture) as opened:
                small = opened.convert("RGB")
                marks = thumbnail_marks(opened.info)
        except (ValueError, SyntaxError) as error:  # Pillow raises these for some damaged files
            raise OSError(f"{picture.name} is damaged") from error
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    data = b""
    for quality in _QUALITIES if side == SIDES[0] else _QUALITIES[:1]:
        out = io.BytesIO()
        small.save(out, "WEBP", quality=quality, method=4, **marks)
        data = out.getvalue()
        if len(data) <= TILE_BYTES:
            break
    return data


class Thumbnails:
    """Makes thumbnails and keeps them in a folder of the data folder. They can all be made again from the pictures."""

    def __init__(self, pictures: Path) -> None:
        """Args:
        pictures: The pictures folder; the folder of thumbnails is next to it.
        """
        self._pictures = pictures
        self.folder = pictures.parent / data_files.THUMBNAILS
        self._waiting: deque[tuple[str, str]] = deque(maxlen=_WAITING)
        self._wake = asyncio.Event()
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._making: dict[str, asyncio.Task[Path | None]] = {}

    def picture_stored(self, digest: str, path: str) -> None:
        """A picture was stored: ``run`` makes its thumbnails soon. Returns at once.

        Args:
            digest: The picture's digest.
            path: Its file, relative to the pictures folder.
        """
        self._waiting.append((digest, path))
        self._wake.set()

    async def run(self) -> None:
        """Make the thumbnails of stored pictures until cancelled, and wait for those that have been begun.

        It leaves most of the processor's time to others: many devices store more pictures than it can keep up with.
        """
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._wake.clear()
                while self._waiting:
                    digest, path = self._waiting.popleft()
                    begun = loop.time()
                    try:
                        for side in SIDES:
                            await self.get(digest, path, side)
                    except Exception:  # it is made when somebody asks for it
                        log.exception("a thumbnail of %s could not be made", path)
                    await asyncio.sleep(min(_LONGEST_REST, _REST * (loop.time() - begun)))
                await self._wake.wait()
        finally:
            await asyncio.gather(*self._making.values(), return_exceptions=True)

    async def get(self, digest: str, path: str, side: int) -> Path | None:
        """Return the file of a thumbnail, and make it first if there is none; None if the picture's file is gone.

        Never raises for a fault of the picture or the disk: it is logged.

        Args:
            digest: The picture's digest.
            path: Its file, relative to the pictures folder.
            side: One of ``SIDES``.
        """
        name = name_of(digest, side)
        made = await asyncio.to_thread(data_files.regular_file, self.folder, name)
        if made is not None:
            return made
        task = self._making.get(name)
        if task is None:
            task = asyncio.create_task(self._make(name, path, side), name="thumbnail")
            self._making[name] = task
            task.add_done_callback(lambda _: self._making.pop(name, None))
        # The others who wait for it go on when one of them leaves.
        return await asyncio.shield(task)

    async def _make(self, name: str, path: str, side: int) -> Path | None:
        async with self._room:
            return await asyncio.to_thread(self._make_now, name, path, side)

    def _make_now(self, name: str, path: str, side: int) -> Path | None:
        """Make a thumbnail. Blocks: run in a thread."""
        picture = data_files.regular_file(self._pictures, path)
        if picture is None:
            return None
        try:
            made = data_files.write_now(self.folder, name, encode(picture, side))
        except (OSError, Unavailable) as error:
            log.warning("the thumbnail of %s can't be made: %s", path, error)
            return None
        if not picture.exists():
            # Deleted meanwhile: its thumbnails were removed before this one was written.
            data_files.unlink([made])
            return None
        return made


async def remove(pictures: Path, digests: Collection[str]) -> None:
    """Remove the thumbnails of deleted pictures. A failure is logged; the next start removes the file.

    Args:
        pictures: The pictures folder.
        digests: Their digests; another picture with the same content gets its thumbnails again when it is asked for.
    """
    folder = pictures.parent / data_files.THUMBNAILS
    names = [name_of(digest, side) for digest in digests if data_files.DIGEST.fullmatch(digest) for side in SIDES]
    await asyncio.to_thread(data_files.unlink, [folder / name for name in names])


def remove_unknown(pictures: Path, digests: Collection[str]) -> int:
    """Remove thumbnails of other pictures than these, and partial files; return how many. Blocks: run in a thread."""
    found = data_files.list_files(pictures.parent / data_files.THUMBNAILS, data_files.THUMBNAIL_NAME)
    unknown = [path for path, _ in found if path.suffix != ".webp" or path.name.partition("-")[0] not in digests]
    data_files.unlink(unknown)
    return len(unknown)
