"""The source distribution builds a wheel that holds every file of the packages, nothing else, and works from any folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]
PACKAGES = ("adapters", "bot", "engine", "migrations")


def _build(kind: str, source: Path, target: Path) -> Path:
    """Build without a network and without another environment, and return the file."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(_build("sdist", ROOT, folder / "built")) as files:
        # Python 3.11.2, Debian 12's, knows no filters.
        files.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        files.extractall(folder / "source")
    (root,) = (folder / "source").iterdir()
    return root


@pytest.fixture(scope="module")
def unpacked(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel, built from the source distribution."""
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(_build("wheel", source, folder / "built")) as files:
        files.extractall(folder / "site")
    return folder / "site"


def _files(root: Path) -> dict[str, bytes]:
    """The files of the packages, by their paths."""
    found = (path for package in PACKAGES for path in (root / package).rglob("*"))
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in found
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_is_the_packages(unpacked: Path) -> None:
    here, there = _files(ROOT), _files(unpacked)
    assert sorted(there) == sorted(here)
    assert [path for path, data in here.items() if there[path] != data] == []
    assert {p.name for p in unpacked.iterdir() if not p.name.endswith(".dist-info")} == set(PACKAGES)
    # One of each kind of file that Easel reads, so that an empty tree is noticed.
    for path in (
        "adapters/web/static/index.html",
        "adapters/web/static/main.js",
        "bot/cards/locales/zh_CN/LC_MESSAGES/easel.po",
        "bot/moderation/lookalikes.txt",
        "bot/moderation/words.toml",
        "engine/demo/model/transformer/diffusion_pytorch_model.safetensors",
        "migrations/0001_first_tables.sql",
    ):
        assert there[path], path


def test_the_wheel_says_what_it_is(unpacked: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (info,) = unpacked.glob("*.dist-info")
    said = HeaderParser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
    assert (said["Name"], said["Version"]) == (project["name"], project["version"])
    assert said["Requires-Python"] == project["requires-python"]
    assert sorted(said.get_all("Provides-Extra", [])) == sorted(project["optional-dependencies"])
    assert (info / "licenses" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert "easel = adapters.cli.main:run" in (info / "entry_points.txt").read_text(encoding="utf-8")


def test_the_source_distribution_is_enough_for_every_way_to_install(source: Path) -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    needed = [
        *" ".join(copied).split(),
        "Dockerfile",
        "compose.yaml",
        "Makefile",
        "tools/setup.py",
        "tests/conftest.py",
    ]
    assert len(needed) > 10
    assert [name for name in needed if not (source / name).exists()] == []


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
