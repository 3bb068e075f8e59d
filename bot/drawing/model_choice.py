"""Chooses the model of a request: the named one, the default one, or the one for edits; checks that it takes references."""

from __future__ import annotations

from collections.abc import Sequence

from bot.core.errors import BadInput
from bot.core.texts import fold, shown
from engine.contract import Capability, Profile

MAX_REFERENCES = 4
"""Most reference pictures of a request, whatever its model takes: each is decoded, stored and uploaded."""


def choose_model(
    name: str | None, profiles: Sequence[Profile], *, references: int = 0, edit_model: str = ""
) -> Profile:
    """Return the profile of a request's model.

    A request with references that names no model is served by the default model if that can edit, else by ``edit_model``.

    Args:
        name: The model's name, title or source as typed; None if none is named.
        profiles: The models that are served; the first is the default.
        references: Number of reference pictures.
        edit_model: Name of the profile that serves edits when the default model can't; empty for none.

    Raises:
        BadInput: There is no such model, it takes no references, or fewer than these.
    """
    profile = profiles[0] if name is None else _named(name, profiles)
    if name is None and references and Capability.EDIT not in profile.can:
        profile = next((one for one in profiles if one.name == edit_model), profile)
    if references:
        _check_references(profile, references, profiles)
    return profile


def check_count(references: int) -> None:
    """Raise BadInput if these are more references than any request may have."""
    if references > MAX_REFERENCES:
        raise BadInput("refusal.references.limit", n=MAX_REFERENCES, count=references)


def _named(name: str, profiles: Sequence[Profile]) -> Profile:
    wanted = fold(name)
    for profile in profiles:
        if wanted in {fold(profile.name), fold(profile.title), fold(profile.source)}:
            return profile
    known = tuple(profile.name for profile in profiles)
    raise BadInput("refusal.model.unknown", value=shown(name), known=", ".join(known))


def _check_references(profile: Profile, references: int, profiles: Sequence[Profile]) -> None:
    if Capability.EDIT not in profile.can:
        able = [one.name for one in profiles if Capability.EDIT in one.can]
        if not able:
            raise BadInput("refusal.references.no_model")
        raise BadInput("refusal.references.model", model=profile.title, known=", ".join(able))
    if references > profile.references:
        raise BadInput("refusal.references.too_many", n=profile.references, model=profile.title, count=references)
