from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from adapters.cli.ray_settings import TOKEN_VARIABLE, cluster_of
from bot.core.errors import BadInput
from bot.settings import EngineKind, Settings
from engine.ray.driver_process import ClusterConfig

ADDRESS = "10.0.0.1:6379"


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)


def token(folder: Path, text: str = "secret\n", mode: int = 0o600) -> Path:
    file = folder / "token"
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    return file


def remote(file: Path | None) -> Settings:
    return Settings(engine=EngineKind.RAY, ray_address=ADDRESS, ray_token_file=file)


def refused(settings: Settings) -> BadInput:
    with pytest.raises(BadInput) as caught:
        cluster_of(settings)
    return caught.value


def test_a_cluster_of_ones_own_needs_no_token() -> None:
    assert cluster_of(Settings(engine=EngineKind.RAY)) == ClusterConfig()
    assert cluster_of(Settings(engine=EngineKind.RAY, ray_gpus=2)) == ClusterConfig(gpus=2)


def test_a_running_one_needs_a_token_that_nobody_else_can_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = token(tmp_path)
    assert cluster_of(remote(file)) == ClusterConfig(ADDRESS, str(file))
    monkeypatch.setenv(TOKEN_VARIABLE, str(file))
    assert cluster_of(remote(None)) == ClusterConfig(ADDRESS, str(file))
    file.chmod(0o644)
    error = refused(remote(file))
    assert (error.key, error.params["mode"]) == ("cli.ray.token_open", "0644")
    monkeypatch.delenv(TOKEN_VARIABLE)
    assert refused(remote(None)).key == "cli.ray.no_token"
    assert refused(remote(tmp_path / "none")).key == "cli.ray.token_unreadable"
    assert refused(remote(token(tmp_path, "\n"))).key == "cli.ray.token_empty"


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert refused(Settings(engine=EngineKind.RAY)).key == "cli.ray.not_installed"
