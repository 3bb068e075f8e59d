"""Defaults of requests: one's own, those of a channel and those of a place, below what is typed and above the model's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from bot.commands import permissions
from bot.context import AppContext
from bot.core.people import Actor, Place
from bot.core.preferences import DEFAULTS, RIGHTS, Preferences, defaults_of_channel
from bot.core.requests import DrawForm
from bot.drawing.model_rules import EVERYONE, find_model, may_use
from engine.contract import Capability, LoraInfo, Profile

Values = Mapping[str, str]
"""Defaults by the field of ``DrawForm`` that they stand for, as they could be typed."""


@dataclass(frozen=True, slots=True)
class RequestDefaults:
    """What holds for a request where its author types nothing.

    Attributes:
        sources: The defaults, the first of which counts: the person's, the channel's, the place's.
        models: Names of the models that the person may use here; None where everybody may use all.
    """

    sources: Sequence[Values] = ()
    models: Collection[str] | None = None


NO_DEFAULTS = RequestDefaults()
"""Nothing but the models' own defaults."""


async def defaults_of(ctx: AppContext, actor: Actor, place: Place) -> RequestDefaults:
    """Return the defaults of somebody's requests in a place."""
    rights, profiles = await rights_of(ctx, actor, place), ctx.profiles()
    usable = [profile.name for profile in profiles if rights.may_use_model(profile, actor)]
    return RequestDefaults(
        _sources(ctx.preferences, actor, place), None if len(usable) == len(profiles) else frozenset(usable)
    )


async def models_of(ctx: AppContext, actor: Actor, place: Place) -> tuple[Profile, ...]:
    """Return the models that somebody may use in a place; the first is the one of a request that names none."""
    profiles = ctx.profiles()
    defaults = await defaults_of(ctx, actor, place)
    usable = [profile for profile in profiles if defaults.models is None or profile.name in defaults.models]
    form, _ = with_model(DrawForm(""), defaults, profiles)
    first = None if form.model is None else find_model(form.model, profiles)
    return tuple(sorted(usable, key=lambda profile: profile is not (first or profiles[0])))


def depends_on_admins(ctx: AppContext, actor: Actor, place: Place) -> bool:
    """Whether a default model of somebody's requests is for admins alone, so that it matters whether they are one.

    Only memory is read: a surface that has to ask its platform for the right asks this before each request.
    """
    if actor.is_owner or actor.is_admin:
        return False
    here, profiles = read_rights(ctx.preferences.of_place(place).get(RIGHTS)), ctx.profiles()
    names = (source.get("model", "") for source in _sources(ctx.preferences, actor, place))
    known = (profiles[0], *(find_model(name, profiles) for name in names))
    return any(
        profile is not None
        and not UseRights(here).may_use_model(profile, actor)
        and UseRights(here, admin=True).may_use_model(profile, actor)
        for profile in known
    )


def _sources(preferences: Preferences, actor: Actor, place: Place) -> Sequence[Values]:
    """Return what is set, the first of which counts: the person's, the thread's, the channel's, the place's."""
    here, own = preferences.of_place(place), preferences.of_person(actor)
    channel = f"{DEFAULTS}:{place.channel}"
    named = dict.fromkeys((defaults_of_channel(place), channel, DEFAULTS))
    sources = (_values(own), *(_values(here.get(name)) for name in named))
    return tuple(source for source in sources if source)


def _values(option: object) -> Values:
    """Return the defaults of an option; what is none is left out."""
    if not isinstance(option, Mapping):
        return {}
    return {str(name): str(value) for name, value in option.items() if isinstance(value, str | int)}


def first_fitting(defaults: RequestDefaults, name: str, fits: Callable[[str], bool]) -> tuple[str | None, bool]:
    """Return the first default of a field that fits, and whether an earlier one did not."""
    left_out = False
    for source in defaults.sources:
        value = source.get(name)
        if value is None:
            continue
        if fits(value):
            return value, left_out
        left_out = True
    return None, left_out


def with_model(
    form: DrawForm, defaults: RequestDefaults, profiles: Sequence[Profile]
) -> tuple[DrawForm, tuple[str, ...]]:
    """Return a form that names no model with the default one, and notes.

    A default that can't serve the request, or that the person may not use here, is passed over. Where they may not use
    the service's default model, and no default helps, the first that they may use is taken.
    """
    if form.model is not None:
        return form, ()

    def serves(name: str) -> bool:
        profile = find_model(name, profiles)
        if profile is None or (defaults.models is not None and profile.name not in defaults.models):
            return False
        if len(form.references) > profile.references or (form.references and Capability.EDIT not in profile.can):
            return False
        if form.image is not None and not form.references and Capability.IMAGE not in profile.can:
            return False
        pictured = form.image is not None or bool(form.references)
        return pictured or not profile.needs_reference

    name, left_out = first_fitting(defaults, "model", serves)
    if name is None and not form.references and not serves(profiles[0].name):
        name = next((profile.name for profile in profiles if serves(profile.name)), None)
    notes = ("note.default.model",) if left_out and not (form.references or form.image) else ()
    return (form if name is None else replace(form, model=name)), notes


@dataclass(frozen=True, slots=True)
class UseRights:
    """Who may use a model or a LoRA in a place: what the operator's files say, narrowed by the place's admins.

    Attributes:
        here: Who may, by ``model:NAME`` or ``lora:NAME``, as the place's admins have set it; empty outside of places.
        admin: Whether the person is an admin of the place.
    """

    here: Mapping[str, Sequence[str]] = field(default_factory=lambda: MappingProxyType({}))
    admin: bool = False

    def may_use_model(self, profile: Profile, actor: Actor) -> bool:
        """Return whether somebody may use a model here."""
        return self.refusing(f"model:{profile.name}", profile.who, actor) is None

    def may_use_lora(self, lora: LoraInfo, actor: Actor) -> bool:
        """Return whether somebody may use a LoRA here."""
        return self.refusing(f"lora:{lora.name}", lora.who, actor) is None

    def refusing(self, key: str, usual: Sequence[str], actor: Actor) -> Sequence[str] | None:
        """Return the list that somebody is not on: the operator's, else the place's; None if they may use it."""
        for allowed in (usual, self.here.get(key, (EVERYONE,))):
            if not may_use(allowed, actor, admin=self.admin):
                return allowed
        return None


def read_rights(option: object) -> Mapping[str, Sequence[str]]:
    """Return a place's list of rights from its option; anything else than such a list is empty."""
    if not isinstance(option, dict):
        return {}
    return {
        str(key): tuple(str(who) for who in allowed) for key, allowed in option.items() if isinstance(allowed, list)
    }


def restricted(profiles: Sequence[Profile], loras: Sequence[LoraInfo], here: Mapping[str, Sequence[str]]) -> bool:
    """Return whether anything is for some alone, so that it matters who somebody is."""
    return bool(here) or not all(EVERYONE in who for who in (*(p.who for p in profiles), *(x.who for x in loras)))


async def rights_of(ctx: AppContext, actor: Actor, place: Place) -> UseRights:
    """Return what decides which models and LoRAs somebody may use here.

    The database is asked only where something is for some alone, and then once.
    """
    here = read_rights(ctx.preferences.of_place(place).get(RIGHTS))
    if actor.is_owner or not restricted(ctx.profiles(), ctx.loras(), here):
        return UseRights(here)
    async with ctx.db.read() as tx:
        return UseRights(here, await permissions.is_admin(tx, actor, place))
