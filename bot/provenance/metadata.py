"""Writes into each picture what it was made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bot.core.jobs import Job
from bot.provenance import a1111, png
from engine.contract import Image, Profile, Recipe


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
        return png.embed(image.data, {a1111.KEYWORD: text})
