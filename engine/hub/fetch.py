"""What others ask of this folder: a model, one file, or the newest of either."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from engine.hub import cache, lockfile
from engine.hub.errors import FetchError, ProgressCallback
from engine.hub.names import is_repo, split_file
from engine.hub.repo_download import Pause, RepoDownload
from engine.hub.selection import WHOLE, Selection


@dataclass(frozen=True, slots=True)
class Fetched:
    """A pipeline on this disk.

    Attributes:
        folder: Where it is.
        revision: Its commit.
    """

    folder: str
    revision: str


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """One file on this disk.

    Attributes:
        path: Where it is.
        revision: The commit that it is of.
    """

    path: str
    revision: str


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull did.

    Attributes:
        path: The pipeline's folder, or the file.
        revision: The commit that is used from now on.
        before: The commit that was used before; empty for none.
        fetched: Bytes that came.
    """

    path: str
    revision: str
    before: str
    fetched: int


def fetch(
    repo: str,
    models_dir: str,
    report: ProgressCallback,
    *,
    selection: Selection = WHOLE,
    pause: Pause = time.sleep,
) -> Fetched:
    """Return the hub's pipeline ``repo`` at the commit that was chosen first, fetching what is missing of it.

    Asks nobody when everything is here. Goes on where a broken download ended.

    Args:
        repo: ``owner/name``.
        models_dir: Where models and ``pins.json`` are kept (``HF_HOME`` and ``HF_HUB_CACHE`` win for the models).
        report: Told how far it is.
        selection: How much of the pipeline.
        pause: Waits between tries, in seconds.

    Raises:
        FetchError: It can't be had; the sentence says why and what to do.
    """
    if (folder := cache.present(repo, models_dir, selection)) is not None:
        return Fetched(folder, _keep(repo, models_dir))
    folder, revision, _ = RepoDownload(repo, models_dir, report, pause).run(
        lambda job: job.pipeline(selection), newest=False
    )
    return Fetched(folder, revision)


def fetch_file(
    source: str,
    models_dir: str,
    report: ProgressCallback,
    *,
    pause: Pause = time.sleep,
) -> FetchedFile:
    """Return one file of a repository: ``owner/name/path/file.safetensors`` or ``.gguf``. See ``fetch``.

    Raises:
        FetchError: It can't be had, or is of another kind.
    """
    repo, path = _named(source)
    if (found := cache.present_file(source, models_dir)) is not None:
        return FetchedFile(found, _keep(repo, models_dir))
    folder, revision, _ = RepoDownload(repo, models_dir, report, pause).run(lambda job: job.one(path), newest=False)
    return FetchedFile(str(Path(folder) / path), revision)


def pull(
    source: str,
    models_dir: str,
    report: ProgressCallback,
    *,
    selection: Selection = WHOLE,
    pause: Pause = time.sleep,
) -> Pulled:
    """Take the newest commit of a pipeline or of one file, whatever is here. The old one is used until all is here.

    Raises:
        FetchError: It can't be had.
    """
    repo, path = (source, "") if is_repo(source) else _named(source)
    before = lockfile.pinned(repo, models_dir)
    job = RepoDownload(repo, models_dir, report, pause)
    folder, revision, came = job.run(lambda job: job.one(path) if path else job.pipeline(selection), newest=True)
    return Pulled(str(Path(folder) / path) if path else folder, revision, before, came)


def _named(source: str) -> tuple[str, str]:
    named = split_file(source)
    if named is None:
        raise FetchError(
            f"{source!r} names no file on a hub that Easel can load: these are owner/name/FILE.safetensors or .gguf "
            "(no pickles).",
            passing=False,
        )
    return named


def _keep(repo: str, models_dir: str) -> str:
    """Return the commit that is used of a repository which is here; write it down where only the cache knew it."""
    if revision := lockfile.pinned(repo, models_dir):
        return revision
    pin = cache.adopted(repo, models_dir)
    if pin is None:
        return ""
    lockfile.put(models_dir, repo, replace(pin, files={}))
    return pin.revision
