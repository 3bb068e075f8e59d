"""The line that asks for a job again: its prompt with the flags that made it."""

from __future__ import annotations

from bot.core.requests import DrawRequest
from bot.drawing.styles import Style
from engine.contract import Profile

_QUOTES = (('"', '"“”„‟'), ("«", "»"), ("「", "」"), ("『", "』"))
"""Opening marks that the flags' grammar knows, each with the marks that close it."""

_MARK = "\0"


def prompt_line(request: DrawRequest, profile: Profile | None, style: Style | None, default: Profile) -> str:
    """Return a request as its author could type it.

    The picture that it starts from, its mask and a variation have no flags; what stands in for them is left out.

    Args:
        request: A checked request.
        profile: Its model; None when it is not there any more. Values that are the model's own defaults are left out.
        style: Its style; None when it has none, or when the style is not there any more.
        default: The model that is used where none is named.
    """
    flags = [f"--size {request.width}x{request.height}", f"--seed {request.seed}"]
    if request.count > 1:
        flags.append(f"--count {request.count}")
    if profile is None or request.steps != profile.steps.default:
        flags.append(f"--steps {request.steps}")
    if profile is None or request.guidance != profile.guidance.default:
        flags.append(f"--guidance {request.guidance:g}")
    if request.style:
        flags.append(f"--style {_quoted(request.style)}")
    if request.model != default.name:
        flags.append(f"--model {request.model}")
    negative = _without_style(request.negative, style)
    if negative and (profile is None or negative != profile.negative_default):
        flags.append(f"--no {_quoted(negative)}")
    if request.private:
        flags.append("--private")
    return f"{request.typed} {' '.join(flags)}"


def is_whole(request: DrawRequest) -> bool:
    """Whether the line says all of a request: it starts from no picture and varies none."""
    return not (request.image or request.variation)


def _without_style(negative: str, style: Style | None) -> str:
    """Return a negative prompt without what its style has added."""
    if style is None:
        return negative
    if style.apply_negative("") == negative:
        return ""
    before, _, after = style.apply_negative(_MARK).partition(_MARK)
    if negative.startswith(before) and negative.endswith(after):
        return negative[len(before) : len(negative) - len(after)]
    return negative  # the style was another one then


def _quoted(value: str) -> str:
    for opening, closers in _QUOTES:
        if not any(closer in value for closer in closers):
            return f"{opening}{value}{closers[0]}"
    return f'"{value.translate({ord(mark): chr(39) for mark in _QUOTES[0][1]})}"'
