"""The settings with their meaning and where each value comes from, for the owner's pages; never a secret."""

from __future__ import annotations

import os
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from dotenv import dotenv_values
from pydantic import SecretStr
from pydantic_core import PydanticUndefined
from yarl import URL

from adapters.cli.environment import AppSettings
from bot.owner.ports import Setting, SettingSource
from bot.settings import EnvSettings

EASEL = "easel"
"""The group of the settings that no platform owns."""


def all_settings(app: AppSettings, env_file: Path = Path(".env")) -> tuple[Setting, ...]:
    """Return every setting; blocking: reads ``env_file`` and the folder of secrets."""
    given = {name.upper() for name, value in dotenv_values(env_file).items() if value}
    folder = os.environ.get("EASEL_SECRETS_DIR")
    secrets = {path.name.upper() for path in Path(folder).iterdir()} if folder and Path(folder).is_dir() else set()
    groups = [(EASEL, app.core), *((one.name, one.settings) for one in app.platforms)]
    return tuple(setting for group, settings in groups for setting in _of(group, settings, given, secrets))


def _of(group: str, settings: EnvSettings, given: set[str], secrets: set[str]) -> Iterator[Setting]:
    named = {name.upper() for name, value in os.environ.items() if value}
    for name, field in type(settings).model_fields.items():
        variable, value = settings.variable(name), getattr(settings, name)
        source = SettingSource.DEFAULT
        if variable in named:
            source = SettingSource.ENVIRONMENT
        elif variable in given:
            source = SettingSource.FILE
        elif variable in secrets:
            source = SettingSource.SECRETS
        secret = isinstance(value, SecretStr) or "Secret" in str(field.annotation)
        yield Setting(
            variable,
            group,
            field.description or "",
            "" if secret else shown(value),
            "" if secret or field.default is PydanticUndefined else shown(field.default),
            source,
            secret,
            value not in (None, "", ()),
        )


def shown(value: object) -> str:
    """Return a value as it is written in ``.env``; without the password of an address."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case Enum():
            return str(value.value)
        case tuple() | list():
            return ",".join(str(each) for each in value)
        case str() if "://" in value and "@" in value:
            return _without_password(value)
    return str(value)


def _without_password(address: str) -> str:
    try:
        url = URL(address)
        return str(url.with_password("…")) if url.password else address
    except ValueError:
        return "…"
