"""Bodies of A1111's requests: the fields that its clients send, with its defaults, and errors as FastAPI reports them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.web.a1111.errors import FieldProblem, InvalidBody
from bot.core.texts import clip

MOST_PROBLEMS = 20
"""Most wrong fields that one answer names."""

LARGEST = 1_000_000
"""Largest whole number of a field; far above what can be drawn, and small enough to be written out and calculated with."""

_QUOTED_CHARS = 80
_MAX_SEED = 2**63 - 1

B = TypeVar("B", bound=BaseModel)


class A1111Body(BaseModel):
    """Fields are as lenient as FastAPI's: ``"20"`` is a number. Fields that are not declared are kept, to be named."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


class A1111DrawBody(A1111Body):
    """What ``txt2img`` and ``img2img`` share. None stands for a field that was not sent."""

    prompt: str | None = None
    negative_prompt: str | None = None
    styles: list[str] | None = None
    seed: int | None = Field(None, ge=-1, le=_MAX_SEED)
    steps: int | None = Field(None, ge=1, le=LARGEST)
    cfg_scale: float | None = Field(None, ge=0, allow_inf_nan=False)
    width: int | None = Field(None, ge=1, le=LARGEST)
    height: int | None = Field(None, ge=1, le=LARGEST)
    batch_size: int | None = Field(None, ge=1, le=LARGEST)
    n_iter: int | None = Field(None, ge=1, le=LARGEST)
    sampler_name: str | None = None
    sampler_index: str | int | None = None
    scheduler: str | None = None
    denoising_strength: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    override_settings: dict[str, Any] | None = None
    override_settings_restore_afterwards: bool | None = None
    alwayson_scripts: dict[str, Any] | None = None
    script_name: str | None = None
    script_args: list[Any] | None = None
    send_images: bool | None = None
    save_images: bool | None = None
    # These change nothing that Easel could do differently.
    force_task_id: str | None = None
    infotext: str | None = None

    @property
    def count(self) -> int:
        """Pictures in all."""
        return (self.batch_size or 1) * (self.n_iter or 1)


class Txt2ImgBody(A1111DrawBody):
    """The body of ``txt2img``."""


class Img2ImgBody(A1111DrawBody):
    """The body of ``img2img``: pictures are base64, with or without ``data:image/png;base64,``."""

    init_images: list[str] | None = None
    mask: str | None = None
    mask_blur: int | None = None
    mask_blur_x: int | None = None
    mask_blur_y: int | None = None
    inpainting_mask_invert: int | None = None
    inpainting_fill: int | None = None
    inpaint_full_res: bool | None = None
    inpaint_full_res_padding: int | None = None
    resize_mode: int | None = None
    include_init_images: bool | None = None


class PngInfoBody(A1111Body):
    """The body of ``png-info``."""

    image: str


def checked(sent: Mapping[str, object], form: type[B]) -> B:
    """Return a JSON object as ``form``. Raises InvalidBody, which names the fields that are wrong."""
    try:
        return form.model_validate(sent)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)[:MOST_PROBLEMS]
        raise InvalidBody(
            [FieldProblem(each["type"], ("body", *each["loc"]), each["msg"], _quoted(each["input"])) for each in found]
        ) from None


def _quoted(value: object) -> object:
    """Return a wrong value as the answer quotes it: a picture would make it as large as the request."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return clip(value if isinstance(value, str) else type(value).__name__, _QUOTED_CHARS)
