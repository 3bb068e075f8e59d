"""How models on a hub are named: ``owner/name`` for a repository, ``owner/name/path/file`` for one file of it."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

WEIGHTS = (".safetensors", ".gguf")
"""Files of weights that can't run code."""

_PART = re.compile(r"[A-Za-z0-9_](?:[\w.-]*[\w])?", re.ASCII)
_LONGEST = 96


def is_repo(text: str) -> bool:
    """Return whether this may be a repository's id, as the hub has them; a folder may be called so too."""
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
