"""The commit of an installation: from git's files, by whatever way git keeps them, and from pip's record."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from adapters.cli import version as versions


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    folder = tmp_path / "checkout"
    folder.mkdir()
    _git(folder, "init", "-q")
    _git(folder, "commit", "-q", "--allow-empty", "-m", "First")
    return folder


def _git(folder: Path, *line: str) -> str:
    identity = ("-c", "user.name=Somebody", "-c", "user.email=somebody@easel.example")
    done = subprocess.run(["git", *identity, *line], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_of_a_checkout(checkout: Path) -> None:
    commit = _git(checkout, "rev-parse", "HEAD")
    assert versions.commit_of_checkout(checkout) == commit
    _git(checkout, "pack-refs", "--all")
    assert versions.commit_of_checkout(checkout) == commit
    _git(checkout, "checkout", "-q", "--detach")
    assert versions.commit_of_checkout(checkout) == commit


def test_the_commit_of_a_worktree(checkout: Path) -> None:
    _git(checkout, "worktree", "add", "-q", "-b", "other", "../worktree")
    worktree = checkout.parent / "worktree"
    _git(worktree, "commit", "-q", "--allow-empty", "-m", "Second")
    assert versions.commit_of_checkout(worktree) == _git(worktree, "rev-parse", "HEAD")
    assert versions.commit_of_checkout(worktree) != versions.commit_of_checkout(checkout)


def test_no_checkout_has_no_commit(tmp_path: Path) -> None:
    assert versions.commit_of_checkout(tmp_path) is None
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n", encoding="ascii")
    assert versions.commit_of_checkout(tmp_path) is None
    (tmp_path / ".git" / "HEAD").write_bytes(b"\xff\xfe")
    assert versions.commit_of_checkout(tmp_path) is None


COMMIT = "3f2a" * 10


@pytest.mark.parametrize(
    ("record", "commit"),
    [
        (json.dumps({"url": "https://easel.example", "vcs_info": {"vcs": "git", "commit_id": COMMIT}}), COMMIT),
        (json.dumps({"url": "file:///easel", "dir_info": {"editable": True}}), None),
        (json.dumps({"vcs_info": {"commit_id": "../../etc"}}), None),
        (json.dumps(["vcs_info"]), None),
        ("", None),
    ],
)
def test_the_commit_that_pip_recorded(record: str, commit: str | None) -> None:
    assert versions.commit_of_source(record) == commit


def test_an_installation_without_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_CHECKOUT", tmp_path)
    assert versions.described() == version("easel")
    monkeypatch.undo()
    if commit := versions.commit_of_checkout(Path(__file__).parents[4]):
        assert versions.described() == f"{version('easel')} ({commit[:12]})"
