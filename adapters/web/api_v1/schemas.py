"""Bodies and answers of the API. The OpenAPI document is made from these classes, so it says what is sent."""

from __future__ import annotations

import base64
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from bot.core.requests import MAX_LORAS, MAX_SEED

SAFE_NUMBER = 2**53
"""From here on JSON's numbers lose digits in many languages."""


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Schema(BaseModel):
    """A JSON object; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class LoraWeight(Schema):
    """A LoRA of a request."""

    name: str
    weight: float | None = Field(None, ge=-2, le=2, description="1 is full strength; null: the LoRA's own default.")


class WebhookTarget(Schema):
    """Where to tell of a job's end."""

    url: str = Field(max_length=2048, description="An http or https address that gets a POST request.")
    secret: str | None = Field(
        None,
        pattern=r"^whsec_[A-Za-z0-9+/]{32,128}={0,2}$",
        description="Signs the request: `whsec_` and 24 to 96 bytes in base64. Null: one is made and is in the answer.",
    )

    @field_validator("secret")
    @classmethod
    def _decodes(cls, secret: str | None) -> str | None:
        if secret is not None:
            key_of(secret)
        return secret


def key_of(secret: str) -> bytes:
    """Return the key of a webhook's secret. Raises ValueError if it is no base64."""
    text = secret.removeprefix("whsec_")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


class JobRequest(Schema):
    """A request for pictures. Only the prompt is needed; null means the default of the model and of the person."""

    prompt: str = Field(description="What to draw. It may hold flags such as `--size 3:4`; a field counts more.")
    negative: str | None = None
    size: str | None = Field(None, description="`1024x768`, a ratio such as `3:4`, or a preset such as `portrait`.")
    width: int | None = Field(None, ge=1, le=MAX_SEED, description="Pixels; with `height`, instead of `size`.")
    height: int | None = Field(None, ge=1, le=MAX_SEED)
    snap: bool = Field(False, description="Move a size in pixels to the nearest one that the model can draw.")
    count: int | None = Field(None, ge=-MAX_SEED, le=MAX_SEED, description="Number of pictures.")
    seed: Annotated[str | None, BeforeValidator(_as_text)] = Field(
        None,
        description=f"Seed of the first picture, 0 to {MAX_SEED}: a number, or text, which loses no digits.",
        json_schema_extra={"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]},
    )
    steps: int | None = Field(None, ge=-MAX_SEED, le=MAX_SEED)
    guidance: float | None = None
    model: str | None = None
    style: str | None = None
    loras: list[LoraWeight] | None = Field(None, max_length=MAX_LORAS)
    sampler: str | None = None
    clip_skip: int | None = Field(None, ge=-MAX_SEED, le=MAX_SEED)
    image: str | None = Field(
        None, description="Picture to start from: an http address, a data address, or the file in base64."
    )
    start: str | None = Field(None, description="Stored picture to start from, as `JOB:PICTURE`, both from 1.")
    mask: str | None = Field(None, description="What is drawn anew, in the forms of `image`.")
    mask_by: Literal["white", "alpha"] = Field("white", description="What is drawn anew: white, or fully transparent.")
    strength: float | None = Field(None, description="How far to move away from the picture: above 0 to 1.")
    references: list[str] = Field([], max_length=4, description="Pictures that the prompt speaks of.")
    control: str | None = None
    control_weight: float | None = None
    private: bool | None = None
    label: bool | None = Field(None, description="Draw a visible label into the pictures.")
    webhook: WebhookTarget | None = None


class Action(Schema):
    """A button of a job's card."""

    action: str = Field(description="Such as `reroll`, `vary`, `upscale` or `favourite`.")
    index: int | None = Field(None, ge=0, le=999, description="The picture, from 0; null: all of them.")


class OfferedAction(Action):
    """A button that can be pressed now."""

    label: str


class PictureAnswer(Schema):
    """A finished picture."""

    index: int
    url: str = Field(description="Path of its file, for the same key.")
    width: int
    height: int
    seed: int | None = Field(description="Null where JSON's numbers are not exact, from 2**53 on.")
    seed_text: str
    spoiler: bool = Field(description="Moderation has covered it.")
    favourite: bool


class DrawnLora(Schema):
    """A LoRA of a job."""

    name: str
    weight: float


class CheckedRequest(Schema):
    """What is drawn: every value is set."""

    prompt: str = Field(description="As typed, without flags.")
    full_prompt: str = Field(description="With the words of the style.")
    negative: str
    width: int
    height: int
    count: int
    seed: int | None = Field(description="Null where JSON's numbers are not exact, from 2**53 on.")
    seed_text: str
    steps: int
    guidance: float
    model: str
    style: str
    loras: list[DrawnLora]
    sampler: str
    clip_skip: int
    strength: float
    control: str
    control_weight: float
    references: int
    private: bool
    label: bool


class ErrorDetail(Schema):
    """Why something was refused or has failed."""

    key: str = Field(description="Never changes; programs can rely on it.")
    text: str = Field(description="One sentence in the language of `Accept-Language`.")


class RefusedAnswer(Schema):
    """The answer to a request that was refused."""

    error: ErrorDetail


class SecondsLeft(Schema):
    """Expected seconds until all pictures are drawn."""

    low: float
    high: float


class JobAnswer(Schema):
    """A job as it is now."""

    id: int
    state: Literal["held", "queued", "running", "finished", "cancelled", "failed"]
    kind: str
    created_at: str = Field(description="ISO 8601, UTC.")
    started_at: str | None
    ended_at: str | None
    parent: int | None = Field(description="The job whose button made it.")
    request: CheckedRequest
    progress: float | None = Field(description="0 to 1 while it is drawn.")
    position: int | None = Field(description="Place in the queue, 1 is next; null when it does not wait.")
    seconds_left: SecondsLeft | None
    status: str = Field(description="One sentence.")
    notes: list[str]
    error: ErrorDetail | None
    pictures: list[PictureAnswer]
    actions: list[OfferedAction]


class CreatedJob(JobAnswer):
    """A new job."""

    webhook_secret: str | None = Field(
        None, description="The secret that was made for its webhook; it is not told again."
    )


class JobPage(Schema):
    """Some of a person's jobs, newest first."""

    jobs: list[JobAnswer]
    older: bool = Field(description="Whether there are older ones: ask with `before` and the last id.")


class ActionAnswer(Schema):
    """What an action has done."""

    job: JobAnswer | None = Field(description="The new job, or the job as it is now; null when it is gone.")
    new: bool = Field(description="Whether the job is new.")
    text: str = Field(description="What there is to say, which may be nothing.")


class WholeRange(Schema):
    """A whole number's default and limits."""

    default: int
    low: int
    high: int


class DecimalRange(Schema):
    """A number's default and limits."""

    default: float
    low: float
    high: float


class ModelAnswer(Schema):
    """A model."""

    name: str = Field(description="What requests name it by.")
    title: str
    family: str
    multiple: int = Field(description="Both sides are multiples of it, in pixels.")
    side: WholeRange
    presets: dict[str, tuple[int, int]]
    steps: WholeRange
    guidance: DecimalRange
    samplers: list[str]
    controls: list[str]
    negative: str = Field(description="Whether it follows a negative prompt: `always`, `with_guidance` or `never`.")
    prompt_chars: int
    languages: list[str]
    can: list[str]
    references: int = Field(description="Most reference pictures; 0 where it can't edit.")
    needs_reference: bool


class ModelList(Schema):
    """The models that the person may use; the first is the one of requests that name none."""

    models: list[ModelAnswer]


class StyleAnswer(Schema):
    """A style."""

    name: str
    prompt: str = Field(description="`{prompt}` stands for what was typed.")
    negative: str


class StyleList(Schema):
    """The styles."""

    styles: list[StyleAnswer]


class LoraAnswer(Schema):
    """A LoRA."""

    name: str
    title: str
    triggers: list[str]
    family: str
    weight: float


class LoraList(Schema):
    """The LoRAs."""

    loras: list[LoraAnswer]


class AllowanceAnswer(Schema):
    """What is left under one limit: pictures, or thousandths of a point."""

    unit: str
    amount: int | None = Field(description="Null: unlimited.")
    window: str
    used: int
    left: int | None
    returns: int = Field(description="How many come back at `returns_at`.")
    returns_at: str | None


class QuotaAnswer(Schema):
    """How many pictures the person may still request."""

    left: int | None = Field(description="Null: unlimited.")
    allowances: list[AllowanceAnswer]
    text: str = Field(description="The same in one sentence.")


class EngineAnswer(Schema):
    """The engine and the queue."""

    phase: str
    device: str
    precision: str
    waiting: int = Field(description="Jobs in the queue, of everybody.")
