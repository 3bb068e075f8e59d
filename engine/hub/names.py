"""Names on a hub: ``owner/name`` is a repository, ``owner/name/path/file`` one file of it."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

WEIGHTS = (".safetensors", ".gguf")
"""File types of weights that can't run code."""

_PART = re.compile(r"[A-Za-z0-9_](?:[\w.-]*[\w])?", re.ASCII)
_LONGEST = 96


def is_repo(text: str) -> bool:
    """Return whether a text may be a repository's id; a local folder may have the same name."""
    parts = text.split("/")
    return (
        len(parts) == 2
        and len(text) <= _LONGEST
        and all(_PART.fullmatch(part) and "--" not in part and ".." not in part for part in parts)
    )


def split_file(text: str) -> tuple[str, str] | None:
    """Return repository and path of ``owner/name/path/file.safetensors`` (or ``.gguf``); None for anything else."""
    owner, _, rest = text.partition("/")
    name, _, path = rest.partition("/")
    repo = f"{owner}/{name}"
    clean = PurePosixPath(path)
    if not path or clean.is_absolute() or not is_repo(repo) or clean.as_posix() != path or ".." in clean.parts:
        return None
    return (repo, path) if clean.suffix.lower() in WEIGHTS else None
