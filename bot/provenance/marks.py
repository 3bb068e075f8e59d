"""Marks pictures as drawn by a model, before their files are written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from bot.core.file_marks import PARAMETERS, XMP, embed_texts
from bot.core.inspection import COMPOSITE
from bot.core.requests import DrawRequest
from bot.provenance import xmp
from bot.provenance.facts import Facts, MarkingRules, facts_of
from bot.provenance.kept_marks import found_label, ingredient_of
from bot.provenance.reading import read_source_type
from bot.provenance.sealing import Sealing
from bot.provenance.visible_label import draw_label, label_text
from engine.contract import Image, Profile, Recipe

log = logging.getLogger(__name__)


class Marker:
    """Marks pictures once, before their files are written."""

    def __init__(
        self, profiles: Callable[[], Sequence[Profile]], rules: MarkingRules, sealing: Sealing | None = None
    ) -> None:
        """Args:
        profiles: Returns the profiles, for their titles and samplers.
        rules: What the operator wants in every file.
        sealing: Signs the files; None: nothing is signed.
        """
        self._profiles = profiles
        self._rules = rules
        self._sealing = sealing

    def mark(
        self, image: Image, request: DrawRequest, recipe: Recipe, *, drawn_at: float, locale: str = ""
    ) -> tuple[bytes, str]:
        """Return the picture's file with its marks, and the random id that they name. Blocks: run in a thread.

        The pixels stay as they are, unless the picture gets a visible label.

        Args:
            image: What the engine drew.
            request: The picture's request.
            recipe: How it was drawn.
            drawn_at: Unix seconds.
            locale: Language of the person's cards, for the visible label.

        Raises:
            ValueError: The picture is not a PNG.
            OSError: It is to have a visible label, and is damaged.
        """
        profile = next((p for p in self._profiles() if p.name == recipe.model), None)
        started = () if recipe.control else (recipe.image,)
        sources = _sources([Path(path) for path in (*started, *recipe.references) if path])
        label = next((label for source in sources if (label := found_label(source))), "")
        facts = facts_of(
            request,
            recipe,
            image,
            profile,
            self._rules,
            drawn_at=drawn_at,
            kept_label=label,
            composite=any(read_source_type(source) == COMPOSITE for source in sources),
        )
        data = image.data
        if self._rules.draws_label(request):
            data = draw_label(data, label_text(locale, aigc=bool(facts.aigc_producer)))
        data = mark_png(data, facts)
        if self._sealing is not None:
            found = enumerate(sources)
            ingredients = [ingredient_of(one, number, manifest=not request.private) for number, one in found]
            data = self._sealing.sign(data, image.mime, facts, ingredients)
        return data, str(facts.document)


def _sources(paths: Sequence[Path]) -> list[bytes]:
    """Return the files that are there: one may have been deleted since the drawing began."""
    found = []
    for path in paths:
        try:
            found.append(path.read_bytes())
        except OSError:
            log.info("a picture is marked without %s, which is gone", path.name)
    return found


def mark_png(data: bytes, facts: Facts) -> bytes:
    """Return a PNG with its marks; the pixels and all other bytes stay as they are. Raises ValueError if it is no PNG."""
    parameters = {PARAMETERS: facts.parameters} if facts.parameters else {}
    return embed_texts(data, {**parameters, XMP: xmp.packet(facts).decode()})
