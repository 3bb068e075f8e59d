"""The settings of this process: read from the environment, ``.env`` and ``EASEL_SECRETS_DIR``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from dotenv import dotenv_values
from pydantic import ValidationError
from pydantic_settings import SettingsError

from adapters.cli import platforms
from adapters.cli.output import text
from adapters.platform import ChatSettings, ConfiguredPlatform
from bot.core.access import AccessMode, Owners
from bot.core.errors import BadInput
from bot.observability.logs import secrets_of
from bot.settings import EnvSettings, Settings
from engine.contract import EngineConfig
from engine.host import devices

DATABASE = "easel.db"
PICTURES = "pictures"
MODELS = "models"
MODELS_FILE = "models.toml"
SHEETS = "sheets"
HUB_VARIABLES = ("HF_ENDPOINT", "HF_TOKEN", "HF_HOME")
"""Variables of the hub's own library; taken from ``.env`` too."""

OWN_PROBLEMS: Mapping[str, str] = MappingProxyType(
    {
        "owner_ids": "cli.settings.owner_ids",
        "list": "cli.settings.list",
        "no_home": "cli.settings.no_home",
        "device": "cli.settings.device",
        "device_twice": "cli.settings.device_twice",
        "device_comfy": "cli.settings.device_comfy",
        "devices_mixed": "cli.settings.devices_mixed",
    }
)
"""Sentences for the errors that Easel's own validators raise, by error type; pydantic words the others."""

_ENV_FILE = Path(".env")

S = TypeVar("S", bound=EnvSettings)


@dataclass(frozen=True, slots=True)
class AppSettings:
    """All settings.

    Attributes:
        core: The settings that no single platform owns.
        platforms: Every platform with its settings, also those that are off.
    """

    core: Settings
    platforms: tuple[ConfiguredPlatform, ...] = ()

    @property
    def enabled(self) -> tuple[ConfiguredPlatform, ...]:
        """The platforms that `easel serve` runs."""
        return tuple(platform for platform in self.platforms if platform.enabled)

    def owners(self) -> Owners:
        """Return the owners whom the settings name, on the chat platforms that are on."""
        return Owners({name: chat.owners for name, chat in self._chats().items() if chat.enabled})

    def access(self, *, enabled_only: bool = True) -> dict[str, AccessMode]:
        """Return the access rule of each chat platform; also of those that are off unless ``enabled_only``."""
        return {name: chat.access for name, chat in self._chats().items() if chat.enabled or not enabled_only}

    def secrets(self) -> tuple[str, ...]:
        """Return the platforms' and the hub's secrets, none of which may reach a log."""
        own = (secret for platform in self.platforms for secret in secrets_of(platform.settings))
        return (*own, *(value for name, value in hub().items() if name.endswith("TOKEN")))

    def _chats(self) -> dict[str, ChatSettings]:
        return {p.name: p.settings for p in self.platforms if isinstance(p.settings, ChatSettings)}


def load() -> AppSettings:
    """Read all settings.

    Raises:
        BadInput: Names every variable that is wrong, and never its value.
    """
    secrets = os.environ.get("EASEL_SECRETS_DIR")
    if secrets and not given_path(secrets).is_dir():
        raise BadInput("cli.settings", problems=f"EASEL_SECRETS_DIR: {secrets}: no such folder")
    problems: list[str] = []
    core = _read(Settings, problems)
    found = [(platform, _read(platform.settings, problems)) for platform in platforms.all_platforms()]
    if core is None or problems:
        raise BadInput("cli.settings", problems="; ".join(problems))
    return AppSettings(core, tuple(platform.configured(settings) for platform, settings in found))


def settings() -> Settings:
    """Read all settings and return those that no single platform owns. Raises BadInput as ``load`` does."""
    return load().core


def _read(kind: type[S], problems: list[str]) -> S | None:
    """Read one class of settings; adds what is wrong to ``problems`` and returns None."""
    try:
        return kind.load(_ENV_FILE)
    except ValidationError as error:
        problems += [
            f"{kind.variable(str(e['loc'][0]))}: {_problem(e['type'], e['msg'])}"
            for e in error.errors(include_input=False, include_url=False)
        ]
    except (SettingsError, UnicodeDecodeError) as error:
        problems.append(str(error))
    return None


def given_path(text: str) -> Path:
    """Return the path that was typed; ``~`` is a home folder also where no shell has read it (``--output=~/a.png``)."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)  # no such user: opening the path reports that there is no such file


def _problem(kind: str, message: str) -> str:
    """Return the sentence for an error type; Easel's own validators have one in each language."""
    return text(OWN_PROBLEMS[kind]) if kind in OWN_PROBLEMS else message


def _located(source: str | None) -> str:
    """Return a model's folder as an absolute path; a hub id, or nothing, as it is."""
    return str(folder.absolute()) if source and (folder := given_path(source)).is_dir() else source or ""


def hub() -> dict[str, str]:
    """Return the hub's variables: from the environment, else from ``.env``."""
    given = {**dotenv_values(_ENV_FILE), **os.environ}
    return {name: value for name in HUB_VARIABLES if (value := given.get(name))}


def engine_config(chosen: Settings, model: str | None = None) -> EngineConfig:
    """Return an engine's configuration for one device of this machine, the first that is named, else the best one.

    Args:
        chosen: The settings.
        model: Replaces the settings' model.
    """
    return EngineConfig(
        model=model or chosen.model,
        models_dir=str(chosen.data_dir / MODELS),
        device=next(iter(devices.local(chosen.device)), "auto"),
        precision=chosen.precision.value,
        models_file=str(chosen.data_dir / MODELS_FILE),
        lora_dir="" if chosen.lora_dir is None else str(chosen.lora_dir.absolute()),
        idle_unload=chosen.idle_unload,
        compile=chosen.compile,
        upscaler="" if chosen.upscaler is None else str(chosen.upscaler.absolute()),
        step_cache=chosen.step_cache,
        edit_model=chosen.edit_model or "",
        text_model=_located(chosen.text_model),
        caption_model=_located(chosen.caption_model),
        log_level=chosen.log_level,
        environment=hub(),
    )
