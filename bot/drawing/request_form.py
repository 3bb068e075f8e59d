"""The form with a job's request: its fields as they were, and the request that is drawn when they come back changed.

With ``starts`` it is the request that starts from one of the job's pictures: the form has a strength as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from bot.cards.i18n import text
from bot.context import AppContext
from bot.core.cards import ButtonPress
from bot.core.errors import BadInput, NotFound
from bot.core.forms import MAX_CHOICES, MAX_FIELDS, SHORT_CHARS, FieldKind, Form, FormChoice, FormField
from bot.core.jobs import Job
from bot.core.messages import EventRef
from bot.core.people import Actor, Place
from bot.core.pictures import Picture
from bot.core.requests import STRENGTH, DrawForm, DrawRequest, ReferenceImage, SourceImage
from bot.core.texts import shown
from bot.drawing import flags
from bot.drawing.flags import missing_from_line
from bot.drawing.job_actions import admit_child, get_job, line_of
from bot.drawing.request_rules import check_form, reads_negative
from bot.drawing.start_picture import picture_of, source_of

MORE = "flags"
"""The field that holds, as flags, the values that have no field of their own."""

_FLAGS = {"size": "size", "seed": "seed", "steps": "steps", "model": "model", "strength": "strength"}
"""Flags of the values that may be in ``MORE``, by the field's name."""


@dataclass(frozen=True, slots=True)
class _Typed:
    """A request as its author could have typed it.

    Attributes:
        request: It; with ``starts`` without what the picture that it starts from stands for.
        line: The line.
        form: The fields of the form that the line is read as.
        picture: The picture that it starts from; None without ``starts``.
    """

    request: DrawRequest
    line: str
    form: DrawForm
    picture: Picture | None = None


async def open_form(ctx: AppContext, press: ButtonPress, locale: str, *, starts: bool = False) -> Form:
    """Return the form with the request of the pressed job. Raises NotFound where its prompt or its picture is gone."""
    typed = await _typed(ctx, await get_job(ctx, press.job_id), press.index or 0, starts=starts)
    request = typed.request
    return Form(
        text(locale, "form.start" if starts else "form.edit"),
        press,
        _fields(ctx, request, typed.form, locale, starts=starts),
        line=f"/draw {typed.line}",
        notes=tuple(text(locale, key, n=len(request.references)) for key in missing_from_line(request)),
    )


async def draw_form(
    ctx: AppContext,
    actor: Actor,
    place: Place,
    press: ButtonPress,
    ref: EventRef,
    *,
    values: Mapping[str, str],
    starts: bool = False,
) -> Job:
    """Admit the request of the pressed job with the values that were submitted. Raises Refusal."""
    job = await get_job(ctx, press.job_id)
    typed = await _typed(ctx, job, press.index or 0, starts=starts)
    was = typed.request
    form = _changed(ctx, typed, values)
    most = ctx.max_count(actor.platform)
    if form.count == str(was.count):
        # A job of the web page may have more pictures than a chat allows.
        form = replace(form, count=str(min(was.count, most)))
    request = check_form(
        form,
        ctx.profiles(),
        most,
        ctx.rng,
        ctx.styles,
        loras=ctx.loras(),
        source=_source(ctx, typed),
        references=tuple(ReferenceImage(file, was.width, was.height) for file in was.references),
        edit_model=ctx.edit_model,
    )
    if was.variation and (request.seed, request.model) == (was.seed, was.model):
        request = replace(request, variation=was.variation, variation_seed=was.variation_seed)
    return await admit_child(ctx, actor, place, ref, parent=job, request=request)


async def _typed(ctx: AppContext, job: Job, index: int, *, starts: bool) -> _Typed:
    request, picture = job.request, None
    if not request.typed:
        raise NotFound("refusal.prompt.gone")
    if starts:
        picture = await picture_of(ctx, job.id, index)
        request = replace(
            request,
            width=picture.width,
            height=picture.height,
            seed=picture.seed,
            image="",
            mask="",
            references=(),
            variation=0.0,
            variation_seed=0,
            control="",
            control_weight=1.0,
        )
    line = line_of(ctx, request)
    form = flags.parse(DrawForm(line))
    if picture is not None:
        form = replace(form, strength=f"{STRENGTH.default:g}")
        line += f" --strength {form.strength} --from {job.id}:{picture.index + 1}"
    elif request.image and not request.control:
        form = replace(form, strength=f"{request.strength:g}")
    return _Typed(request, line, form, picture)


def _source(ctx: AppContext, typed: _Typed) -> SourceImage | None:
    request, picture = typed.request, typed.picture
    if picture is not None:
        return source_of(ctx, picture)
    if request.image:
        return SourceImage(request.image, request.width, request.height, request.mask)
    return None


def _fields(
    ctx: AppContext, request: DrawRequest, typed: DrawForm, locale: str, *, starts: bool
) -> tuple[FormField, ...]:
    """Return the fields, the most wanted first; what does not fit is in ``MORE``."""
    profiles = ctx.profiles()
    profile = ctx.profile(request.model) or profiles[0]
    values = _values(ctx, request, typed)
    limit = profile.prompt_chars
    found = [
        FormField(
            "prompt",
            text(locale, "form.prompt"),
            values["prompt"],
            FieldKind.LONG,
            required=True,
            max_length=max(limit, len(values["prompt"])),
        )
    ]
    if starts:
        # What makes this form differ from the other must not be among the flags.
        found.append(FormField("strength", text(locale, "fact.strength"), values["strength"]))
    if reads_negative(profile, request.guidance):
        negative = values["negative"]
        size = max(limit, len(negative))
        found.append(FormField("negative", text(locale, "fact.negative"), negative, FieldKind.LONG, max_length=size))
    found += [
        FormField(name, text(locale, f"fact.{name}"), values[name])
        for name in (("size",) if starts else ("strength", "size"))
        if name in values
    ]
    if 1 < len(profiles) <= MAX_CHOICES:
        choices = tuple(FormChoice(one.name, one.title) for one in profiles)
        found.append(
            FormField(
                "model", text(locale, "fact.model"), values["model"], FieldKind.CHOICE, required=True, choices=choices
            )
        )
    found += [FormField(name, text(locale, f"fact.{name}"), values[name]) for name in ("seed", "steps")]
    if len(found) <= MAX_FIELDS:
        return tuple(found)
    rest = found[MAX_FIELDS - 1 :]
    line = " ".join(f"--{_FLAGS[field.name]} {field.value}" for field in rest if field.value)
    return (*found[: MAX_FIELDS - 1], FormField(MORE, text(locale, "form.flags"), line, max_length=SHORT_CHARS))


def _values(ctx: AppContext, request: DrawRequest, typed: DrawForm) -> dict[str, str]:
    """Return the values that the fields have at first, by name."""
    profiles = ctx.profiles()
    profile = ctx.profile(request.model) or profiles[0]
    values = {
        "prompt": typed.prompt,
        "negative": profile.negative_default if typed.negative is None else typed.negative,
        "size": f"{request.width}x{request.height}",
        "seed": str(request.seed),
        "steps": str(request.steps),
        "model": profile.name,
    }
    return values if typed.strength is None else values | {"strength": typed.strength}


def _changed(ctx: AppContext, before: _Typed, values: Mapping[str, str]) -> DrawForm:
    """Return the request as typed, with the submitted values that differ, and the flags of the prompt above both.

    Raises BadInput where the field of flags has other words, or the flags can't be read.
    """
    typed, request = before.form, before.request
    first = _values(ctx, request, typed)
    names = first.keys() - {"prompt"}
    more = flags.parse(DrawForm(values.get(MORE, "")))
    if more.prompt:
        raise BadInput("refusal.form.flags", value=shown(more.prompt))
    prompt = flags.parse(DrawForm(values.get("prompt", "")))
    given = {name: values[name].strip() for name in names & values.keys()}
    given |= {name: value for name in names if (value := getattr(more, name)) is not None}
    if MORE in values:
        # A flag that was taken out stands for the usual value, as it does in a prompt.
        given = dict.fromkeys(names & _FLAGS.keys(), "") | given
    model = given.pop("model", first["model"]) or ctx.profiles()[0].name
    different = {name: value for name, value in given.items() if value != first[name]}
    if model != request.model:
        # The ratio stays; the other model may have another grid, and it has its own usual steps, guidance and sampler.
        typed = replace(typed, size=f"{request.width}:{request.height}", steps=None, guidance=None)
        typed = replace(typed, sampler=None, clip_skip=None)
    over: dict[str, Any] = {name: value if value or name == "negative" else None for name, value in different.items()}
    over |= {f.name: value for f in fields(DrawForm) if f.name != "prompt" and (value := getattr(prompt, f.name))}
    if prompt.lora and typed.lora:
        over["lora"] = f"{typed.lora}, {prompt.lora}"
    return replace(typed, **{"prompt": prompt.prompt, "model": model} | over)
