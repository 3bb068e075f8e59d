"""What the settings, the environment and `.env` say, as every command reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from dotenv import dotenv_values
from pydantic import ValidationError
from pydantic_settings import SettingsError

from adapters.cli.say import text
from bot.model.errors import BadInput
from bot.settings import EngineKind, Settings
from engine.contract import EngineConfig

DATABASE = "easel.db"
PICTURES = "pictures"
MODELS = "models"
MODELS_FILE = "models.toml"
SHEETS = "sheets"
HUB = ("HF_ENDPOINT", "HF_TOKEN", "HF_HOME")
"""What the hub's own library reads; taken from ``.env`` too."""

OWN_PROBLEMS: Mapping[str, str] = MappingProxyType(
    {"owner_ids": "cli.settings.owner_ids", "list": "cli.settings.list", "no_home": "cli.settings.no_home"}
)
"""The sentences on what Easel itself finds wrong with a setting; pydantic says the rest."""

_ENV_FILE = Path(".env")


def settings() -> Settings:
    """Read the settings. Raises BadInput naming the variable that is wrong, and never its value."""
    secrets = os.environ.get("EASEL_SECRETS_DIR")
    if secrets and not given_path(secrets).is_dir():
        raise BadInput("cli.settings", problems=f"EASEL_SECRETS_DIR: {secrets}: no such folder")
    try:
        found = Settings.load(_ENV_FILE)
    except ValidationError as error:
        problems = "; ".join(
            f"EASEL_{str(e['loc'][0]).upper()}: {_said(e['type'], e['msg'])}"
            for e in error.errors(include_input=False, include_url=False)
        )
        raise BadInput("cli.settings", problems=problems) from None
    except (SettingsError, UnicodeDecodeError) as error:
        raise BadInput("cli.settings", problems=str(error)) from None
    if found.engine is EngineKind.RAY:
        raise BadInput("cli.engine_setting", engine=found.engine.value)
    return found


def given_path(text: str) -> Path:
    """Return the path that was typed; ``~`` is a home folder also where no shell has read it (``--output=~/a.png``)."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)  # nobody's home: what uses it says that there is no such file


def _said(kind: str, message: str) -> str:
    """Return what is wrong with a setting; Easel's own checks have a sentence in each language."""
    return text(OWN_PROBLEMS[kind]) if kind in OWN_PROBLEMS else message


def hub() -> dict[str, str]:
    """Return the hub's variables: from the environment, else from ``.env``."""
    given = {**dotenv_values(_ENV_FILE), **os.environ}
    return {name: value for name in HUB if (value := given.get(name))}


def secrets() -> tuple[str, ...]:
    """Return what must not reach a log beside the settings' own secrets."""
    return tuple(value for name, value in hub().items() if name.endswith("TOKEN"))


def engine_config(chosen: Settings, model: str | None = None) -> EngineConfig:
    """Return what the engine is started with; ``model`` instead of the settings' one."""
    return EngineConfig(
        model=model or chosen.model,
        models_dir=str(chosen.data_dir / MODELS),
        device=chosen.device,
        precision=chosen.precision.value,
        models_file=str(chosen.data_dir / MODELS_FILE),
        idle_unload=chosen.idle_unload,
        compile=chosen.compile,
        upscaler="" if chosen.upscaler is None else str(chosen.upscaler.absolute()),
        step_cache=chosen.step_cache,
        environment=hub(),
    )
