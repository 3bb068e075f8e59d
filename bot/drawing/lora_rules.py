"""Checks the LoRAs of a request: their names, weights and number, whether they fit the model, and who may use them."""

from __future__ import annotations

from collections.abc import Sequence

from bot.core.errors import BadInput
from bot.core.people import Actor
from bot.core.requests import MAX_LORAS
from bot.core.texts import decimal, fold, nearest, shown
from bot.drawing.lora_syntax import WEIGHT, TypedLora, lora_key, parse_list
from bot.drawing.styles import Style, list_names
from engine.contract import LoraInfo, LoraRequest, Profile

EVERYONE, ADMINS = "everyone", "admins"
"""Values of ``LoraInfo.who`` that are no ids of roles."""


def check_loras(
    text: str | None, style: Style | None, profile: Profile, profiles: Sequence[Profile], known: Sequence[LoraInfo]
) -> tuple[LoraRequest, ...]:
    """Return the LoRAs of a request: those of its style, then those that were typed.

    The last weight of a LoRA counts, so a typed one wins over the style's; a weight of 0 leaves the LoRA out.

    Args:
        text: The form's ``lora``.
        style: The request's style.
        profile: The request's model.
        profiles: All models, which a refusal may name.
        known: The engine's LoRAs.

    Raises:
        BadInput: One is unknown or does not fit the model, a weight is no number or out of range, or there are too many.
    """
    found: dict[str, tuple[LoraInfo, float]] = {}
    for lora in () if style is None else style.loras:
        info = find_lora(lora.name, known)
        if info is None:
            raise BadInput("refusal.lora.style_unknown", value=shown(lora.name), style=style.name if style else "")
        found[info.name] = info, _weight(lora, info)
    for lora in parse_list(text or ""):
        info = find_lora(lora.name, known)
        if info is None:
            raise _unknown(lora.name, profile, known)
        found[info.name] = info, _weight(lora, info)
    used = [(info, weight) for info, weight in found.values() if weight]
    for info, _ in used:
        _check_family(info, profile, profiles)
    if len(used) > MAX_LORAS:
        raise BadInput("refusal.lora.too_many", count=len(used), most=MAX_LORAS)
    return tuple(LoraRequest(info.name, weight) for info, weight in used)


def may_use(lora: LoraInfo, actor: Actor, *, admin: bool) -> bool:
    """Return whether somebody may use a LoRA. Owners may use all.

    Roles count by their ids alone: in a server of their own, people can give a role any name.

    Args:
        lora: The LoRA.
        actor: Who.
        admin: Whether they are an admin of the place (``permissions.is_admin``).
    """
    who = set(lora.who)
    return actor.is_owner or EVERYONE in who or (admin and ADMINS in who) or not who.isdisjoint(actor.roles)


def find_lora(name: str, known: Sequence[LoraInfo]) -> LoraInfo | None:
    """Return the LoRA of a name or a title, without regard to case, width, spaces and dashes; None if there is none."""
    for lora in known:
        if lora.name == name:
            return lora
    wanted = lora_key(name)
    by_key = {lora_key(lora.title): lora for lora in reversed(known)}
    by_key |= {lora_key(lora.name): lora for lora in reversed(known)}
    return by_key.get(wanted) if wanted else None


def fits(lora: LoraInfo, profile: Profile) -> bool:
    """Return whether a LoRA can be tried with a model; one whose file names no family can be tried with all."""
    return lora.family in {"", profile.family}


def matches(lora: LoraInfo, words: str) -> bool:
    """Return whether a LoRA's name, title and trigger words together hold each of the words."""
    text = fold(" ".join((lora.name, lora.title, *lora.triggers)))
    return all(word in text for word in fold(words).split())


def _weight(lora: TypedLora, info: LoraInfo) -> float:
    if lora.weight is None:
        return info.weight
    weight, low, high = decimal(lora.weight), f"{WEIGHT.low:g}", f"{WEIGHT.high:g}"
    if weight is None:
        raise BadInput("refusal.lora.not_number", value=shown(lora.weight), lora=info.name, low=low, high=high)
    if not WEIGHT.low <= weight <= WEIGHT.high:
        raise BadInput("refusal.lora.range", value=shown(lora.weight), lora=info.name, low=low, high=high)
    return weight


def _unknown(name: str, profile: Profile, known: Sequence[LoraInfo]) -> BadInput:
    fitting = [lora.name for lora in known if fits(lora, profile)]
    if not known:
        return BadInput("refusal.lora.none", value=shown(name))
    by_key = {lora_key(lora.name): lora.name for lora in known}
    near = nearest(lora_key(name), by_key)
    if near is not None:
        return BadInput("refusal.lora.unknown", value=shown(name), nearest=by_key[near])
    if not fitting:
        return BadInput("refusal.lora.none_fits", value=shown(name), model=profile.title)
    return BadInput("refusal.lora.none_near", value=shown(name), known=list_names(fitting))


def _check_family(lora: LoraInfo, profile: Profile, profiles: Sequence[Profile]) -> None:
    if fits(lora, profile):
        return
    models = [one.name for one in profiles if fits(lora, one)]
    if not models:
        raise BadInput("refusal.lora.no_model", lora=lora.name, model=profile.title)
    raise BadInput("refusal.lora.family", lora=lora.name, model=profile.title, known=", ".join(models))
