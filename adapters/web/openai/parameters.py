"""Parameters of the OpenAI-compatible API: checked, and turned into a request for pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from adapters.web.openai.errors import BadParameter
from adapters.web.picture_links import Format
from adapters.web.render import shown
from bot.core.requests import DrawForm, fitted_size
from engine.contract import Profile

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII | re.IGNORECASE)

_OPENAI_MODELS = re.compile(r"dall-e-\d.*|gpt-image-.*|chatgpt-image-.*|auto|default", re.ASCII)
"""Names that clients send without asking which models there are. They mean the default model."""

_UNSUPPORTED = frozenset({"complexity", "frame_count", "frame_duration_ms", "markup", "svg"})
"""Parameters of OpenAI's that can't be applied here."""

_STEPS: Mapping[str, float] = {"low": 0.5, "high": 1.5, "hd": 1.5, "xhigh": 2.0, "max": 2.0}
"""Factor of the model's default number of steps by ``quality``; 1 for the others."""

_LEGACY_STYLES = frozenset({"vivid", "natural"})


def _as_text(value: object) -> object:
    """Return a number as a person would type it: seeds above 2**53 may come as text."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _as_format(value: object) -> object:
    return "jpeg" if value == "jpg" else value


Number = Annotated[str, BeforeValidator(_as_text)]
"""A number that the core reads and checks."""


class ImageParameters(BaseModel):
    """What both ways to draw have in common. The last ones are Easel's own, for ``extra_body``."""

    model_config = ConfigDict(extra="forbid")

    prompt: str
    model: str | None = None
    n: Number | None = None
    size: str | None = None
    quality: Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"] | None = None
    background: Literal["auto", "opaque"] | None = None
    moderation: Literal["auto", "low"] | None = None
    output_format: Annotated[Format, BeforeValidator(_as_format)] | None = None
    output_compression: int | None = Field(None, ge=0, le=100)
    partial_images: int | None = Field(None, ge=0, le=3)
    response_format: Literal["url", "b64_json"] | None = None
    stream: bool | None = None
    style: str | None = None
    user: str | None = None
    safety_identifier: str | None = None

    seed: Number | None = None
    steps: Number | None = None
    guidance: Number | None = None
    negative_prompt: str | None = None
    sampler: str | None = None
    lora: str | None = None
    clip_skip: Number | None = None
    strength: Number | None = None
    control: str | None = None
    control_weight: Number | None = None
    label: bool | None = None

    @property
    def named_model(self) -> str | None:
        """The model as typed; None for the default one."""
        return None if not self.model or _OPENAI_MODELS.fullmatch(self.model) else self.model

    @property
    def format(self) -> Format:
        """The pictures' format."""
        return self.output_format or "png"

    @property
    def identifier(self) -> str | None:
        """What names the client's own user, in the answer alone."""
        return self.safety_identifier or self.user

    def form(self, profile: Profile) -> DrawForm:
        """Return the request for the model that draws it."""
        return DrawForm(
            self.prompt,
            size=self._size(profile),
            seed=self.seed,
            count=self.n,
            steps=self.steps or self._steps(profile),
            guidance=self.guidance,
            negative=self.negative_prompt,
            style=None if self.style in _LEGACY_STYLES else self.style,
            model=profile.name,
            strength=self.strength,
            lora=self.lora,
            sampler=self.sampler,
            clip_skip=self.clip_skip,
            control=self.control,
            control_weight=self.control_weight,
            label=self.label,
        )

    def _size(self, profile: Profile) -> str | None:
        """Return the size on the model's grid; None for the model's or the picture's own."""
        found = _SIZE.fullmatch(self.size or "")
        if found is not None:
            return "{}x{}".format(*fitted_size(int(found[1]), int(found[2]), profile))
        return None if self.size in {None, "", "auto"} else self.size

    def _steps(self, profile: Profile) -> str | None:
        factor = _STEPS.get(self.quality or "")
        if factor is None:
            return None
        return str(min(max(round(profile.steps.default * factor), profile.steps.low), profile.steps.high))


class EditParameters(ImageParameters):
    """Parameters of ``/v1/images/edits``; the pictures are parts of their own."""

    input_fidelity: Literal["high", "low"] | None = None


P = TypeVar("P", bound=ImageParameters)


def checked(sent: Mapping[str, object], kind: type[P]) -> P:
    """Return the parameters of a request. Raises BadParameter, which names the first one that is wrong."""
    for name in sent:
        if name in _UNSUPPORTED:
            raise BadParameter(name, "unsupported_parameter", f"{name}: not supported here")
        if name not in kind.model_fields:
            raise BadParameter(shown(name), "unknown_parameter", f"{shown(name)}: unknown field")
    try:
        return kind.model_validate(sent)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        name = str(first["loc"][0])
        code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
        raise BadParameter(name, code, f"{name}: {first['msg']}") from None
