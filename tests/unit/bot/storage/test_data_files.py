"""What Easel makes in its data folder is for its owner alone, what earlier versions made among it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bot.storage import data_files

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")

OWN = (
    "easel.db",
    "easel.db.v2.bak",
    "easel.db.before-restore",
    "pictures/2026/01/02/1-0.png",
    f"inputs/{'a' * 64}.png",
    f"sheets/{'b' * 24}.png",
    "exports/3-1.zip",
    "models/hub/weights.safetensors",
)
OTHERS = ("models.toml", "pictures/holiday.png", "pictures/2026/01/02/holiday.png", "mine/1-0.png")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_what_others_could_read_is_tightened_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data, outside = tmp_path / "data", tmp_path / "outside"
    for name in (*OWN, *OTHERS):
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (outside / "02").mkdir(parents=True)
    (outside / "02" / "1-0.png").write_bytes(b"x")
    (data / "pictures/2026/03").symlink_to(outside)
    (data / "pictures/2026/01/02/2-0.png").symlink_to(outside / "02" / "1-0.png")
    (data / "easel.link").symlink_to(outside / "02" / "1-0.png")
    os.mkfifo(data / "pictures/2026/01/02/3-0.png")
    for path in (data, outside, *tmp_path.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert data_files.restrict_permissions(data) == 15
    assert {name: mode(data / name) for name in OWN[:-1]} == dict.fromkeys(OWN[:-1], 0o600)
    folders = (
        "pictures",
        "pictures/2026",
        "pictures/2026/01",
        "pictures/2026/01/02",
        "inputs",
        "sheets",
        "exports",
        "models",
    )
    assert {name: mode(data / name) for name in folders} == dict.fromkeys(folders, 0o700)
    assert {name: mode(data / name) for name in OTHERS} == dict.fromkeys(OTHERS, 0o644)
    assert (mode(outside), mode(outside / "02"), mode(outside / "02" / "1-0.png")) == (0o755, 0o755, 0o644)
    assert data_files.restrict_permissions(data) == 0
    caplog.clear()
    assert data_files.restrict_permissions(tmp_path / "nothing") == 0
    assert caplog.text == "", "at a first start there is nothing to say"


def test_a_new_file_is_never_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match=r"symbolic|loop"):
        data_files.open_new(tmp_path / "link")
    assert (tmp_path / "mine").read_bytes() == b"mine"
