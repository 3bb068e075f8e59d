"""Sizes: pixels on the model's grid, ratios at the model's native area, and presets by name."""

from __future__ import annotations

import math

from bot.core.errors import BadInput
from bot.core.texts import fold, shown, whole
from bot.drawing.flags import RATIO, SIZE
from engine.contract import Profile

RATIOS = {"square": (1, 1), "portrait": (3, 4), "landscape": (4, 3), "tall": (9, 16), "wide": (16, 9)}
"""The presets' ratios, width to height."""

_NAMES = {
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


def size_of(text: str | None, profile: Profile) -> tuple[int, int]:
    """Return (width, height) in pixels for ``WxH``, ``W:H`` or a preset's name; the native square for None.

    Raises:
        BadInput: Not a size, too small, too large, off the grid, or a ratio that the sides' limits don't allow; the
            nearest right size is named.
    """
    if text is None:
        return _preset("square", profile)
    folded = fold(text)
    name = _NAMES.get(folded, folded)
    if name in RATIOS:
        return _preset(name, profile)
    if pixels := SIZE.fullmatch(folded):
        width, height = whole(pixels["width"]), whole(pixels["height"])
        assert width is not None
        assert height is not None
        return _checked(width, height, folded, profile)
    if ratio := RATIO.fullmatch(folded):
        across, down = float(ratio["across"]), float(ratio["down"])
        if across > 0 and down > 0:
            return _at_native_area(across, down, profile)
    example = "{}x{}".format(*_preset("square", profile))
    raise BadInput("refusal.size.not_understood", value=shown(text), example=example)


def size_like(width: int, height: int, profile: Profile) -> tuple[int, int]:
    """Return the size at the native area that is nearest in ratio to a picture's, as far as the sides' limits allow."""
    for name, (across, down) in RATIOS.items():
        if math.isclose(width * down, height * across):
            return _preset(name, profile)
    return _at_area(width, height, profile)


def nearest(width: int, height: int, profile: Profile) -> tuple[int, int]:
    """Return the size on the grid and in range that is nearest to the given one."""
    return _nearest_side(width, profile), _nearest_side(height, profile)


def _nearest_side(side: float, profile: Profile) -> int:
    low = math.ceil(profile.side.low / profile.multiple)
    high = profile.side.high // profile.multiple
    return min(max(round(side / profile.multiple), low), high) * profile.multiple


def _checked(width: int, height: int, typed: str, profile: Profile) -> tuple[int, int]:
    value, right = shown(typed), "{}x{}".format(*nearest(width, height, profile))
    if min(width, height) < profile.side.low:
        raise BadInput("refusal.size.too_small", value=value, low=profile.side.low, nearest=right)
    if max(width, height) > profile.side.high:
        raise BadInput("refusal.size.too_large", value=value, high=profile.side.high, nearest=right)
    if width % profile.multiple or height % profile.multiple:
        raise BadInput("refusal.size.off_grid", value=value, multiple=profile.multiple, nearest=right)
    return width, height


def _preset(name: str, profile: Profile) -> tuple[int, int]:
    known = profile.presets.get(name)
    return known if known is not None else _at_area(*RATIOS[name], profile)


def _at_area(across: float, down: float, profile: Profile) -> tuple[int, int]:
    """Return the size of that ratio whose area is nearest to the native square's, kept inside the limits."""
    native = profile.side.default
    ratio = across / down
    return _nearest_side(native * math.sqrt(ratio), profile), _nearest_side(native / math.sqrt(ratio), profile)


def _at_native_area(across: float, down: float, profile: Profile) -> tuple[int, int]:
    for name, (a, d) in RATIOS.items():
        if math.isclose(across * d, down * a):
            return _preset(name, profile)
    native, ratio = profile.side.default, across / down
    sides = native * math.sqrt(ratio), native / math.sqrt(ratio)
    size = _at_area(across, down, profile)
    # Half a step is lost to the grid; more than that is lost to the limits, and another ratio would come out.
    if any(abs(side - got) > profile.multiple / 2 + 1e-6 for side, got in zip(sides, size, strict=True)):
        raise BadInput("refusal.size.ratio", value=f"{across:g}:{down:g}", nearest="{}x{}".format(*size))
    return size
