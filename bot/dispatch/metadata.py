"""Writes into each picture what it was made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bot.model.jobs import Job
from bot.provenance import a1111, png
from engine.contract import Profile, Recipe


class Metadata:
    """Adds the A1111 ``parameters`` chunk."""

    def __init__(self, profiles: Callable[[], Sequence[Profile]]) -> None:
        """Args:
        profiles: The models, for their proper names.
        """
        self._profiles = profiles

    def embed(self, data: bytes, job: Job, recipe: Recipe) -> bytes:
        """Return the PNG with its metadata; its pixels stay as they are. Raises ValueError when it is no PNG."""
        titles = {profile.name: profile.title for profile in self._profiles()}
        title = titles.get(recipe.model, recipe.model)
        return png.embed(data, {a1111.KEYWORD: a1111.parameters(recipe, title, style=job.request.style)})
