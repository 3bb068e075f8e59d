from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from engine.ray.driver_environment import make_environment, make_folder


def test_the_driver_gets_a_token_by_its_path_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASEL_DISCORD_TOKEN", "secret")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:6379")
    found = make_environment({"HF_HOME": "/models"}, "/etc/token", None)
    assert "secret" not in found.values()
    assert "RAY_ADDRESS" not in found
    assert (found["RAY_AUTH_MODE"], found["RAY_AUTH_TOKEN_PATH"]) == ("token", "/etc/token")
    assert found["RAY_USAGE_STATS_ENABLED"] == "0"
    assert found["HF_HOME"] == "/models"
    assert "RAY_worker_niceness" not in found


def test_a_cluster_on_this_machine_keeps_its_files_in_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "2")
    found = make_environment({}, "/x/token", Path("/x"))
    assert found["TMPDIR"] == "/x"
    assert found["RAY_gcs_rpc_server_reconnect_timeout_s"] == "2", "the operator's own value counts"
    assert found["RAY_worker_niceness"] == "0"


def test_its_folder_and_token_are_for_this_user_alone() -> None:
    folder = make_folder()
    try:
        token = folder / "token"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        assert len(token.read_text(encoding="ascii")) == 64
    finally:
        shutil.rmtree(folder)
