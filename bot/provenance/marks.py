"""Marks pictures as drawn by a model, before their files are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bot.core.file_marks import PARAMETERS, XMP, embed_texts
from bot.core.requests import DrawRequest
from bot.provenance import xmp
from bot.provenance.facts import Facts, MarkingRules, facts_of
from engine.contract import Image, Profile, Recipe


class Marker:
    """Marks pictures once, before their files are written."""

    def __init__(self, profiles: Callable[[], Sequence[Profile]], rules: MarkingRules) -> None:
        """Args:
        profiles: Returns the profiles, for their titles and samplers.
        rules: What the operator wants in every file.
        """
        self._profiles = profiles
        self._rules = rules

    def mark(self, image: Image, request: DrawRequest, recipe: Recipe, *, drawn_at: float) -> tuple[bytes, str]:
        """Return the picture's file with its marks, and the random id that they name; the pixels stay as they are.

        Args:
            image: What the engine drew.
            request: The picture's request.
            recipe: How it was drawn.
            drawn_at: Unix seconds.

        Raises:
            ValueError: The picture is not a PNG.
        """
        profile = next((p for p in self._profiles() if p.name == recipe.model), None)
        facts = facts_of(request, recipe, image, profile, self._rules, drawn_at=drawn_at)
        return mark_png(image.data, facts), str(facts.document)


def mark_png(data: bytes, facts: Facts) -> bytes:
    """Return a PNG with its marks; the pixels and all other bytes stay as they are. Raises ValueError if it is no PNG."""
    parameters = {PARAMETERS: facts.parameters} if facts.parameters else {}
    return embed_texts(data, {**parameters, XMP: xmp.packet(facts).decode()})
