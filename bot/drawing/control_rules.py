"""Checks the control picture of a request: its kind, its weight, and what does not go together with it."""

from __future__ import annotations

from collections.abc import Sequence

from bot.core.errors import BadInput
from bot.core.requests import DrawForm, SourceImage
from bot.core.texts import decimal, fold, shown
from engine.contract import Profile, Range

WEIGHT = Range(1.0, 0.0, 2.0)
"""How strongly a control picture counts."""


def check_control(
    form: DrawForm, source: SourceImage | None, profile: Profile, profiles: Sequence[Profile]
) -> tuple[str, float]:
    """Return the kind of a request's control picture, and its weight; an empty kind if it has none.

    Args:
        form: The form, with its flags parsed.
        source: The source picture, which is then the control picture.
        profile: The request's model.
        profiles: All models, which a refusal may name.

    Raises:
        BadInput: The picture is missing, the model has no ControlNet of that kind, the weight is no number or out of
            range, or a mask or a strength is given too.
    """
    if form.control is None:
        if form.control_weight is not None:
            raise BadInput("refusal.control_weight.no_control")
        return "", WEIGHT.default
    kind = _kind(form.control, profile, profiles)
    if source is None:
        raise BadInput("refusal.control.no_image", control=kind)
    if source.mask:
        raise BadInput("refusal.control.mask")
    if form.strength is not None:
        raise BadInput("refusal.control.strength")
    return kind, _weight(form.control_weight)


def _kind(text: str, profile: Profile, profiles: Sequence[Profile]) -> str:
    kind = fold(text)
    if kind in profile.controls:
        return kind
    if profile.controls:
        known = ", ".join(profile.controls)
        raise BadInput("refusal.control.unknown", value=shown(text), model=profile.title, known=known)
    others = [one.name for one in profiles if one.controls]
    if others:
        raise BadInput("refusal.control.other_model", model=profile.title, known=", ".join(others))
    raise BadInput("refusal.control.model", model=profile.title)


def _weight(text: str | None) -> float:
    if text is None:
        return WEIGHT.default
    weight, low, high = decimal(text), f"{WEIGHT.low:g}", f"{WEIGHT.high:g}"
    if weight is None:
        raise BadInput("refusal.control_weight.not_number", value=shown(text), low=low, high=high)
    if not WEIGHT.low <= weight <= WEIGHT.high:
        raise BadInput("refusal.control_weight.range", value=shown(text), low=low, high=high)
    return weight
