"""A built wheel holds everything, and works from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]
DATA = (
    "migrations/*.sql",
    "bot/moderation/*.toml",
    "bot/moderation/*.txt",
    "bot/cards/locales/**/*.po",
    "engine/demo/**/*",
    "adapters/web/static/**/*",
)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        files.extractall(folder / "site")
    return folder / "site"


@pytest.mark.parametrize("pattern", DATA)
def test_data_files_are_in_the_wheel(unpacked: Path, pattern: str) -> None:
    here = [p for p in ROOT.glob(pattern) if p.is_file() and "__pycache__" not in p.parts]
    assert here, f"nothing matches {pattern}"
    for path in here:
        there = unpacked / path.relative_to(ROOT)
        assert there.read_bytes() == path.read_bytes()


def test_nothing_else_is_in_the_wheel(unpacked: Path) -> None:
    assert {p.name for p in unpacked.iterdir() if not p.name.endswith(".dist-info")} == {
        "adapters",
        "bot",
        "engine",
        "migrations",
    }


def test_the_wheel_finds_its_migrations_from_another_folder(unpacked: Path, tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("EASEL_")} | {"PYTHONPATH": str(unpacked)}
    where = subprocess.run(
        [sys.executable, "-c", "import bot; print(bot.__file__)"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(unpacked))
    done = subprocess.run(
        [sys.executable, "-m", "adapters.cli.main", "migrate"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / "easel.db").exists()
