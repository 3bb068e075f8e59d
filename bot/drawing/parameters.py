"""What a picture's parameters mean here: values for the form, and notes on what this Easel can't apply."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from bot.cards import i18n
from bot.core.errors import BadInput
from bot.core.pictures import FittedParameters, ReadParameters
from bot.core.requests import MAX_LORAS, MAX_SEED, DrawForm, nearest_size
from bot.core.texts import clean, decimal, fold, shown
from bot.drawing import flags
from bot.drawing.model_rules import find_lora, find_model, fits
from bot.drawing.prompt_syntax import LORA_WEIGHT, TypedLora, take_tags
from bot.drawing.request_rules import MAX_TYPED, sampler_key
from engine.contract import MAX_CLIP_SKIP, LoraInfo, LoraRequest, Profile, Range

T = TypeVar("T", int, float)

_FLAG_DASHES = re.compile(r"([-‐]{2}|[‒–—―−]{1,2})(?=[^\W\d_])")


def fit_parameters(
    read: ReadParameters, profiles: Sequence[Profile], known: Sequence[LoraInfo], locale: str
) -> FittedParameters:
    """Return what a picture's parameters mean here.

    Steps, guidance, sampler and clip skip of a model that is not here were chosen for that model, and are left out.

    Args:
        read: The parameters as read.
        profiles: The models that are served; the first is the default.
        known: The LoRAs that requests may name.
        locale: Language of the notes.
    """
    return _Fitting(read, profiles, known, locale).fitted()


class _Fitting:
    """One picture's parameters while they are fitted; collects the notes."""

    def __init__(
        self, read: ReadParameters, profiles: Sequence[Profile], known: Sequence[LoraInfo], locale: str
    ) -> None:
        self._read = read
        self._known = known
        self._locale = locale
        self._notes: list[str] = []
        found = _model(read.model, profiles)
        self._is_here = found is not None or not read.model
        self._profile = found or profiles[0]

    def fitted(self) -> FittedParameters:
        read, profile = self._read, self._profile
        if not self._is_here:
            self._note("model", model=shown(read.model), own=profile.title)
        prompt, tags = take_tags(clean(read.prompt)[:MAX_TYPED])
        own = self._is_here
        return FittedParameters(
            tool=read.tool,
            prompt=self._prompt(prompt),
            negative=clean(read.negative)[:MAX_TYPED],
            model=profile.name,
            size=self._size(),
            steps=self._within("steps", read.steps, profile.steps) if own else None,
            guidance=self._within("guidance", read.guidance, profile.guidance) if own else None,
            seed=self._seed(),
            sampler=self._sampler() if own else "",
            clip_skip=self._clip_skip() if own else None,
            loras=self._loras([*tags, *(TypedLora(name, f"{weight:g}") for name, weight in read.loras)]),
            label=read.labelled,
            notes=self._all_notes(),
        )

    def _note(self, what: str, **params: str | int) -> None:
        self._notes.append(i18n.text(self._locale, f"parameters.note.{what}", **params))

    def _all_notes(self) -> tuple[str, ...]:
        """Add what no form can have, and return all notes."""
        read = self._read
        if read.references:
            self._note("references", n=read.references)
        elif read.controlled:
            self._note("controlled")
        elif read.masked:
            self._note("masked")
        elif read.strength is not None:
            self._note("start", strength=f"{read.strength:g}")
        if read.variation:
            self._note("variation")
        if read.enlarged:
            self._note("enlarged")
        return tuple(self._notes)

    def _prompt(self, prompt: str) -> str:
        """Return the prompt; what would be read as flags is plain words in it."""
        try:
            is_plain = flags.parse(DrawForm(prompt)) == DrawForm(prompt.strip())
        except BadInput:
            is_plain = False
        if is_plain:
            return prompt
        self._note("flags")
        return _FLAG_DASHES.sub(r"\1 ", prompt)

    def _size(self) -> tuple[int, int] | None:
        read = self._read
        if not read.width or not read.height:
            return None
        # A picture that is too large or too small keeps its ratio.
        low, high = self._profile.side.low, self._profile.side.high
        scale = min(1.0, high / max(read.width, read.height))
        scale = max(scale, min(low / min(read.width, read.height), high / max(read.width, read.height)))
        size = nearest_size(round(read.width * scale), round(read.height * scale), self._profile)
        if size != (read.width, read.height):
            self._note("size", size=f"{read.width}x{read.height}", nearest="{}x{}".format(*size))
        return size

    def _within(self, name: str, value: T | None, limits: Range[T]) -> T | None:
        if value is None or limits.low == limits.high:
            return None
        fitted = min(max(value, limits.low), limits.high)
        if fitted != value:
            self._note(name, value=f"{value:g}", fitted=f"{fitted:g}", model=self._profile.title)
        return fitted

    def _seed(self) -> int | None:
        seed = self._read.seed
        if seed is None or seed < 0:
            return None
        if seed > MAX_SEED:
            self._note("seed")
            return None
        return seed

    def _sampler(self) -> str:
        name, profile = self._read.sampler, self._profile
        wanted = sampler_key(name)
        if wanted in {"", sampler_key(profile.sampler)}:
            return ""
        for own in profile.samplers:
            if sampler_key(own) == wanted:
                return own
        self._note("sampler", sampler=shown(name), model=profile.title, own=profile.sampler)
        return ""

    def _clip_skip(self) -> int | None:
        skip = self._read.clip_skip
        if skip is None or not self._profile.clip_skip or skip == self._profile.clip_skip:
            return None
        return min(max(skip, 1), MAX_CLIP_SKIP)

    def _loras(self, named: Sequence[TypedLora]) -> tuple[LoraRequest, ...]:
        found: dict[str, LoraRequest] = {}
        missing: dict[str, None] = {}
        for one in named:
            info = find_lora(one.name, self._known)
            weight = decimal(one.weight) if one.weight is not None else None
            if info is None or not fits(info, self._profile):
                missing[shown(one.name)] = None
            elif (weight := info.weight if weight is None else weight) != 0:
                found[info.name] = LoraRequest(info.name, min(max(weight, LORA_WEIGHT.low), LORA_WEIGHT.high))
        if missing:
            self._note("lora", n=len(missing), loras=", ".join(list(missing)[:5]))
        if len(found) > MAX_LORAS:
            self._note("loras", count=len(found), most=MAX_LORAS)
        return tuple(found.values())[:MAX_LORAS]


def _model(name: str, profiles: Sequence[Profile]) -> Profile | None:
    """Return the model of a title, a name, or the name of its file or folder; None if it is not here."""
    if not name:
        return None
    if (found := find_model(name, profiles)) is not None:
        return found
    wanted = _model_key(name)
    for profile in profiles:
        keys = {
            _model_key(one) for one in (profile.name, profile.title, profile.source.replace("\\", "/").split("/")[-1])
        }
        if wanted and wanted in keys:
            return profile
    return None


def _model_key(name: str) -> str:
    """Return a key that is equal for names like ``sd_xl_base_1.0.safetensors`` and ``SD XL base 1.0``."""
    folded = fold(name.replace("\\", "/").rpartition("/")[2])
    for suffix in (".safetensors", ".ckpt", ".gguf"):
        folded = folded.removesuffix(suffix)
    return "".join(char for char in folded if char.isalnum())
