"""Cards, models, LoRAs and the engine's state as JSON, and parts of a request that a refusal quotes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from bot.core.cards import ButtonPress, Card, Fact, JobDetails, ParentPicture
from bot.core.connections import PlatformConnection
from bot.core.pictures import FittedParameters, PictureFile
from bot.core.texts import clip
from bot.studio import THUMBNAIL_SIDES, Studio
from engine.contract import MAX_CLIP_SKIP, READY, LoraInfo, Profile, Range

Json = dict[str, object]

FAVOURITE = "favourite"
"""The action of a picture's star."""

_SHOWN_CHARS = 60


def card_json(card: Card) -> Json:
    """Return a card; seeds are text, since JSON's numbers lose digits above 2**53."""
    return {
        "job_id": card.job_id,
        "tone": card.tone.value,
        "status": card.status,
        "prompt": card.prompt,
        "progress": card.progress,
        "notes": list(card.notes),
        "facts": facts_json(card.facts),
        "pictures": [
            _picture(card.job_id, p) for p in card.pictures if card.job_id is not None and p.index is not None
        ],
        "buttons": [
            [
                {
                    "label": b.title or b.label,
                    "action": b.press.action,
                    "index": b.press.index,
                    "id": b.press.pack(),
                    "danger": b.danger,
                }
                for b in row
            ]
            for row in (*card.buttons, card.more)
            if row
        ],
        "final": card.final,
        "coming": _coming(card),
        **_details(card),
    }


def facts_json(facts: Iterable[Fact]) -> list[Json]:
    """Return labelled values in their order."""
    return [{"label": fact.label, "value": fact.value} for fact in facts]


def _details(card: Card) -> Json:
    """Return what a feed shows besides the card: null where it was not looked up, as in answers that show no job."""
    if card.details is None or card.job_id is None:
        return dict.fromkeys(
            (
                "created_at",
                "kind",
                "platform",
                "started_at",
                "step",
                "steps",
                "seconds_left",
                "parent",
                "recipe",
            )
        )
    details = card.details
    return {
        "created_at": moment(details.created_at),
        "kind": details.kind,
        "platform": details.platform,
        "started_at": None if details.started_at is None else moment(details.started_at),
        "step": details.step,
        "steps": details.steps,
        "seconds_left": None if details.seconds_left is None else round(details.seconds_left, 1),
        "parent": None if details.parent is None else _parent(details.parent),
        "recipe": recipe_json(card.job_id, details),
    }


def recipe_json(job_id: int | None, details: JobDetails) -> Json:
    """Return what the form needs to draw the request again; the seed is text.

    Args:
        job_id: Its job, whose source pictures have addresses; None leaves these out.
        details: The job's details.
    """
    request = details.request
    sources: Json = {}
    if job_id is not None:
        sources = {
            "start": f"/jobs/{job_id}/start.png" if request.image else None,
            "mask": f"/jobs/{job_id}/mask.png" if request.mask else None,
            "references": [f"/jobs/{job_id}/{number}.png" for number in range(len(request.references))],
        }
    return {
        "prompt": request.typed,
        "negative": details.negative,
        "width": request.width,
        "height": request.height,
        "steps": request.steps,
        "guidance": request.guidance,
        "seed": str(request.seed),
        "count": request.count,
        "model": request.model,
        "style": request.style,
        "loras": [{"name": lora.name, "weight": lora.weight} for lora in details.loras],
        "sampler": request.sampler,
        "clip_skip": request.clip_skip,
        "strength": request.strength,
        "control": request.control,
        "control_weight": request.control_weight,
        "variation": request.variation,
        "label": request.label,
        **sources,
    }


def _parent(parent: ParentPicture) -> Json:
    return {"job_id": parent.job_id, "index": parent.index, "thumb": thumbnail_url(parent.digest, THUMBNAIL_SIDES[0])}


def thumbnail_url(digest: str, side: int) -> str | None:
    """Return the address of a thumbnail; None where the picture has none."""
    return f"/thumbs/{digest}-{side}.webp" if digest else None


def moment(seconds: float) -> str:
    """Return a time in ISO 8601, UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def connection_json(connection: PlatformConnection) -> Json:
    """Return a platform's connection as ``/readyz`` tells of it."""
    since = datetime.fromtimestamp(connection.since, UTC).isoformat(timespec="seconds")
    return {"state": connection.state.value, "since": since}


def _coming(card: Card) -> Json | None:
    if card.coming is None:
        return None
    one = card.coming
    # The number makes each preview's address unique, so that no cache shows an old one.
    previews = {str(index): f"/api/jobs/{card.job_id}/preview/{index}?k={number}" for index, number in one.previews}
    return {
        "count": one.count,
        "width": one.width,
        "height": one.height,
        "enlarge": one.enlarge,
        "previews": previews,
    }


def _picture(job_id: int | None, file: PictureFile) -> Json:
    url = f"/pictures/{job_id}/{file.index}.png"
    return {
        "index": file.index,
        "url": url,
        "download": f"{url}?download=1",
        "thumb": thumbnail_url(file.digest, THUMBNAIL_SIDES[0]),
        "medium": thumbnail_url(file.digest, THUMBNAIL_SIDES[1]),
        "width": file.width,
        "height": file.height,
        "alt": file.alt,
        "seed": None if file.seed is None else str(file.seed),
        "favourite": file.favourite,
        "spoiler": file.spoiler,
        "star": None if job_id is None else ButtonPress(FAVOURITE, job_id, file.index).pack(),
    }


def fitted_json(read: FittedParameters) -> Json:
    """Return a picture's parameters as values for the form; what is unknown is left out."""
    width, height = read.size or (None, None)
    form: Json = {
        "prompt": read.prompt,
        "negative": read.negative,
        "width": width,
        "height": height,
        "steps": read.steps,
        "guidance": read.guidance,
        "seed": None if read.seed is None else str(read.seed),
        "model": read.model,
        "sampler": read.sampler or None,
        "clip_skip": read.clip_skip,
        "loras": [{"name": lora.name, "weight": lora.weight} for lora in read.loras],
        "label": read.label or None,
    }
    return {name: value for name, value in form.items() if value is not None}


def _limits(limits: Range[int] | Range[float]) -> Json:
    return {"default": limits.default, "low": limits.low, "high": limits.high}


def profile_json(profile: Profile) -> Json:
    """Return a model's description for the form."""
    return {
        "name": profile.name,
        "title": profile.title,
        "family": profile.family,
        "multiple": profile.multiple,
        "side": _limits(profile.side),
        "presets": {name: list(size) for name, size in profile.presets.items()},
        "steps": _limits(profile.steps),
        "guidance": _limits(profile.guidance),
        "sampler": profile.sampler,
        "samplers": list(profile.samplers),
        "controls": list(profile.controls),
        "clip_skip": _limits(Range(profile.clip_skip, 1, MAX_CLIP_SKIP)) if profile.clip_skip else None,
        "negative": profile.negative.value,
        "negative_default": profile.negative_default,
        "prompt_chars": profile.prompt_chars,
        "languages": list(profile.languages),
        "can": sorted(can.value for can in profile.can),
        "references": profile.references,
        "needs_reference": profile.needs_reference,
        "enlarge": profile.enlarge,
        "demo": profile.demo,
    }


def lora_json(lora: LoraInfo) -> Json:
    """Return a LoRA's description for the form; one without a family can be tried with every model."""
    return {
        "name": lora.name,
        "title": lora.title,
        "triggers": list(lora.triggers),
        "family": lora.family,
        "weight": lora.weight,
    }


def engine_json(studio: Studio, locale: str) -> Json:
    """Return the engine's state, with a sentence in the person's language unless it is warm."""
    state = studio.engine()
    return {
        "phase": state.phase.value,
        "device": state.device,
        "precision": state.precision,
        "problem": state.problem,
        "bytes_done": state.bytes_done,
        "bytes_total": state.bytes_total,
        "text": "" if state.phase in READY else studio.text(f"health.engine.{state.phase.value}", locale),
    }


def shown(sent: str) -> str:
    """Return a header or a field's name as a refusal quotes it: one line, shortened."""
    return clip(" ".join(sent.split()), _SHOWN_CHARS)
