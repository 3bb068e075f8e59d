"""Checks what a request needs of the models: which one draws it, its references, LoRAs and control picture."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bot.core.errors import BadInput
from bot.core.people import Actor
from bot.core.requests import MAX_LORAS, DrawForm, SourceImage
from bot.core.texts import decimal, fold, nearest, shown
from bot.drawing.prompt_syntax import LORA_WEIGHT, TypedLora, lora_key, parse_list
from bot.drawing.styles import Style, list_names
from engine.contract import Capability, LoraInfo, LoraRequest, Profile, Range

MAX_REFERENCES = 4
"""Most reference pictures of a request, whatever its model takes: each is decoded, stored and uploaded."""

EVERYONE, ADMINS = "everyone", "admins"
"""Values of ``LoraInfo.who`` that are no ids of roles."""

CONTROL_WEIGHT = Range(1.0, 0.0, 2.0)
"""How strongly a control picture counts."""


def decimal_within(text: str | None, limits: Range[float], not_number: str, out_of_range: str, **params: str) -> float:
    """Return a number as typed; the default of its limits where it is None.

    Args:
        text: The number.
        limits: The lowest and the highest value.
        not_number: Catalogue key of the refusal of what is no number; its fields are value, low and high.
        out_of_range: Catalogue key of the refusal of other numbers, with the same fields.
        params: Further fields of both.

    Raises:
        BadInput: It is no number, or out of range.
    """
    if text is None:
        return limits.default
    number, low, high = decimal(text), f"{limits.low:g}", f"{limits.high:g}"
    if number is None:
        raise BadInput(not_number, value=shown(text), low=low, high=high, **params)
    if not limits.low <= number <= limits.high:
        raise BadInput(out_of_range, value=shown(text), low=low, high=high, **params)
    return number


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


def find_model(name: str, profiles: Sequence[Profile]) -> Profile | None:
    """Return the model of a name, title or source, without regard to case and width; None if there is none."""
    wanted = fold(name)
    for profile in profiles:
        if wanted in {fold(profile.name), fold(profile.title), fold(profile.source)}:
            return profile
    return None


def _named(name: str, profiles: Sequence[Profile]) -> Profile:
    profile = find_model(name, profiles)
    if profile is not None:
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
        found[info.name] = info, _lora_weight(lora, info)
    for lora in parse_list(text or ""):
        info = find_lora(lora.name, known)
        if info is None:
            raise _unknown_lora(lora.name, profile, known)
        found[info.name] = info, _lora_weight(lora, info)
    used = [(info, weight) for info, weight in found.values() if weight]
    for info, _ in used:
        _check_lora_family(info, profile, profiles)
    if len(used) > MAX_LORAS:
        raise BadInput("refusal.lora.too_many", count=len(used), most=MAX_LORAS)
    return tuple(LoraRequest(info.name, weight) for info, weight in used)


def may_use(allowed: Collection[str], actor: Actor, *, admin: bool) -> bool:
    """Return whether somebody may use a model or a LoRA. Owners may use all.

    Roles count by their ids alone: in a server of their own, people can give a role any name.

    Args:
        allowed: Who may: ``EVERYONE``, ``ADMINS``, and ids of roles.
        actor: Who.
        admin: Whether they are an admin of the place (``permissions.is_admin``).
    """
    who = set(allowed)
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


def _lora_weight(lora: TypedLora, info: LoraInfo) -> float:
    if lora.weight is None:
        return info.weight
    return decimal_within(lora.weight, LORA_WEIGHT, "refusal.lora.not_number", "refusal.lora.range", lora=info.name)


def _unknown_lora(name: str, profile: Profile, known: Sequence[LoraInfo]) -> BadInput:
    fitting = [lora.name for lora in known if fits(lora, profile)]
    if not known:
        return BadInput("refusal.lora.none", value=shown(name))
    by_key = {lora_key(lora.name): lora.name for lora in known}
    near = nearest(lora_key(name), by_key)
    if near is not None:
        return BadInput("refusal.lora.unknown", value=shown(name), nearest=by_key[near])
    if not fitting:
        return BadInput("refusal.lora.none_fits", value=shown(name), model=profile.title)
    # As the lists of LoRAs do, it leaves out those that only some people may use.
    everybodys = [lora.name for lora in known if lora.name in fitting and EVERYONE in lora.who]
    return BadInput("refusal.lora.none_near", value=shown(name), known=list_names(everybodys or fitting))


def _check_lora_family(lora: LoraInfo, profile: Profile, profiles: Sequence[Profile]) -> None:
    if fits(lora, profile):
        return
    models = [one.name for one in profiles if fits(lora, one)]
    if not models:
        raise BadInput("refusal.lora.no_model", lora=lora.name, model=profile.title)
    raise BadInput("refusal.lora.family", lora=lora.name, model=profile.title, known=", ".join(models))


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
        return "", CONTROL_WEIGHT.default
    kind = _control_kind(form.control, profile, profiles)
    if source is None:
        raise BadInput("refusal.control.no_image", control=kind)
    if source.mask:
        raise BadInput("refusal.control.mask")
    if form.strength is not None:
        raise BadInput("refusal.control.strength")
    return kind, _control_weight(form.control_weight)


def _control_kind(text: str, profile: Profile, profiles: Sequence[Profile]) -> str:
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


def _control_weight(text: str | None) -> float:
    return decimal_within(text, CONTROL_WEIGHT, "refusal.control_weight.not_number", "refusal.control_weight.range")
