"""Whether a model reads the language that a prompt is in, as far as its script tells."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Mapping, Sequence

from bot.core.errors import BadInput
from bot.core.recipes import MAX_SEED, draw_seed
from bot.core.requests import DrawForm, DrawRequest, SourceImage
from bot.core.texts import clean, decimal, fold, nearest, shown, whole
from bot.drawing import flags
from bot.drawing.flags import amount
from bot.drawing.sizes import size_like, size_of
from bot.drawing.styles import BUILT_IN, Style, find, listing
from engine.contract import Capability, NegativePromptSupport, Profile, Range

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
"""Languages (BCP 47) by the first word of their letters' names in Unicode. Latin letters tell too little, and Greek ones
are often signs."""


def reads_language(text: str, profile: Profile) -> bool:
    """Return False where some of the text is in a script of none of the model's languages."""
    known = set(profile.languages)
    # ASCII is most of what comes, and its letters are all Latin.
    scripts = {
        unicodedata.name(char, "").partition(" ")[0] for char in set(text) if char.isalpha() and not char.isascii()
    }
    return all(_SCRIPTS[script] & known for script in scripts & _SCRIPTS.keys())


MAX_TYPED = 10_000
"""Longer texts, flags and all, are refused unread: above every platform's longest message and every model's limit."""

RANDOM = -1
"""The seed that other programs take for a random one."""

STRENGTH = Range(0.6, 0.05, 1.0)
"""How far to move away from a picture to start from: less than 0.05 would change nothing that can be seen."""


def check(
    form: DrawForm,
    profiles: Sequence[Profile],
    max_count: int,
    rng: random.Random,
    styles: Mapping[str, Style] = BUILT_IN,
    *,
    start: SourceImage | None = None,
) -> DrawRequest:
    """Read the flags in the prompt, then check everything against the model's profile.

    Args:
        form: As typed, flags in the prompt and all.
        profiles: What can be asked for; the first is the default.
        max_count: Most pictures in one request here.
        rng: Draws the seed where none was typed.
        styles: What ``--style`` may name.
        start: The form's picture, once it is read.

    Raises:
        BadInput: One sentence on what was wrong and what to do.
    """
    if len(form.prompt) > MAX_TYPED:
        raise BadInput("refusal.prompt.too_long", length=len(form.prompt), limit=profiles[0].prompt_chars)
    form = flags.parse(form)
    typed = clean(form.prompt)
    if not typed:
        raise BadInput("refusal.prompt.empty")
    profile = _profile(form.model, profiles)
    strength = _strength(form.strength, start, profile)
    style = _style(form.style, styles)
    steps = _steps(form.steps, profile.steps)
    guidance = _guidance(form.guidance, profile.guidance)
    width, height = _size(form.size, start, profile)
    if start is not None and start.white is not None and not _shown_in(start, start.white, width, height):
        raise BadInput("refusal.mask.cut_off", size=f"{width}x{height}")
    negative, notes = _negative(form.negative, style, profile, guidance)
    if not reads_language(typed, profile):
        notes = (*notes, "note.language")
    return DrawRequest(
        prompt=_prompt(typed, style, profile.prompt_chars),
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
        image=start.image if start else "",
        mask=start.mask if start else "",
        strength=strength,
    )


def _profile(name: str | None, profiles: Sequence[Profile]) -> Profile:
    if name is None:
        return profiles[0]
    wanted = fold(name)
    for profile in profiles:
        if wanted in {fold(profile.name), fold(profile.title), fold(profile.source)}:
            return profile
    known = tuple(profile.name for profile in profiles)
    raise BadInput("refusal.model.unknown", value=shown(name), known=", ".join(known))


def _style(name: str | None, styles: Mapping[str, Style]) -> Style | None:
    if name is None:
        return None
    style = find(name, styles)
    if style is None:
        by_name = {fold(known): known for known in styles}
        value, known, near = shown(name), listing(styles), nearest(fold(name), by_name)
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


def _strength(text: str | None, start: SourceImage | None, profile: Profile) -> float:
    if start is None:
        if text is not None:
            raise BadInput("refusal.strength.no_image")
        return 1.0
    if Capability.IMAGE not in profile.can:
        raise BadInput("refusal.image.model", model=profile.title)
    if start.mask and Capability.MASK not in profile.can:
        raise BadInput("refusal.mask.model", model=profile.title)
    if text is None:
        return STRENGTH.default
    strength = decimal(text)
    low, high = f"{STRENGTH.low:g}", f"{STRENGTH.high:g}"
    if strength is None:
        raise BadInput("refusal.strength.not_number", value=shown(text), low=low, high=high)
    if not STRENGTH.low <= strength <= STRENGTH.high:
        raise BadInput("refusal.strength.range", value=shown(text), low=low, high=high)
    return strength


def _size(text: str | None, start: SourceImage | None, profile: Profile) -> tuple[int, int]:
    if text is None and start is not None:
        return size_like(start.width, start.height, profile)
    return size_of(text, profile)


def _shown_in(start: SourceImage, box: tuple[int, int, int, int], width: int, height: int) -> bool:
    """Whether any of a box is in the middle of the picture, which is all that is kept of it at another ratio."""
    left, top, right, bottom = box
    across = min(start.width, start.height * width / height) / 2
    down = min(start.height, start.width * height / width) / 2
    x, y = start.width / 2, start.height / 2
    return left < x + across and right > x - across and top < y + down and bottom > y - down


def _negative(text: str | None, style: Style | None, profile: Profile, guidance: float) -> tuple[str, tuple[str, ...]]:
    """Return the negative prompt that the model will follow, and what the person should know about it."""
    typed = clean(text or "")
    ignored = {
        NegativePromptSupport.ALWAYS: "",
        NegativePromptSupport.WITH_GUIDANCE: "" if guidance > 1 else "note.negative.needs_guidance",
        NegativePromptSupport.NEVER: "note.negative.ignored",
    }[profile.negative]
    if ignored:
        # What does nothing is not kept: neither the card nor the picture's metadata may pretend that it did.
        return "", (ignored,) if typed else ()
    # An empty one that was really given keeps the model's usual one away.
    wanted = profile.negative_default if text is None else typed
    negative = style.apply_negative(wanted) if style else wanted
    if len(negative) > profile.prompt_chars:
        raise BadInput("refusal.negative.too_long", length=len(negative), limit=profile.prompt_chars)
    return negative, ()


def _steps(text: str | None, limits: Range[int]) -> int:
    if text is None:
        return limits.default
    steps = whole(amount("steps", fold(text)))
    if steps is None:
        raise BadInput("refusal.steps.not_number", value=shown(text), low=limits.low, high=limits.high)
    if not limits.low <= steps <= limits.high:
        raise BadInput("refusal.steps.range", value=shown(text), low=limits.low, high=limits.high)
    return steps


def _guidance(text: str | None, limits: Range[float]) -> float:
    if text is None:
        return limits.default
    guidance = decimal(text)
    low, high = f"{limits.low:g}", f"{limits.high:g}"
    if guidance is None:
        raise BadInput("refusal.guidance.not_number", value=shown(text), low=low, high=high)
    if limits.low == limits.high != guidance:
        raise BadInput("refusal.guidance.fixed", value=shown(text), fixed=low)
    if not limits.low <= guidance <= limits.high:
        raise BadInput("refusal.guidance.range", value=shown(text), low=low, high=high)
    return guidance


def _seed(text: str | None, rng: random.Random) -> int:
    if text is None:
        return draw_seed(rng)
    seed = whole(text)
    if seed is None:
        raise BadInput("refusal.seed.not_number", value=shown(text))
    if seed == RANDOM:
        return draw_seed(rng)
    if not 0 <= seed <= MAX_SEED:
        raise BadInput("refusal.seed.range", value=shown(text), high=str(MAX_SEED))
    return seed


def _count(text: str | None, most: int) -> int:
    if text is None:
        return 1
    count = whole(amount("count", fold(text)))
    if count is None:
        raise BadInput("refusal.count.not_number", value=shown(text), most=most)
    if not 1 <= count <= most:
        raise BadInput("refusal.count.range", value=shown(text), most=most)
    return count
