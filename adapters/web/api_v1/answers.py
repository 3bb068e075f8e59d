"""Answers of the API, made from what the core returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from adapters.web.api_v1.schemas import (
    SAFE_NUMBER,
    AllowanceAnswer,
    CheckedRequest,
    DecimalRange,
    DrawnLora,
    ErrorDetail,
    JobAnswer,
    LoraAnswer,
    ModelAnswer,
    OfferedAction,
    PictureAnswer,
    QuotaAnswer,
    SecondsLeft,
    WholeRange,
)
from adapters.web.render import moment
from bot.core.jobs import Job, JobState
from bot.core.pictures import PictureFile
from bot.core.quotas import Allowance, QuotaStatus
from bot.core.requests import DrawRequest
from bot.studio import JobSnapshot
from engine.contract import LoraInfo, Profile, Range

State = Literal["held", "queued", "running", "finished", "cancelled", "failed"]

_STATES: Mapping[JobState, State] = {
    JobState.HELD: "held",
    JobState.QUEUED: "queued",
    JobState.RUNNING: "running",
    JobState.PAINTED: "finished",
    JobState.DELIVERED: "finished",
    JobState.CANCELLED: "cancelled",
    JobState.FAILED: "failed",
}
_ENDED = frozenset({"finished", "cancelled", "failed"})

PICTURE_PATH = "/api/v1/jobs/{job}/pictures/{index}"


def is_ended(answer: JobAnswer) -> bool:
    """Whether a job will not change by itself any more."""
    return answer.state in _ENDED


def job_answer(snapshot: JobSnapshot) -> JobAnswer:
    """Return a job."""
    return JobAnswer.model_validate(_job_fields(snapshot))


def _job_fields(snapshot: JobSnapshot) -> dict[str, object]:
    job, card, waiting = snapshot.job, snapshot.card, snapshot.waiting
    eta = None if waiting is None else waiting.eta
    return {
        "id": job.id,
        "state": _STATES[job.state],
        "kind": job.kind,
        "created_at": moment(job.created_at),
        "started_at": None if job.started_at is None else moment(job.started_at),
        "ended_at": None if job.ended_at is None else moment(job.ended_at),
        "parent": job.parent_id,
        "request": _request(job.request),
        "progress": snapshot.progress,
        "position": None if waiting is None else waiting.position,
        "seconds_left": None if eta is None else SecondsLeft(low=eta.low, high=eta.high),
        "status": card.status,
        "notes": list(card.notes),
        "error": _error(job, card.status),
        "pictures": [_picture(job.id, file) for file in card.pictures if file.index is not None],
        "actions": [
            OfferedAction(action=b.press.action, index=b.press.index, label=b.title or b.label)
            for b in (*(button for row in card.buttons for button in row), *card.more)
        ],
    }


def _error(job: Job, status: str) -> ErrorDetail | None:
    if job.state is not JobState.FAILED:
        return None
    return ErrorDetail(key=job.error or "error.engine.failed", text=status)


def _request(request: DrawRequest) -> CheckedRequest:
    return CheckedRequest(
        prompt=request.typed,
        full_prompt=request.prompt,
        negative=request.negative,
        width=request.width,
        height=request.height,
        count=request.count,
        seed=_number(request.seed),
        seed_text=str(request.seed),
        steps=request.steps,
        guidance=request.guidance,
        model=request.model,
        style=request.style,
        loras=[DrawnLora(name=lora.name, weight=lora.weight) for lora in request.loras],
        sampler=request.sampler,
        clip_skip=request.clip_skip,
        strength=request.strength,
        control=request.control,
        control_weight=request.control_weight,
        references=len(request.references),
        private=request.private,
        label=request.label,
    )


def _picture(job_id: int, file: PictureFile) -> PictureAnswer:
    index, seed = file.index or 0, file.seed or 0
    return PictureAnswer(
        index=index,
        url=PICTURE_PATH.format(job=job_id, index=index),
        width=file.width,
        height=file.height,
        seed=_number(seed),
        seed_text=str(seed),
        spoiler=file.spoiler,
        favourite=file.favourite,
    )


def _number(seed: int) -> int | None:
    return seed if seed < SAFE_NUMBER else None


def model_answer(profile: Profile) -> ModelAnswer:
    """Return a model."""
    return ModelAnswer(
        name=profile.name,
        title=profile.title,
        family=profile.family,
        multiple=profile.multiple,
        side=_whole(profile.side),
        presets=dict(profile.presets),
        steps=_whole(profile.steps),
        guidance=DecimalRange(default=profile.guidance.default, low=profile.guidance.low, high=profile.guidance.high),
        samplers=list(profile.samplers) or [profile.sampler],
        controls=list(profile.controls),
        negative=profile.negative.value,
        prompt_chars=profile.prompt_chars,
        languages=list(profile.languages),
        can=sorted(can.value for can in profile.can),
        references=profile.references,
        needs_reference=profile.needs_reference,
    )


def _whole(limits: Range[int]) -> WholeRange:
    return WholeRange(default=limits.default, low=limits.low, high=limits.high)


def lora_answers(loras: Iterable[LoraInfo]) -> list[LoraAnswer]:
    """Return LoRAs."""
    return [
        LoraAnswer(
            name=lora.name, title=lora.title, triggers=list(lora.triggers), family=lora.family, weight=lora.weight
        )
        for lora in loras
    ]


def quota_answer(status: QuotaStatus, text: str) -> QuotaAnswer:
    """Return a quota status, and the same in one sentence."""
    return QuotaAnswer(left=status.left, allowances=[_allowance(one) for one in status.allowances], text=text)


def _allowance(one: Allowance) -> AllowanceAnswer:
    return AllowanceAnswer(
        unit=one.limit.unit.value,
        amount=one.limit.total,
        window=one.limit.window.value,
        used=one.used,
        left=one.left,
        returns=one.returns,
        returns_at=None if one.returns_at is None else moment(one.returns_at),
    )
