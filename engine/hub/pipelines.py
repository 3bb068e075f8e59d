"""What a pipeline on a hub is, by its small files: its profile, and whether Easel can draw with it."""

from __future__ import annotations

from pathlib import Path

from engine.contract import Profile, UnknownModel
from engine.folders import index_of, profile_of
from engine.hub import cache
from engine.hub.errors import FetchError
from engine.hub.selection import UNUSED, WHOLE, Selection


def profile(repo: str, models_dir: str, selection: Selection = WHOLE) -> Profile | None:
    """Return the profile of a pipeline at the commit that is used, named after its repository.

    Reads the disk only.

    Args:
        repo: ``owner/name``.
        models_dir: Folder of models and ``pins.json``.
        selection: The files of it that must be here.

    Returns:
        None where a file is missing.

    Raises:
        UnknownModel: Easel can't draw with it; one sentence says why.
    """
    folder = cache.present(repo, models_dir, selection)
    return None if folder is None else profile_of(Path(folder), repo)


def check(repo: str, folder: Path) -> None:
    """Check what the small files of a pipeline say, before its weights are downloaded.

    Args:
        repo: ``owner/name``.
        folder: Has its ``model_index.json``, configs and tokenizers.

    Raises:
        FetchError: Easel can't draw with it; one sentence says why.
    """
    try:
        _, family = index_of(folder, repo)
    except UnknownModel as e:
        raise FetchError(str(e), passing=False) from e
    for name, part in family.parts.items():
        if part.weights and name in UNUSED:
            raise FetchError(
                f"The model {repo} draws with its {name}, whose weights Easel does not fetch: use another model, or a "
                "folder with all of its files.",
                passing=False,
            )
