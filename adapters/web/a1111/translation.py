"""A1111's requests as Easel's: fits their numbers to the model, and names everything that can't be applied."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.web.a1111.bodies import LARGEST, A1111DrawBody, Img2ImgBody
from adapters.web.a1111.errors import FieldProblem, InvalidBody
from adapters.web.a1111.pictures import fitted_mask, picture_of
from bot.core.requests import STRENGTH, DrawForm, nearest_size
from engine.contract import MAX_CLIP_SKIP, Capability, Profile, Range

AUTOMATIC = frozenset({"", "automatic"})
"""Names of the scheduler that leaves the noise levels to the sampler."""

KARRAS = "karras"

_NOTHING: tuple[object, ...] = (None, False, "", 0, [], {})
"""Values that say nothing."""

_SAYS_NOTHING: Mapping[str, tuple[object, ...]] = {
    "eta": (1,),
    "image_cfg_scale": (1.5,),
    "initial_noise_multiplier": (1,),
    "s_noise": (1,),
    "seed_resize_from_h": (-1,),
    "seed_resize_from_w": (-1,),
}
"""Further values of fields that say nothing: A1111's defaults, which many clients send."""

_PART_OF_OTHERS = ("hr_", "firstphase_", "subseed", "refiner_switch_at", "do_not_save_grid", "clip_skip", "url", "auth")
"""Beginnings of fields that mean something with another one alone, that are read elsewhere, or that SillyTavern's own
server was sent and passes on."""

_REASONS: Mapping[str, str] = {
    "disable_extra_networks": "LoRAs in the prompt are always used.",
    "do_not_save_samples": "Easel keeps the pictures in the history; delete them there.",
    "enable_hr": "enlarge a picture with its button Upscale on the page or in a chat.",
    "restore_faces": "Easel has no face restoration.",
    "subseed_strength": "variations are made by the button Vary on the page or in a chat.",
    "tiling": "Easel draws no tiles.",
}
"""What to do instead, or why not, by field."""

_IMG2IMG_SIZE_RATIO = 0.01
"""Largest difference between two ratios of sides that is taken as none."""

_FILL_ORIGINAL = 1
_RESIZE_FILL = 2
_USUAL_BLUR = 4
_USUAL_PADDINGS = (None, 0, 32)


@dataclass(slots=True)
class Translated:
    """A request as Easel draws it.

    Attributes:
        profile: Its model.
        form: What is drawn.
        notes: What was changed or left out, each in one English sentence.
        model: The model's name as the request gave it; None where it named none.
    """

    profile: Profile
    form: DrawForm
    notes: list[str] = field(default_factory=list)
    model: str | None = None


def model_named(name: str, models: Sequence[Profile]) -> Profile | None:
    """Return the model that a client means: by name or title, also as a file name or with a hash behind it."""
    wanted = name.rsplit(" [", 1)[0].strip().casefold().removesuffix(".safetensors")
    for profile in models:
        if wanted in {profile.name.casefold(), profile.title.casefold(), profile.source.casefold()}:
            return profile
    return None


async def translate(body: A1111DrawBody, models: Sequence[Profile]) -> Translated:
    """Return a request as Easel draws it.

    Args:
        body: The request.
        models: The models that its person may use; the first is their default.

    Raises:
        InvalidBody: A script is named, a model is not there, or a picture is missing or can't be decoded.
        BodyTooLarge: A picture is too large.
    """
    _check_script(body)
    settings = dict(body.override_settings or {})
    started = isinstance(body, Img2ImgBody)
    named, profile = _model(settings.pop("sd_model_checkpoint", None), models, started=started)
    done = Translated(profile, DrawForm(prompt=body.prompt or ""), model=named)
    values: dict[str, Any] = {
        "prompt": body.prompt or "",
        "negative": body.negative_prompt,
        "seed": None if body.seed is None else str(body.seed),
        "count": str(body.count),
        "model": profile.name,
        "style": _style(body, done.notes),
        "steps": _fitted("steps", body.steps, profile.steps, done),
        "guidance": _fitted("cfg_scale", body.cfg_scale, profile.guidance, done),
        "size": _size(body, done),
        "sampler": _sampler(body, done),
        "clip_skip": _clip_skip(settings, body, done),
    }
    if isinstance(body, Img2ImgBody):
        values |= await _pictures(body, done)
    values |= _control(body, done, started=started)
    done.form = DrawForm(**values)
    done.notes += [f"The setting {name} can't be overridden." for name, value in settings.items() if _matters(value)]
    done.notes += _left_out(body)
    return done


def _check_script(body: A1111DrawBody) -> None:
    if body.script_name and body.script_name.casefold() != "none":
        raise InvalidBody(
            [FieldProblem("value_error", ("body", "script_name"), f"Script '{body.script_name}' not found")]
        )


def _model(named: object, models: Sequence[Profile], *, started: bool) -> tuple[str | None, Profile]:
    if isinstance(named, str) and named.strip():
        profile = model_named(named, models)
        if profile is None:
            known = ", ".join(one.name for one in models)
            where = ("body", "override_settings", "sd_model_checkpoint")
            raise InvalidBody([FieldProblem("value_error", where, f"Model not found. There are: {known}", named)])
        return named, profile
    if started:
        able = {Capability.IMAGE, Capability.EDIT}
        return None, next((one for one in models if able & one.can), models[0])
    return None, next((one for one in models if not one.needs_reference), models[0])


def _style(body: A1111DrawBody, notes: list[str]) -> str | None:
    names = [name for name in body.styles or () if name]
    if len(names) > 1:
        notes.append(f"A picture has one style: {names[0]} was used, and not {', '.join(names[1:])}.")
    return names[0] if names else None


def _fitted(name: str, value: float | None, limits: Range[int] | Range[float], done: Translated) -> str | None:
    if value is None:
        return None
    used = min(max(value, limits.low), limits.high)
    if used != value:
        takes = f"{limits.low:g}" if limits.low == limits.high else f"{limits.low:g} to {limits.high:g}"
        done.notes.append(f"{name} {value:g} became {used:g}: {done.profile.title} takes {takes}.")
    return f"{used:.10g}"


def _size(body: A1111DrawBody, done: Translated) -> str | None:
    if body.width is None and body.height is None:
        return None
    side = done.profile.side.default
    asked = (body.width or side, body.height or side)
    used = nearest_size(*asked, done.profile)
    if used != asked:
        reason = (
            f"its sides are multiples of {done.profile.multiple}, {done.profile.side.low} to {done.profile.side.high}"
        )
        done.notes.append(
            "{}x{} became {}x{}: {} can't draw that size ({}).".format(*asked, *used, done.profile.title, reason)
        )
    return "{}x{}".format(*used)


def _sampler(body: A1111DrawBody, done: Translated) -> str | None:
    """Return the sampler of a name and a scheduler: Easel's names hold both, such as ``DPM++ 2M Karras``."""
    name = body.sampler_name or (body.sampler_index if isinstance(body.sampler_index, str) else None)
    scheduler = (body.scheduler or "").casefold()
    if not name and scheduler in AUTOMATIC:
        return None
    profile = done.profile
    known = {one.casefold(): one for one in (profile.sampler, *profile.samplers)}
    wanted = (name or profile.sampler).casefold()
    with_scheduler = known.get(f"{wanted} {scheduler}")
    found = with_scheduler or known.get(wanted)
    if name and found is None:
        choice = ", ".join(profile.samplers) or profile.sampler
        done.notes.append(
            f"The sampler {name} became {profile.sampler}: {profile.title} can't be drawn with it, but with {choice}."
        )
    applied = scheduler in AUTOMATIC or with_scheduler is not None or (found or "").casefold().endswith(scheduler)
    if not applied:
        done.notes.append(f"The scheduler {body.scheduler} was not applied to {found or profile.sampler}.")
    return found


def _clip_skip(settings: dict[str, Any], body: A1111DrawBody, done: Translated) -> str | None:
    sent = settings.pop("CLIP_stop_at_last_layers", None)
    if sent is None:
        # SD.Next has it as a field.
        sent = (body.model_extra or {}).get("clip_skip")
    # 1 is every model's own in A1111, also of those that leave out more.
    if not isinstance(sent, int | float) or isinstance(sent, bool) or sent <= 1:
        return None
    sent = min(sent, LARGEST)
    if not done.profile.clip_skip:
        done.notes.append(f"Clip skip {sent:g} was not applied: {done.profile.title} has no such setting.")
        return None
    return str(min(int(sent), MAX_CLIP_SKIP))


async def _pictures(body: Img2ImgBody, done: Translated) -> dict[str, object]:
    """Return the fields of the pictures that a request starts from."""
    sent = body.init_images or []
    if not sent:
        raise InvalidBody([FieldProblem("missing", ("body", "init_images"), "Init image not found")])
    profile = done.profile
    if Capability.IMAGE not in profile.can and Capability.EDIT in profile.can:
        if body.mask:
            done.notes.append(f"The mask was not applied: {profile.title} edits whole pictures.")
        used = sent[: profile.references]
        if len(sent) > len(used):
            done.notes.append(f"{profile.title} takes {len(used)} pictures; the others were not used.")
        return {
            "references": tuple(
                [await asyncio.to_thread(picture_of, text, "init_images", i) for i, text in enumerate(used)]
            )
        }
    if len(sent) > 1:
        done.notes.append("The first of init_images was used; the others were not.")
    picture = await asyncio.to_thread(picture_of, sent[0], "init_images", 0)
    _note_resize(body, done)
    values: dict[str, object] = {"image": picture, "strength": _fitted_strength(body.denoising_strength, done)}
    if body.mask:
        mask = await asyncio.to_thread(picture_of, body.mask, "mask")
        invert = bool(body.inpainting_mask_invert)
        values["mask"] = await asyncio.to_thread(fitted_mask, mask, picture, invert=invert)
        _note_mask(body, done)
    return values


A1111_STRENGTH = 0.75
"""A1111's default of ``denoising_strength``."""


def _fitted_strength(value: float | None, done: Translated) -> str:
    return _fitted("denoising_strength", A1111_STRENGTH if value is None else value, STRENGTH, done) or ""


def _note_resize(body: Img2ImgBody, done: Translated) -> None:
    if (body.resize_mode or 0) >= _RESIZE_FILL:
        done.notes.append("resize_mode was not applied: the middle of the picture is cut to the new ratio.")


def _note_mask(body: Img2ImgBody, done: Translated) -> None:
    if body.inpainting_fill is not None and body.inpainting_fill != _FILL_ORIGINAL:
        done.notes.append("inpainting_fill was not applied: the part is drawn anew from what is there (1, original).")
    blurs = (body.mask_blur, body.mask_blur_x, body.mask_blur_y)
    if any(blur not in {None, _USUAL_BLUR} for blur in blurs):
        done.notes.append("mask_blur was not applied: soft edges are those of the mask itself.")
    if body.inpaint_full_res_padding not in _USUAL_PADDINGS:
        done.notes.append("inpaint_full_res_padding was not applied: Easel chooses it by the size of the mask.")
    if body.inpaint_full_res is False:
        done.notes.append("inpaint_full_res was not applied: small masks are always drawn at the picture's size.")


def _control(body: A1111DrawBody, done: Translated, *, started: bool) -> dict[str, object]:
    """Return the fields of the first ControlNet unit that is on; notes name scripts and units that are not applied."""
    found: dict[str, object] = {}
    for name, script in (body.alwayson_scripts or {}).items():
        args = script.get("args") if isinstance(script, dict) else script
        units = [one for one in args if _is_on(one)] if isinstance(args, list) else args
        if not units:
            continue
        if name.casefold() != "controlnet" or not isinstance(units, list):
            done.notes.append(f"The script {name} was not applied: Easel has no scripts.")
            continue
        unit = units[0]
        kind = _control_kind(unit, done.profile)
        if not isinstance(unit, dict):
            unit = {}
        picture = unit.get("image") or unit.get("input_image")
        picture = picture.get("image") if isinstance(picture, dict) else picture
        if kind is None or started or not isinstance(picture, str) or found:
            known = ", ".join(done.profile.controls) or "none"
            done.notes.append(
                f"ControlNet was not applied: {done.profile.title} takes a picture of one of these kinds in txt2img: {known}."
            )
            continue
        if len(units) > 1:
            done.notes.append("A request has one control picture; the other units were not applied.")
        weight = unit.get("weight")
        found = {"control": kind, "image": picture_of(picture, "alwayson_scripts", name)}
        if isinstance(weight, int | float) and not isinstance(weight, bool):
            found["control_weight"] = _fitted("weight", min(weight, LARGEST), Range(1.0, 0.0, 2.0), done)
    return found


def _is_on(arg: object) -> bool:
    if isinstance(arg, dict):
        return bool(arg) and arg.get("enabled", True) is not False
    return _matters(arg)


def _control_kind(unit: object, profile: Profile) -> str | None:
    if not isinstance(unit, dict):
        return None
    named = " ".join(str(unit.get(name, "")) for name in ("model", "module")).casefold()
    return next((kind for kind in profile.controls if kind.casefold() in named), None)


def _left_out(body: A1111DrawBody) -> list[str]:
    """Return notes on the fields that are not applied."""
    notes = []
    for name, value in (body.model_extra or {}).items():
        if not _matters(value) or value in _SAYS_NOTHING.get(name, ()):
            continue
        if name in {"subseed_strength", "refiner_checkpoint"} or not name.startswith(_PART_OF_OTHERS):
            reason = _REASONS.get(name)
            notes.append(f"{name} was not applied{'.' if reason is None else f': {reason}'}")
    return notes


def _matters(value: object) -> bool:
    return value not in _NOTHING
