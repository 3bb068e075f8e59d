"""Processes of several devices load one after the other."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.diffusion import load_turn
from engine.diffusion.load_turn import LoadTurn

_HOLDS = """
import sys
from pathlib import Path
from engine.diffusion.load_turn import LoadTurn
with LoadTurn(Path(sys.argv[1]), lambda: None).held():
    print("loading", flush=True)
    sys.stdin.read()
"""


def test_it_waits_until_the_other_process_has_loaded_or_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_turn, "_WAIT_SECONDS", 0.05)
    folder = tmp_path / "models"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"loading\n"
        waited = threading.Event()
        loaded: list[str] = []

        def load() -> None:
            with LoadTurn(folder, waited.set).held():
                loaded.append("here")

        thread = threading.Thread(target=load)
        thread.start()
        assert waited.wait(60)
        assert loaded == []
        other.kill()
        thread.join(60)
        assert loaded == ["here"]


def test_a_folder_that_can_t_be_locked_keeps_nobody_from_loading(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING), LoadTurn(tmp_path / "file" / "models", lambda: None).held():
        pass
    assert "can't be locked" in caplog.text
