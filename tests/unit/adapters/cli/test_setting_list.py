"""The settings with their sources; a secret is never among the values."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from adapters.cli import environment
from adapters.cli.setting_list import all_settings, shown
from bot.owner.ports import Setting, SettingSource

SECRET = "a-token-of-many-letters"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Setting]:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "easel_discord_token").write_text("discord-secret")
    env = f"EASEL_WEB_TOKEN={SECRET}\nEASEL_QUOTA=9/day\nEASEL_PROXY=http://me:password@proxy:1\n"
    (tmp_path / ".env").write_text(env)
    monkeypatch.chdir(tmp_path)
    for name in ("EASEL_MODEL", "EASEL_DISCORD_TOKEN", "EASEL_WEB_TOKEN", "EASEL_QUOTA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EASEL_SECRETS_DIR", str(secrets))
    monkeypatch.setenv("EASEL_WEB_PORT", "8080")
    return {one.variable: one for one in all_settings(environment.load())}


def test_where_values_come_from(settings: dict[str, Setting]) -> None:
    sources = {name: settings[name].source for name in ("EASEL_MODEL", "EASEL_QUOTA", "EASEL_WEB_PORT")}
    assert sources == {
        "EASEL_MODEL": SettingSource.DEFAULT,
        "EASEL_QUOTA": SettingSource.FILE,
        "EASEL_WEB_PORT": SettingSource.ENVIRONMENT,
    }
    assert settings["EASEL_DISCORD_TOKEN"].source is SettingSource.SECRETS
    port = settings["EASEL_WEB_PORT"]
    assert (port.value, port.usual, port.group) == ("8080", "7860", "web")
    assert settings["EASEL_QUOTA"].value == "9/day"
    assert all(one.meaning for one in settings.values())


def test_no_secret_is_told(settings: dict[str, Setting]) -> None:
    told = str([dataclasses.asdict(one) for one in settings.values()])
    for secret in (SECRET, "discord-secret", "password"):
        assert secret not in told
    token = settings["EASEL_WEB_TOKEN"]
    assert (token.secret, token.is_set, token.value, token.usual) == (True, True, "", "")
    # A path to a token is no secret.
    tokens = {name for name in settings if "TOKEN" in name and not name.endswith("_FILE")}
    assert tokens <= {n for n, one in settings.items() if one.secret}


def test_values_as_they_are_written() -> None:
    values: list[object] = [None, True, ("a", "b"), SettingSource.FILE, 1.5, "http://user:pass@host", "http://[x@:"]
    assert [shown(value) for value in values][:5] == ["", "true", "a,b", "file", "1.5"]
    assert "pass" not in shown("http://user:pass@host")
