"""Values that are suggested while somebody fills in an argument: models, styles, LoRAs, sizes, own prompts and own jobs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bot.cards.i18n import text
from bot.commands.model import Arg, ArgType
from bot.context import AppContext
from bot.core.people import Actor, Place
from bot.core.texts import fold
from bot.drawing.defaults import rights_of
from bot.drawing.model_rules import find_model, fits, matches
from bot.drawing.styles import ALIASES, style_key
from bot.storage import jobs, people
from bot.storage.database import Tx
from engine.contract import LoraInfo, Profile

MOST = 25
"""Most suggestions; Discord shows no more."""

VALUE_CHARS = LABEL_CHARS = 100
"""Longest value, and longest label, in characters: Discord's limits for choices."""

_RECENT = 200
"""How many of somebody's last jobs are searched for prompts."""

_SHORTENED = re.compile(r"(?P<begin>.+)… #(?P<number>[0-9]{1,18})", re.DOTALL)
"""A prompt that is too long for a value: its beginning, and the job that has all of it."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A value that may be filled in, and how it is shown to the person. Both are data."""

    value: str
    label: str


async def suggest(
    ctx: AppContext, actor: Actor, place: Place, arg: Arg, typed: str, *, given: Mapping[str, str]
) -> tuple[Suggestion, ...]:
    """Return up to ``MOST`` values that fit what was typed so far. It reads memory, and the database at most once.

    Args:
        ctx: The use cases' context.
        actor: Who types: only what they may use here, and only their own prompts and jobs, are suggested.
        place: Where.
        arg: The argument; one whose type is not among ``SUGGESTED`` has no suggestions.
        typed: What was typed so far.
        given: The other arguments so far, by name: sizes and LoRAs are those of the chosen model.
    """
    match arg.type:
        case ArgType.PROMPT:
            found = await _prompts(ctx, actor, typed)
        case ArgType.JOB:
            found = await _jobs(ctx, actor, typed)
        case ArgType.MODEL:
            found = await _models(ctx, actor, place, typed)
        case ArgType.STYLE:
            found = _styles(ctx, typed)
        case ArgType.LORA:
            found = await _loras(ctx, actor, place, typed, _model(ctx, given))
        case ArgType.SIZE:
            found = _sizes(_model(ctx, given), typed, actor.locale)
        case _:
            found = ()
    return tuple(_fitting(found))


def _fitting(found: Iterable[Suggestion]) -> list[Suggestion]:
    """Return the first suggestions, without those whose value is too long."""
    short = (one for one in found if 0 < len(one.value) <= VALUE_CHARS)
    labelled = (Suggestion(one.value, _shortened(one.label, LABEL_CHARS)) for one in short)
    return [one for _, one in zip(range(MOST), labelled, strict=False)]


def _shortened(label: str, limit: int) -> str:
    return label if len(label) <= limit else label[: limit - 1].rstrip() + "…"


def _model(ctx: AppContext, given: Mapping[str, str]) -> Profile:
    profiles = ctx.profiles()
    return find_model(given.get("model", ""), profiles) or profiles[0]


async def _prompts(ctx: AppContext, actor: Actor, typed: str) -> Iterable[Suggestion]:
    """Return one's own last prompts that hold the words."""
    words = fold(typed).split()
    return [
        Suggestion(_prompt_value(number, prompt), " ".join(prompt.split()))
        for number, prompt in await _own(ctx, actor)
        if all(word in fold(prompt) for word in words)
    ]


async def _jobs(ctx: AppContext, actor: Actor, typed: str) -> Iterable[Suggestion]:
    """Return one's own last jobs whose number or prompt holds the words."""
    words = fold(typed).removeprefix("#").split()
    return [
        Suggestion(str(number), f"#{number} · {' '.join(prompt.split())}")
        for number, prompt in await _own(ctx, actor)
        if all(word in f"{number} {fold(prompt)}" for word in words)
    ]


async def _own(ctx: AppContext, actor: Actor) -> tuple[tuple[int, str], ...]:
    async with ctx.db.read() as tx:
        return await jobs.last_prompts(tx, actor, limit=_RECENT)


def _prompt_value(number: int, prompt: str) -> str:
    if len(prompt) <= VALUE_CHARS:
        return prompt
    end = f"… #{number}"
    return prompt[: VALUE_CHARS - len(end)] + end


async def whole_prompt(tx: Tx, actor: Actor, prompt: str) -> str:
    """Return the prompt that a suggestion has shortened; any other prompt unchanged."""
    found = _SHORTENED.fullmatch(prompt)
    job = None if found is None else await jobs.get(tx, int(found["number"]))
    if found is None or job is None or not job.request.typed.startswith(found["begin"]):
        return prompt
    person = await people.find(tx, actor.platform, actor.user_id)
    return job.request.typed if person is not None and person.id == job.person_id else prompt


def is_shortened(prompt: str) -> bool:
    """Return whether a prompt may be one that a suggestion has shortened."""
    return _SHORTENED.fullmatch(prompt) is not None


async def _models(ctx: AppContext, actor: Actor, place: Place, typed: str) -> Iterable[Suggestion]:
    words, rights = fold(typed).split(), await rights_of(ctx, actor, place)
    return [
        Suggestion(profile.name, f"{profile.title} · {profile.name}")
        for profile in ctx.profiles()
        if all(word in fold(f"{profile.name} {profile.title}") for word in words)
        and rights.may_use_model(profile, actor)
    ]


def _styles(ctx: AppContext, typed: str) -> Iterable[Suggestion]:
    wanted = style_key(typed)
    aliases = {name for alias, name in ALIASES.items() if wanted and wanted in style_key(alias)}
    return [Suggestion(name, name) for name in ctx.styles if wanted in style_key(name) or name in aliases]


async def _loras(ctx: AppContext, actor: Actor, place: Place, typed: str, profile: Profile) -> Iterable[Suggestion]:
    """Complete the last LoRA of a list such as ``pixel-art:0.8, anime``."""
    before, comma, last = typed.rpartition(",")
    head = f"{before.strip()}, " if comma and before.strip() else ""
    name, colon, weight = last.strip().partition(":")
    known = [lora for lora in ctx.loras() if fits(lora, profile) and matches(lora, name)]
    rights = await rights_of(ctx, actor, place)
    return [
        Suggestion(f"{head}{lora.name}{colon}{weight}", head + _lora_label(lora))
        for lora in known
        if rights.may_use_lora(lora, actor)
    ]


def _lora_label(lora: LoraInfo) -> str:
    title = lora.name if fold(lora.title) == fold(lora.name) else f"{lora.title} · {lora.name}"
    return f"{title} · {', '.join(lora.triggers)}" if lora.triggers else title


def _sizes(profile: Profile, typed: str, locale: str) -> Iterable[Suggestion]:
    """Return the model's presets; other sizes may be typed as well."""
    wanted = fold(typed)
    named = {name: f"{text(locale, f'size.{name}')} · {w}×{h}" for name, (w, h) in profile.presets.items()}
    return [Suggestion(name, label) for name, label in named.items() if wanted in fold(f"{name} {label}")]
