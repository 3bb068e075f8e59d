"""A card's files as uploads: small pictures enlarged, too large ones as WebP, each with its alt text."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import discord
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from bot.core.cards import Card, CardPreview
from bot.core.file_marks import SignCopy, copied_marks, embed_texts, unsigned
from bot.core.pictures import PictureFile
from bot.core.texts import clip
from engine.contract import Profile

FILE_BYTES = 20 * 1024 * 1024
"""Discord's limit for one file since September 2026, in bytes, where it names no other.

Each interaction names the one of its place, which is larger in servers with boosts.
"""
REQUEST_BYTES = 25 * 1024 * 1024 - 64 * 1024
"""Discord's limit for one request in bytes, less room for the rest of the request. One file may be larger, by its limit."""
SMALL_BYTES = 7 * 1024 * 1024
"""Total bytes for the second try after a refusal; below every limit that Discord has had."""
FILES = 10
ALT_CHARS = 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in memory, ready to be sent any number of times."""

    name: str
    data: bytes
    alt: str
    spoiler: bool = False
    is_picture: bool = True

    @property
    def sent_as(self) -> str:
        """The name that the message's components have for it."""
        return f"SPOILER_{self.name}" if self.spoiler else self.name

    def file(self) -> discord.File:
        """Return a fresh file for one request; discord.py closes it afterwards."""
        return discord.File(io.BytesIO(self.data), self.name, description=self.alt or None, spoiler=self.spoiler)


async def uploads(
    pictures: Sequence[PictureFile],
    profiles: Sequence[Profile],
    *,
    small: bool = False,
    max_file: int | None = None,
    sign: SignCopy = unsigned,
) -> tuple[Upload, ...]:
    """Read and fit pictures in a thread.

    Args:
        pictures: At most the first ten are taken.
        profiles: Models whose small pictures are shown enlarged; if empty, no file is changed.
        small: Make them small enough for any server.
        max_file: Largest file there, in bytes; ``FILE_BYTES`` where it is not known.
        sign: Signs files that differ from the stored ones.

    Raises:
        OSError: A file is not there or can't be read.
    """
    limit = max_file or FILE_BYTES
    return await asyncio.to_thread(_uploads, tuple(pictures[:FILES]), tuple(profiles), limit, sign, small=small)


def preview_upload(card: Card, preview: CardPreview) -> Upload:
    """Return a card's preview; the names of two previews of a job differ."""
    return Upload(f"preview-{card.job_id}-{preview.number}.jpg", preview.data, clip(card.prompt, ALT_CHARS))


def _uploads(
    pictures: Sequence[PictureFile], profiles: Sequence[Profile], limit: int, sign: SignCopy, *, small: bool
) -> tuple[Upload, ...]:
    made = [_upload(i, p, p.enlargement(profiles), sign) for i, p in enumerate(pictures)]
    request = max(REQUEST_BYTES, limit)
    each = min(limit, (SMALL_BYTES if small else request) // max(1, len(made)))
    if not small and sum(len(u.data) for u in made) <= request:
        each = limit
    # Files that are no pictures stay unchanged; too large ones are refused again.
    return tuple(
        _smaller(u, each, p, sign) if len(u.data) > each and p.mime.startswith("image/") else u
        for u, p in zip(made, pictures, strict=True)
    )


def _upload(index: int, picture: PictureFile, factor: int, sign: SignCopy) -> Upload:
    name = PurePath(picture.name)
    # Names of one message must differ: cards of several jobs may share them.
    unique = f"{name.stem}-{index}{name.suffix}" if index else picture.name
    data = picture.path.read_bytes()
    return Upload(
        unique,
        data if factor == 1 else sign(_enlarged(data, factor), picture.mime, data),
        clip(picture.alt, ALT_CHARS),
        picture.spoiler,
        picture.mime.startswith("image/"),
    )


def _enlarged(data: bytes, factor: int) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        texts = dict(image.text) if isinstance(image, PngImageFile) else {}
        out = io.BytesIO()
        larger = image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)
        larger.save(out, "PNG")
    return embed_texts(out.getvalue(), texts)


def _smaller(upload: Upload, limit: int, picture: PictureFile, sign: SignCopy) -> Upload:
    with Image.open(io.BytesIO(upload.data)) as image:
        marks = copied_marks(image.info)
        shown = image.convert("RGB")
    original = picture.path.read_bytes()
    data = b""
    for scale in (1.0, 0.7, 0.5, 0.35, 0.25):
        sized = shown.resize((max(1, round(shown.width * scale)), max(1, round(shown.height * scale))))
        out = io.BytesIO()
        sized.save(out, "WEBP", quality=90, **marks)
        data = out.getvalue()
        if len(data) > limit:
            continue
        # A signature may ask a time-stamping service, so files that are too large anyway get none.
        data = sign(data, "image/webp", original)
        if len(data) <= limit:
            break
    return Upload(f"{PurePath(upload.name).stem}.webp", data, upload.alt, upload.spoiler)
