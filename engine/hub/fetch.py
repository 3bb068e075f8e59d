"""Fetches a pipeline or one file from a hub, at the commit in use or at the newest one."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from engine.hub import cache, lockfile
from engine.hub.errors import FetchError, ProgressCallback
from engine.hub.names import is_repo, split_file
from engine.hub.repo_download import RepoDownload, Sleep
from engine.hub.selection import WHOLE, Selection


@dataclass(frozen=True, slots=True)
class Fetched:
    """A pipeline or a file on this disk.

    Attributes:
        path: The pipeline's folder, or the file.
        revision: Its commit.
    """

    path: str
    revision: str


@dataclass(frozen=True, slots=True)
class Pulled(Fetched):
    """Result of a pull; ``revision`` is used from now on.

    Attributes:
        before: The commit that was used before; empty if there was none.
        fetched: Downloaded bytes.
    """

    before: str
    fetched: int


def fetch(
    repo: str,
    models_dir: str,
    report: ProgressCallback,
    *,
    selection: Selection = WHOLE,
    pause: Sleep = time.sleep,
) -> Fetched:
    """Return a pipeline at the commit that was chosen first, and fetch its missing files.

    Sends no request if all files are here. Resumes a broken download.

    Args:
        repo: ``owner/name``.
        models_dir: Folder of models and ``pins.json`` (``HF_HOME`` and ``HF_HUB_CACHE`` win for the models).
        report: Receives the progress.
        selection: Which files of the pipeline.
        pause: Waits between tries, in seconds.

    Raises:
        FetchError: It can't be fetched; the sentence says why and what to do.
    """
    if (folder := cache.present(repo, models_dir, selection)) is not None:
        return Fetched(folder, _pinned_revision(repo, models_dir))
    folder, revision, _ = RepoDownload(repo, models_dir, report, pause).run(
        lambda job: job.pipeline(selection), newest=False
    )
    return Fetched(folder, revision)


def fetch_file(
    source: str,
    models_dir: str,
    report: ProgressCallback,
    *,
    pause: Sleep = time.sleep,
) -> Fetched:
    """Return one file of a repository: ``owner/name/path/file.safetensors`` or ``.gguf``. See ``fetch``.

    Raises:
        FetchError: It can't be fetched, or has another file type.
    """
    repo, path = _repo_and_path(source)
    if (found := cache.present_file(source, models_dir)) is not None:
        return Fetched(found, _pinned_revision(repo, models_dir))
    folder, revision, _ = RepoDownload(repo, models_dir, report, pause).run(lambda job: job.one(path), newest=False)
    return Fetched(str(Path(folder) / path), revision)


def pull(
    source: str,
    models_dir: str,
    report: ProgressCallback,
    *,
    selection: Selection = WHOLE,
    pause: Sleep = time.sleep,
) -> Pulled:
    """Fetch the newest commit of a pipeline or of one file. The old one is used until all files are here.

    Raises:
        FetchError: It can't be fetched.
    """
    repo, path = (source, "") if is_repo(source) else _repo_and_path(source)
    before = lockfile.pinned(repo, models_dir)
    job = RepoDownload(repo, models_dir, report, pause)
    folder, revision, downloaded = job.run(lambda job: job.one(path) if path else job.pipeline(selection), newest=True)
    return Pulled(str(Path(folder) / path) if path else folder, revision, before, downloaded)


def _repo_and_path(source: str) -> tuple[str, str]:
    named = split_file(source)
    if named is None:
        raise FetchError(
            f"{source!r} names no file on a hub that Easel can load: use owner/name/FILE.safetensors or .gguf "
            "(no pickles).",
            passing=False,
        )
    return named


def _pinned_revision(repo: str, models_dir: str) -> str:
    """Return the commit in use of a repository that is here; pin it if only the cache named it."""
    if revision := lockfile.pinned(repo, models_dir):
        return revision
    pin = cache.adopted(repo, models_dir)
    if pin is None:
        return ""
    lockfile.put(models_dir, repo, replace(pin, files={}))
    return pin.revision
