"""PNG metadata: reads and writes text chunks, and embeds how a picture was drawn."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

from PIL.PngImagePlugin import PngInfo, putchunk

from bot.core.jobs import Job
from bot.provenance import a1111
from engine.contract import Image, Profile, Recipe

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_END = len(_SIGNATURE) + 4 + 4 + 13 + 4
"""Length of the signature and of IHDR (length, name, 13 bytes, checksum), which is always the first chunk."""


def embed_texts(data: bytes, texts: Mapping[str, str]) -> bytes:
    """Return the PNG with these text chunks after its header; all other bytes stay as they are.

    As in A1111, text in Latin-1 becomes a tEXt chunk, other text an iTXt chunk in UTF-8.

    Args:
        data: A PNG.
        texts: Text by keyword (1 to 79 Latin-1 characters).

    Raises:
        ValueError: It is not a PNG.
    """
    if data[: len(_SIGNATURE)] != _SIGNATURE or data[12:16] != b"IHDR" or len(data) < _HEADER_END:
        raise ValueError("not a PNG: its signature or its header is missing")
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
    """Embeds the A1111 ``parameters`` text in pictures."""

    def __init__(self, profiles: Callable[[], Sequence[Profile]]) -> None:
        """Args:
        profiles: Returns the profiles, for their titles and samplers.
        """
        self._profiles = profiles

    def embed(self, image: Image, job: Job, recipe: Recipe) -> bytes:
        """Return the picture's file with its metadata; its pixels stay as they are. Raises ValueError if it is not a PNG."""
        profile = next((p for p in self._profiles() if p.name == recipe.model), None)
        text = a1111.parameters(
            recipe,
            recipe.model if profile is None else profile.title,
            sampler="" if profile is None else profile.sampler,
            style=job.request.style,
            upscale=job.request.upscale,
            precision=image.precision,
            revision=image.revision,
            lora_hashes=image.loras,
            notes=image.notes,
        )
        return embed_texts(image.data, {a1111.KEYWORD: text})
