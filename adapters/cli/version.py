"""Says which Easel is installed: its version, and the commit where that is known."""

from __future__ import annotations

import json
import re
from importlib.metadata import distribution
from pathlib import Path

_CHECKOUT = Path(__file__).parents[2]
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SHOWN = 12
"""Digits of the commit that are shown."""


def described() -> str:
    """Return the version, such as ``0.2.0``, with the commit of a checkout or of pip's source: ``0.2.0 (3f2a…)``.

    Blocking: reads small files, and starts no git.
    """
    easel = distribution("easel")
    commit = commit_of_source(easel.read_text("direct_url.json") or "") or commit_of_checkout(_CHECKOUT)
    return f"{easel.version} ({commit[:_SHOWN]})" if commit else easel.version


def commit_of_source(direct_url: str) -> str | None:
    """Return the commit that pip has installed from a repository, by its ``direct_url.json`` (PEP 610)."""
    try:
        commit = json.loads(direct_url)["vcs_info"]["commit_id"]
    except (ValueError, KeyError, TypeError):
        return None
    return commit if isinstance(commit, str) and _COMMIT.fullmatch(commit) else None


def commit_of_checkout(folder: Path) -> str | None:
    """Return the commit that is checked out in a folder; None if it is no checkout of git or can't be read."""
    try:
        return _head(folder / ".git")
    except (OSError, ValueError):
        return None


def _head(git: Path) -> str | None:
    if git.is_file():  # of a worktree: it names the folder
        git = git.parent / _line(git).removeprefix("gitdir: ")
    head = _line(git / "HEAD")
    shared = git / _line(git / "commondir") if (git / "commondir").exists() else git
    if not head.startswith("ref: "):
        return _checked(head)
    branch = head.removeprefix("ref: ")
    if (shared / branch).exists():
        return _checked(_line(shared / branch))
    for line in (shared / "packed-refs").read_text(encoding="utf-8").splitlines():
        commit, _, name = line.partition(" ")
        if name == branch:
            return _checked(commit)
    return None


def _line(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def _checked(commit: str) -> str | None:
    return commit if _COMMIT.fullmatch(commit) else None
