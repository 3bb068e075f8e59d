"""Checks a draw form against its model's profile: sizes, numbers, prompts, styles, LoRAs and languages."""

from __future__ import annotations

import math
import random
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bot.commands.model import YES
from bot.core.errors import BadInput
from bot.core.requests import (
    MAX_SEED,
    STRENGTH,
    DrawForm,
    DrawRequest,
    ReferenceImage,
    SourceImage,
    nearest_side,
    nearest_size,
    new_seed,
)
from bot.core.texts import clean, fold, nearest, shown, whole
from bot.drawing import flags, prompt_syntax
from bot.drawing.defaults import NO_DEFAULTS, RequestDefaults, first_fitting, with_model
from bot.drawing.flags import RATIO, SIZE, strip_unit
from bot.drawing.model_rules import check_control, check_loras, choose_model, decimal_within
from bot.drawing.prompt_syntax import without_syntax
from bot.drawing.styles import BUILT_IN, Style, find_style, is_none, list_names
from engine.contract import MAX_CLIP_SKIP, Capability, LoraInfo, NegativePromptSupport, Profile, Range

MAX_TYPED = 10_000
"""Longest prompt in characters, flags included. It is above every platform's longest message and every model's limit."""

RANDOM_SEED = -1
"""The seed that means a random one in other programs."""

PRESET_RATIOS = {"square": (1, 1), "portrait": (3, 4), "landscape": (4, 3), "tall": (9, 16), "wide": (16, 9)}
"""The ratios of the presets, width to height."""

_PRESET_NAMES = {
    "方形": "square",
    "正方形": "square",
    "竖版": "portrait",
    "竖图": "portrait",
    "横版": "landscape",
    "横图": "landscape",
    "长图": "tall",
    "竖屏": "tall",
    "宽图": "wide",
    "宽屏": "wide",
}

_SAMPLER_GAPS = re.compile(r"[\s_.-]+|^k_")

_SCRIPTS = {
    "CJK": {"zh", "ja"},
    "HIRAGANA": {"ja"},
    "KATAKANA": {"ja"},
    "HANGUL": {"ko"},
    "BOPOMOFO": {"zh"},
    "CYRILLIC": {"ru", "uk", "bg", "sr", "be", "kk"},
    "ARABIC": {"ar", "fa", "ur"},
    "HEBREW": {"he", "yi"},
    "THAI": {"th"},
    "DEVANAGARI": {"hi", "mr", "ne"},
}
"""Languages (BCP 47) by the first word of their letters' Unicode names. Latin is left out because too many languages
use it, and Greek because its letters are often symbols."""


def check_form(
    form: DrawForm,
    profiles: Sequence[Profile],
    max_count: int,
    rng: random.Random,
    styles: Mapping[str, Style] = BUILT_IN,
    *,
    loras: Sequence[LoraInfo] = (),
    source: SourceImage | None = None,
    references: Sequence[ReferenceImage] = (),
    edit_model: str = "",
    defaults: RequestDefaults = NO_DEFAULTS,
) -> DrawRequest:
    """Parse the flags in the prompt, and check every field against the model's profile.

    Args:
        form: The form as typed, with flags in the prompt.
        profiles: The models that are served; the first is the default.
        max_count: Most pictures in one request here.
        rng: Draws the seed if none was typed.
        styles: The styles that ``--style`` may name.
        loras: The LoRAs that ``--lora`` may name.
        source: The form's source image, decoded and staged.
        references: Its reference pictures, likewise.
        edit_model: Name of the model that serves edits when the default one can't; empty for none.
        defaults: What holds where nothing is typed.

    Raises:
        BadInput: A field is wrong; says what and how to correct it.
    """
    if len(form.prompt) > MAX_TYPED:
        raise BadInput("refusal.prompt.too_long", length=len(form.prompt), limit=profiles[0].prompt_chars)
    form = flags.parse(form)
    if form.expand:
        raise BadInput("refusal.expand.alone")
    typed = clean(form.prompt)
    if not typed:
        raise BadInput("refusal.prompt.empty")
    form, default_notes = with_model(form, defaults, profiles)
    profile = choose_model(form.model, profiles, references=len(references), edit_model=edit_model)
    # With a mask, the edit of the references changes only a part of the source image.
    edits_part = bool(references and source is not None and source.mask)
    if references and source is not None and not edits_part:
        raise BadInput("refusal.references.image")
    if profile.needs_reference and not references and source is None:
        raise BadInput("refusal.references.needed", model=profile.title)
    control, control_weight = check_control(form, source, profile, profiles)
    strength = 1.0 if control else _strength(form.strength, None if edits_part else source, profile)
    form, other_notes = _with_defaults(form, defaults, profile, styles, max_count)
    style = _style(form.style, styles)
    steps = _steps(form.steps, profile.steps)
    guidance = _guidance(form.guidance, profile.guidance)
    width, height = _size(form.size, source or next(iter(references), None), profile)
    if source is not None and source.white is not None and not _is_box_kept(source, source.white, width, height):
        raise BadInput("refusal.mask.cut_off", size=f"{width}x{height}")
    prompt = _prompt(typed, style, profile.prompt_chars)
    negative, notes = _negative(form.negative, style, profile, guidance)
    if form.negative is None and (usual := first_fitting(defaults, "negative", bool)[0]) is not None:
        # Nobody typed it: where the model ignores it, there is nothing to say.
        negative, _ = _negative(usual, style, profile, guidance)
    notes = (*default_notes, *other_notes, *notes)
    if not profile.prompt_syntax:
        read = without_syntax(prompt), without_syntax(negative)
        if read != (prompt, negative):
            notes = (*notes, "note.syntax")
        prompt, negative = read
    if not reads_language(typed, profile):
        notes = (*notes, "note.language")
    if prompt_syntax.has_unread_tag(typed):
        notes = (*notes, "note.lora.unread")
    return DrawRequest(
        prompt=prompt,
        typed=typed,
        negative=negative,
        width=width,
        height=height,
        steps=steps,
        guidance=guidance,
        seed=_seed(form.seed, rng),
        count=_count(form.count, max_count),
        model=profile.name,
        style=style.name if style else "",
        private=bool(form.private),
        notes=notes,
        image=source.image if source else "",
        mask=source.mask if source else "",
        strength=strength,
        loras=check_loras(form.lora, style, profile, profiles, loras),
        references=tuple(reference.file for reference in references),
        sampler=_sampler(form.sampler, profile),
        clip_skip=_clip_skip(form.clip_skip, profile),
        control=control,
        control_weight=control_weight,
        label=bool(form.label),
    )


_LEFT_OUT: Mapping[str, str] = {"size": "note.default.size", "style": "note.default.style"}
"""Notes on defaults that don't fit, by field."""


def _with_defaults(
    form: DrawForm, defaults: RequestDefaults, profile: Profile, styles: Mapping[str, Style], max_count: int
) -> tuple[DrawForm, tuple[str, ...]]:
    """Return a form with the defaults of what it leaves open, and notes on those that don't fit.

    A picture gives a request its size, so no default does.
    """
    notes: list[str] = []
    found: dict[str, Any] = {}
    fitting: dict[str, Callable[[str], bool]] = {
        "size": lambda value: is_size(value, profile),
        "style": lambda value: is_none(value) or find_style(value, styles) is not None,
    }
    for name, fits in fitting.items():
        if getattr(form, name) is not None or (name == "size" and (form.image is not None or form.references)):
            continue
        value, left_out = first_fitting(defaults, name, fits)
        if value is not None:
            found[name] = value
        if left_out:
            notes.append(_LEFT_OUT[name])
    if form.count is None and (count := whole(first_fitting(defaults, "count", bool)[0] or "")) is not None:
        found["count"] = str(max(1, min(count, max_count)))
    if form.private is None:
        found["private"] = first_fitting(defaults, "private", bool)[0] == YES
    return replace(form, **found), tuple(notes)


def _style(name: str | None, styles: Mapping[str, Style]) -> Style | None:
    if name is None:
        return None
    style = find_style(name, styles)
    if style is None and is_none(name):
        return None
    if style is None:
        by_name = {fold(known): known for known in styles}
        value, known, near = shown(name), list_names(styles), nearest(fold(name), by_name)
        if near is None:
            raise BadInput("refusal.style.none_near", value=value, known=known)
        raise BadInput("refusal.style.unknown", value=value, nearest=by_name[near], known=known)
    return style


def _prompt(typed: str, style: Style | None, limit: int) -> str:
    if len(typed) > limit:
        raise BadInput("refusal.prompt.too_long", length=len(typed), limit=limit)
    if style is None:
        return typed
    prompt = style.apply(typed)
    if len(prompt) > limit:
        raise BadInput("refusal.prompt.too_long_in_style", length=len(prompt), limit=limit, style=style.name)
    return prompt


def _strength(text: str | None, source: SourceImage | None, profile: Profile) -> float:
    if source is None:
        if text is not None:
            raise BadInput("refusal.strength.no_image")
        return 1.0
    # A model may redraw a part of a picture without starting from a whole one.
    if Capability.IMAGE not in profile.can and not (source.mask and Capability.MASK in profile.can):
        raise BadInput("refusal.image.model", model=profile.title)
    if source.mask and Capability.MASK not in profile.can:
        raise BadInput("refusal.mask.model", model=profile.title)
    return decimal_within(text, STRENGTH, "refusal.strength.not_number", "refusal.strength.range")


def _negative(text: str | None, style: Style | None, profile: Profile, guidance: float) -> tuple[str, tuple[str, ...]]:
    """Return the negative prompt that the model will follow, and notes for the person."""
    typed = clean(text or "")
    ignored = {
        NegativePromptSupport.ALWAYS: "",
        NegativePromptSupport.WITH_GUIDANCE: "" if guidance > 1 else "note.negative.needs_guidance",
        NegativePromptSupport.NEVER: "note.negative.ignored",
    }[profile.negative]
    if ignored:
        # An ignored negative prompt is dropped, so that neither the card nor the metadata claims that it had an effect.
        return "", (ignored,) if typed else ()
    # An empty one that was typed replaces the model's default.
    wanted = profile.negative_default if text is None else typed
    negative = style.apply_negative(wanted) if style else wanted
    if len(negative) > profile.prompt_chars:
        raise BadInput("refusal.negative.too_long", length=len(negative), limit=profile.prompt_chars)
    return negative, ()


def reads_negative(profile: Profile, guidance: float) -> bool:
    """Return whether the model follows a negative prompt at this guidance."""
    if profile.negative is NegativePromptSupport.WITH_GUIDANCE:
        return guidance > 1
    return profile.negative is NegativePromptSupport.ALWAYS


def _steps(text: str | None, limits: Range[int]) -> int:
    if text is None:
        return limits.default
    steps = whole(strip_unit("steps", fold(text)))
    if steps is None:
        raise BadInput("refusal.steps.not_number", value=shown(text), low=limits.low, high=limits.high)
    if not limits.low <= steps <= limits.high:
        raise BadInput("refusal.steps.range", value=shown(text), low=limits.low, high=limits.high)
    return steps


def _guidance(text: str | None, limits: Range[float]) -> float:
    if limits.low == limits.high:
        fixed = f"{limits.low:g}"
        return decimal_within(text, limits, "refusal.guidance.not_number", "refusal.guidance.fixed", fixed=fixed)
    return decimal_within(text, limits, "refusal.guidance.not_number", "refusal.guidance.range")


def _sampler(text: str | None, profile: Profile) -> str:
    """Return the name of a sampler; empty for the model's own."""
    wanted = sampler_key(text or "")
    if wanted in {"", sampler_key(profile.sampler)}:
        return ""
    assert text is not None
    if not profile.samplers:
        raise BadInput("refusal.sampler.fixed", model=profile.title, own=profile.sampler)
    by_key = {sampler_key(name): name for name in profile.samplers}
    if wanted in by_key:
        return by_key[wanted]
    value, known, near = shown(text), ", ".join(profile.samplers), nearest(wanted, by_key)
    if near is None:
        raise BadInput("refusal.sampler.none_near", model=profile.title, value=value, known=known)
    raise BadInput("refusal.sampler.unknown", model=profile.title, value=value, nearest=by_key[near], known=known)


def sampler_key(name: str) -> str:
    """Return a key that is equal for names like ``DPM++ 2M Karras`` and ``dpmpp_2m_karras``."""
    return _SAMPLER_GAPS.sub("", fold(name)).replace("dpmpp", "dpm++").replace("ancestral", "a")


def _clip_skip(text: str | None, profile: Profile) -> int:
    """Return the clip skip; 0 for the model's own."""
    if text is None:
        return 0
    if not profile.clip_skip:
        raise BadInput("refusal.clip_skip.model", model=profile.title)
    skip = whole(text)
    if skip is None:
        raise BadInput("refusal.clip_skip.not_number", value=shown(text), high=MAX_CLIP_SKIP)
    if not 1 <= skip <= MAX_CLIP_SKIP:
        raise BadInput("refusal.clip_skip.range", value=shown(text), high=MAX_CLIP_SKIP)
    return 0 if skip == profile.clip_skip else skip


def _seed(text: str | None, rng: random.Random) -> int:
    if text is None:
        return new_seed(rng)
    seed = whole(text)
    if seed is None:
        raise BadInput("refusal.seed.not_number", value=shown(text))
    if seed == RANDOM_SEED:
        return new_seed(rng)
    if not 0 <= seed <= MAX_SEED:
        raise BadInput("refusal.seed.range", value=shown(text), high=str(MAX_SEED))
    return seed


def _count(text: str | None, max_count: int) -> int:
    if text is None:
        return 1
    count = whole(strip_unit("count", fold(text)))
    if count is None:
        raise BadInput("refusal.count.not_number", value=shown(text), most=max_count)
    if not 1 <= count <= max_count:
        raise BadInput("refusal.count.range", value=shown(text), most=max_count)
    return count


def _size(text: str | None, like: SourceImage | ReferenceImage | None, profile: Profile) -> tuple[int, int]:
    if text is None and like is not None:
        return size_for_image(like.width, like.height, profile)
    return parse_size(text, profile)


def _is_box_kept(source: SourceImage, box: tuple[int, int, int, int], width: int, height: int) -> bool:
    """Return whether part of a box stays in the picture when its centre is cropped to another ratio."""
    left, top, right, bottom = box
    across = min(source.width, source.height * width / height) / 2
    down = min(source.height, source.width * height / width) / 2
    x, y = source.width / 2, source.height / 2
    return left < x + across and right > x - across and top < y + down and bottom > y - down


def parse_size(text: str | None, profile: Profile) -> tuple[int, int]:
    """Return (width, height) in pixels for ``WxH``, ``W:H`` or a preset's name; for None the native square.

    Raises:
        BadInput: It is no size, is too small, too large or off the grid, or its ratio does not fit the limits of the
            sides; names the nearest allowed size.
    """
    if text is None:
        return _preset("square", profile)
    folded = fold(text)
    name = _PRESET_NAMES.get(folded, folded)
    if name in PRESET_RATIOS:
        return _preset(name, profile)
    if pixels := SIZE.fullmatch(folded):
        width, height = whole(pixels["width"]), whole(pixels["height"])
        assert width is not None
        assert height is not None
        return _checked_pixels(width, height, folded, profile)
    if ratio := RATIO.fullmatch(folded):
        across, down = float(ratio["across"]), float(ratio["down"])
        if across > 0 and down > 0:
            return _at_native_area(across, down, profile)
    example = "{}x{}".format(*_preset("square", profile))
    raise BadInput("refusal.size.not_understood", value=shown(text), example=example)


def is_size(text: str, profile: Profile) -> bool:
    """Return whether a size can be drawn with a model."""
    try:
        parse_size(text, profile)
    except BadInput:
        return False
    return True


def size_for_image(width: int, height: int, profile: Profile) -> tuple[int, int]:
    """Return the size at the native area whose ratio is nearest to a picture's, within the limits of the sides."""
    for name, (across, down) in PRESET_RATIOS.items():
        if math.isclose(width * down, height * across):
            return _preset(name, profile)
    return _at_area(width, height, profile)


def _checked_pixels(width: int, height: int, typed: str, profile: Profile) -> tuple[int, int]:
    value, right = shown(typed), "{}x{}".format(*nearest_size(width, height, profile))
    if min(width, height) < profile.side.low:
        raise BadInput("refusal.size.too_small", value=value, low=profile.side.low, nearest=right)
    if max(width, height) > profile.side.high:
        raise BadInput("refusal.size.too_large", value=value, high=profile.side.high, nearest=right)
    if width % profile.multiple or height % profile.multiple:
        raise BadInput("refusal.size.off_grid", value=value, multiple=profile.multiple, nearest=right)
    return width, height


def _preset(name: str, profile: Profile) -> tuple[int, int]:
    known = profile.presets.get(name)
    return known if known is not None else _at_area(*PRESET_RATIOS[name], profile)


def _at_native_area(across: float, down: float, profile: Profile) -> tuple[int, int]:
    for name, (a, d) in PRESET_RATIOS.items():
        if math.isclose(across * d, down * a):
            return _preset(name, profile)
    native, ratio = profile.side.default, across / down
    sides = native * math.sqrt(ratio), native / math.sqrt(ratio)
    size = _at_area(across, down, profile)
    # Rounding to the grid changes a side by half a step at most. More means a limit was hit and the ratio is lost.
    if any(abs(side - got) > profile.multiple / 2 + 1e-6 for side, got in zip(sides, size, strict=True)):
        raise BadInput("refusal.size.ratio", value=f"{across:g}:{down:g}", nearest="{}x{}".format(*size))
    return size


def _at_area(across: float, down: float, profile: Profile) -> tuple[int, int]:
    """Return the size of a ratio whose area is nearest to the native square's, within the limits of the sides."""
    native = profile.side.default
    ratio = across / down
    return nearest_side(native * math.sqrt(ratio), profile), nearest_side(native / math.sqrt(ratio), profile)


def reads_language(text: str, profile: Profile) -> bool:
    """Return False if the text has a script that none of the model's languages uses."""
    known = set(profile.languages)
    # ASCII letters are Latin; skipping them makes the common case fast.
    scripts = {
        unicodedata.name(char, "").partition(" ")[0] for char in set(text) if char.isalpha() and not char.isascii()
    }
    return all(_SCRIPTS[script] & known for script in scripts & _SCRIPTS.keys())
