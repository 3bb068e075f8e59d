"""Text chunks of a PNG: reads and writes them, and writes a picture's generation parameters."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

from PIL.PngImagePlugin import PngInfo, putchunk

from bot.core.jobs import Job
from bot.provenance import a1111
from engine.contract import Image, Profile, Recipe

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_END = len(_SIGNATURE) + 4 + 4 + 13 + 4
"""The signature, then IHDR: length, name, 13 bytes, checksum. It is always the first chunk."""


def embed_texts(data: bytes, texts: Mapping[str, str]) -> bytes:
    """Return the PNG with these text chunks right behind its header; all other bytes stay as they are.

    As A1111 does through Pillow: tEXt for text that fits Latin-1, else iTXt in UTF-8.

    Args:
        data: A PNG.
        texts: Text by keyword (1 to 79 Latin-1 characters).

    Raises:
        ValueError: It is no PNG.
    """
    if data[: len(_SIGNATURE)] != _SIGNATURE or data[12:16] != b"IHDR" or len(data) < _HEADER_END:
        raise ValueError("no PNG: its signature or its header is missing")
    info = PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword, text)
    out = io.BytesIO()
    out.write(data[:_HEADER_END])
    for name, content, _ in info.chunks:
        putchunk(out, name, content)
    out.write(data[_HEADER_END:])
    return out.getvalue()


class MetadataWriter:
    """Adds the A1111 ``parameters`` chunk."""

    def __init__(self, profiles: Callable[[], Sequence[Profile]]) -> None:
        """Args:
        profiles: The models, for their proper names and their samplers.
        """
        self._profiles = profiles

    def embed(self, image: Image, job: Job, recipe: Recipe) -> bytes:
        """Return the PNG with its metadata; its pixels stay as they are. Raises ValueError when it is no PNG."""
        profile = next((p for p in self._profiles() if p.name == recipe.model), None)
        text = a1111.parameters(
            recipe,
            recipe.model if profile is None else profile.title,
            sampler="" if profile is None else a1111.sampler_of(profile),
            style=job.request.style,
            upscale=job.request.upscale,
            precision=image.precision,
            revision=image.revision,
        )
        return embed_texts(image.data, {a1111.KEYWORD: text})
