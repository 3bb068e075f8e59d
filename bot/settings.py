"""Easel's own EASEL_* settings with their descriptions. A platform adds its own class, derived from EnvSettings."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bot.core.preferences import RecipeRule

MAX_IDLE_MINUTES = 366 * 24 * 60
"""Longest EASEL_IDLE_UNLOAD: a year. Threads can't wait for much longer than 200 years."""


class EngineKind(StrEnum):
    """Where pictures are drawn."""

    PROCESS = "process"
    RAY = "ray"


class Precision(StrEnum):
    """Number format of the weights while drawing."""

    AUTO = "auto"
    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    INT8 = "int8"
    NF4 = "nf4"
    FP32 = "fp32"


class LabelPlace(StrEnum):
    """Where the visible label stands in every picture."""

    OFF = "off"
    CORNER = "corner"


class SealMode(StrEnum):
    """Whether pictures are signed."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class LogFormat(StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"


_SEPARATORS = re.compile(r"[,;，；、]")
_QUOTES = "\"'"

# At most 19 digits: ids are integers of 64 bits.
_ID = re.compile(r"[1-9][0-9]{0,18}")


def _plain(text: str) -> str:
    """Return the text in NFKC without format characters, which come along when an id is copied from a page."""
    return "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")


def _listed(text: str) -> tuple[str, ...]:
    """Return the parts of a list that is separated by commas, or written in JSON; without quotation marks around them."""
    text = text.strip().strip(_QUOTES).strip()
    if text.startswith("["):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, list) or not all(isinstance(each, str | int) for each in found):
            raise PydanticCustomError("list", "must be a list of values separated by commas, such as a,b")
        return tuple(stripped for each in found if (stripped := str(each).strip()))
    return tuple(stripped for each in _SEPARATORS.split(text) if (stripped := each.strip().strip(_QUOTES).strip()))


def _split(value: object) -> object:
    return _listed(value) if isinstance(value, str) else value


def _owner_ids(value: tuple[str, ...]) -> tuple[str, ...]:
    # Bots know people by their ids alone: a name would make nobody an owner.
    ids = [part for each in value for part in _plain(each).split()]
    if not all(_ID.fullmatch(each) for each in ids):
        raise PydanticCustomError(
            "owner_ids", "must be user ids, which are whole numbers such as 123456789, separated by commas"
        )
    return tuple(dict.fromkeys(ids))


_DEVICE = re.compile(r"auto|cuda(:\d{1,4})?|mps|cpu")

_COMFY = "comfy:"
_SERVER = re.compile(r"comfy:https?://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?(/[a-z0-9_./~-]*)?", re.IGNORECASE)


def _devices(value: tuple[str, ...]) -> tuple[str, ...]:
    servers = tuple(each.rstrip("/") for each in value if each.startswith(_COMFY))
    if not all(map(_SERVER.fullmatch, servers)):
        raise PydanticCustomError(
            "device_comfy", "must name a ComfyUI server such as comfy:http://10.0.0.5:8188, without user and password"
        )
    if len({each.lower() for each in servers}) < len(servers):
        raise PydanticCustomError("device_twice", "names the same ComfyUI server twice")
    local = tuple(each for each in value if not each.startswith(_COMFY))
    # Devices of this machine come first: they can do more.
    return (*(_local_devices(local) if local or not servers else ()), *servers)


def _local_devices(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or not all(_DEVICE.fullmatch(each) for each in value):
        raise PydanticCustomError(
            "device",
            "must be auto, cuda, cuda:N, mps, cpu or comfy:URL, or several cards separated by commas: cuda:0,cuda:1",
        )
    if len(value) == 1:
        return value
    cards = [int(each.removeprefix("cuda").removeprefix(":") or 0) for each in value if each.startswith("cuda")]
    if len(cards) < len(value) and set(value) != {"cpu"}:
        raise PydanticCustomError("devices_mixed", "may name several cards, or cpu several times, but not both")
    if len(set(cards)) < len(cards):
        raise PydanticCustomError("device_twice", "names the same card twice")
    return tuple(f"cuda:{card}" for card in cards) or value


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""A list of texts, separated by commas or written in JSON."""

OwnerIds = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_owner_ids)]
"""A list of numeric user ids, without repetitions."""


Devices = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_devices)]
"""``auto``, ``mps``, one or several cards, or ``cpu`` once or several times; ComfyUI servers behind them, or alone."""


class EnvSettings(BaseSettings):
    """Settings read from the environment, ``.env`` and, where it is set, the folder ``EASEL_SECRETS_DIR``.

    The folder holds one file for each setting. An empty value means "not set" for every setting whose default is None.
    """

    model_config = SettingsConfigDict(env_prefix="EASEL_", env_file=".env", extra="ignore", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object, info: ValidationInfo) -> object:
        # A line such as EASEL_DISCORD_TOKEN= in .env means: not set.
        optional = info.field_name is not None and cls.model_fields[info.field_name].default is None
        return None if optional and isinstance(value, str) and not value.strip() else value

    @classmethod
    def variable(cls, field: str) -> str:
        """Return the environment variable of a field."""
        return f"{cls.model_config.get('env_prefix', '')}{field}".upper()

    @classmethod
    def load(cls, env_file: Path | str | None = ".env") -> Self:
        """Read the settings; raises pydantic's ValidationError, whose locations name the fields."""
        return cls(_env_file=env_file, _secrets_dir=os.environ.get("EASEL_SECRETS_DIR"))


class Settings(EnvSettings):
    """The settings that no single platform owns."""

    model: str = Field(
        "demo",
        description="Default model: demo (bundled), a name or id of docs/models.md, the id of another model that was pulled, a folder with a diffusers pipeline, or a table of models.toml.",
    )
    edit_model: str | None = Field(
        None,
        description="Model for requests with reference pictures when EASEL_MODEL can't edit, named like it; empty: none.",
    )
    data_dir: Path = Field(Path("data"), description="Folder of the database, the pictures and downloaded models.")
    quota: str = Field(
        "50/day",
        description="Pictures that each person may ask for in all places together: N/hour, N/day, N/week or unlimited.",
    )
    queue_limit: int = Field(
        10_000,
        ge=1,
        description="Most requests that may wait; further ones are refused, with the time to try again.",
    )

    keep_free: float = Field(
        10.0,
        ge=0,
        le=90,
        description="Percentage of the disk to keep free by removing the oldest pictures, never favourites; 0: off.",
    )

    proxy: str | None = Field(
        None,
        description="Proxy for the chat platforms (http:// or socks5://); the environment's HTTPS_PROXY is not read.",
    )

    engine: EngineKind = Field(
        EngineKind.PROCESS,
        description="Engine: process (a separate process for each device) or ray (the GPUs of a Ray cluster).",
    )
    ray_address: str | None = Field(
        None,
        pattern=r"^\S+:\d{1,5}$",
        description="Host and port of a running Ray cluster, such as 10.0.0.1:6379; empty: one on this machine, which ends with Easel.",
    )
    ray_token_file: Path | None = Field(
        None,
        description="File with that cluster's token, which only Easel's user can read; empty: the file that RAY_AUTH_TOKEN_PATH names.",
    )
    ray_gpus: int | None = Field(
        None, ge=1, le=64, description="Logical GPUs of a Ray cluster on this machine; empty: those that are found."
    )
    device: Devices = Field(
        ("auto",),
        description="Devices that draw: auto (every NVIDIA card), cuda:N, several cards (cuda:0,cuda:1), mps or cpu; also ComfyUI servers (comfy:http://10.0.0.5:8188), alone or behind others.",
    )
    precision: Precision = Field(
        Precision.AUTO,
        description="Number format of the weights: auto, bf16, fp16, fp8, int8, nf4 or fp32; auto chooses the best that fits.",
    )
    idle_unload: float = Field(
        0.0,
        ge=0,
        le=MAX_IDLE_MINUTES,
        description="Minutes without work until the model is unloaded from the device; 0: never.",
    )
    compile: str = Field(
        "",
        pattern=r"^[a-z_]*$",
        description="Backend of torch.compile, such as inductor: a slower start and faster steps; empty: off.",
    )
    step_cache: int = Field(
        1,
        ge=1,
        le=3,
        description="For Z-Image drawings of 20 steps or more: compute one step in 2 or 3 and extrapolate the others; 1: compute all.",
    )
    upscaler: Path | None = Field(
        None,
        description="File of an upscaler model (.safetensors: ESRGAN, SwinIR and similar) for Upscale and small initial images; empty: they are scaled with Lanczos.",
    )

    lora_dir: Path | None = Field(
        None,
        description="Folder of LoRAs (.safetensors) that requests may name; each is named after its file, in lower case.",
    )

    text_model: str | None = Field(
        None,
        description="Language model that writes longer prompts (--expand): a folder, or a hub id that was downloaded; empty: the text encoder of Z-Image.",
    )
    caption_model: str | None = Field(
        None,
        description="Model that describes pictures (/describe), such as BLIP: a folder, or a hub id that was downloaded; empty: no /describe.",
    )

    moderation_model: Path | None = Field(
        None,
        description="Folder of a picture classifier (a ViTForImageClassification in safetensors); empty: pictures are not checked.",
    )
    moderation_labels: CommaSeparated = Field(
        ("nsfw", "porn", "hentai", "sexy", "explicit", "unsafe"),
        description="The classifier's labels that count as unsafe, separated by commas.",
    )
    moderation_threshold: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Lowest score of the classifier, above 0 to 1, at which a picture counts as unsafe.",
    )

    otel: bool = Field(
        False,
        description="Whether traces are sent by OpenTelemetry (pip install 'easel[otel]'); also on where OTEL_EXPORTER_OTLP_ENDPOINT is set.",
    )
    provenance_recipe: RecipeRule = Field(
        RecipeRule.PUBLIC,
        description="Whether picture files tell prompt, seed and settings: public (not those of private requests), always or never. They always say that a model drew them.",
    )
    provenance_name: str = Field(
        "",
        max_length=100,
        description="Organisation that runs this Easel, named in each picture file; empty: none.",
    )
    provenance_aigc_producer: str = Field(
        "",
        pattern=r"^[!-~]{0,100}$",
        description="Producer in China's AIGC label (GB 45438-2025), printable ASCII without spaces; empty: no label.",
    )
    provenance_label: LabelPlace = Field(
        LabelPlace.OFF,
        description="Whether every picture says visibly that a model drew it: off (only with --label) or corner.",
    )

    provenance_c2pa: SealMode = Field(
        SealMode.AUTO,
        description="Whether pictures are signed (C2PA): auto (where easel[c2pa] and keys are there), on (refuse to start without) or off.",
    )
    provenance_c2pa_cert: Path | None = Field(
        None,
        description="PEM file with the signing certificate and its chain; empty: what easel provenance init made.",
    )
    provenance_c2pa_key: SecretStr | None = Field(
        None,
        description="Its key: a PEM file (PKCS 8, P-256), or the PEM itself; empty: what easel provenance init made.",
    )
    provenance_c2pa_tsa: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="URL of a time-stamping service (RFC 3161), which gets a hash of each picture; empty: none.",
    )

    log_format: LogFormat = Field(LogFormat.CONSOLE, description="Format of log lines: console or json.")
    log_level: str = Field(
        "INFO",
        pattern=r"^(DEBUG|INFO|WARNING|ERROR)$",
        description="Lowest level that is logged: DEBUG, INFO, WARNING or ERROR.",
    )

    @field_validator("data_dir", "upscaler", "lora_dir", "moderation_model", "provenance_c2pa_cert", mode="after")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        # No shell has read what stands in .env.
        try:
            return None if value is None else value.expanduser()
        except RuntimeError:
            raise PydanticCustomError("no_home", "names the home folder of a user who does not exist here") from None
