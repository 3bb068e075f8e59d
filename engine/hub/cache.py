"""A hub's files on this disk, in the layout of huggingface_hub's cache, and whether a model is complete there.

Reads the disk only, never the network, and does not import huggingface_hub.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from engine.hub import lockfile
from engine.hub.errors import FetchError
from engine.hub.lockfile import Pin, RepoFile
from engine.hub.names import is_repo, split_file
from engine.hub.selection import INDEX, WHOLE, Selection, pipeline_parts, select_files, select_single
from engine.regular_files import read_json, read_text

_PREFIX = "models--"
_REMOVED = ".removed-"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def cache_root(models_dir: str) -> Path:
    """Return the folder of the hub's cache: ``HF_HUB_CACHE`` and ``HF_HOME`` win over the models folder."""
    if own := os.environ.get("HF_HUB_CACHE"):
        return Path(own).expanduser().absolute()
    if home := os.environ.get("HF_HOME"):
        return (Path(home).expanduser() / "hub").absolute()
    return Path(models_dir).absolute()


def storage(cache_dir: Path, repo: str) -> Path:
    """Return the folder of a repository in a cache, named as huggingface_hub does."""
    return cache_dir / (_PREFIX + repo.replace("/", "--"))


def snapshot(cache_dir: Path, repo: str, revision: str) -> Path:
    """Return the folder in which the files of a commit have their own names."""
    return storage(cache_dir, repo) / "snapshots" / revision


def present(source: str, models_dir: str, selection: Selection = WHOLE) -> str | None:
    """Return the path of a model if all its files are here, at the commit that is used; None otherwise.

    Args:
        source: ``owner/name`` (returns a pipeline's folder) or ``owner/name/path/file`` (returns a file's path).
        models_dir: Folder of models and ``pins.json``.
        selection: Which files of a pipeline.
    """
    if split_file(source) is not None:
        return present_file(source, models_dir)
    repo = source
    for cache_dir, pin in _caches(repo, models_dir):
        folder = snapshot(cache_dir, repo, pin.revision)
        try:
            index = read_index(folder)
            whole = (
                missing(folder, pin.files, select_files(pin.files, index, selection)) == []
                if pin.files
                else _looks_whole(folder, pipeline_parts(index), selection)
            )
        except (FetchError, OSError):
            continue
        if whole:
            return str(folder)
    return None


def present_single(repo: str, models_dir: str) -> str | None:
    """Return the folder of a single model, such as a ControlNet, if all its files are here; None otherwise."""
    for cache_dir, pin in _caches(repo, models_dir):
        folder = snapshot(cache_dir, repo, pin.revision)
        try:
            chosen = select_single(pin.files or [path.name for path in folder.iterdir()])
        except (FetchError, OSError):
            continue
        if not pin.files or missing(folder, pin.files, chosen) == []:
            return str(folder)
    return None


def snapshot_of(repo: str, models_dir: str) -> Path | None:
    """Return the folder of a repository that any program has downloaded, if it has a config; None otherwise."""
    for cache_dir, pin in _caches(repo, models_dir):
        folder = snapshot(cache_dir, repo, pin.revision)
        if (folder / "config.json").exists():
            return folder
    return None


def present_file(source: str, models_dir: str) -> str | None:
    """Return the path of ``owner/name/path/file`` if it is here, at the commit that is used; None otherwise."""
    named = split_file(source)
    if named is None:
        return None
    repo, path = named
    for cache_dir, pin in _caches(repo, models_dir):
        folder = snapshot(cache_dir, repo, pin.revision)
        if path in pin.files and not missing(folder, pin.files, [path]):
            return str(folder / path)
        if not pin.files and (folder / path).is_file():
            return str(folder / path)
    return None


def adopted(repo: str, models_dir: str) -> Pin | None:
    """Return the newest commit of a copied cache for which Easel has chosen none; None if there is none."""
    cache_dir = cache_root(models_dir)
    try:
        revision = read_text(storage(cache_dir, repo) / "refs" / "main").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return Pin(revision, cache=external_cache(models_dir)) if _COMMIT.fullmatch(revision) else None


def external_cache(models_dir: str) -> str:
    """Return the cache's folder if it is not the models folder; empty if it is."""
    cache_dir = cache_root(models_dir)
    return "" if cache_dir == Path(models_dir).absolute() else str(cache_dir)


def missing(folder: Path, files: Mapping[str, RepoFile], chosen: Iterable[str]) -> list[str]:
    """Return the chosen files that are not in the folder with their right size."""
    return [path for path in chosen if path not in files or size_of(folder / path) != files[path].size]


def read_index(folder: Path) -> Mapping[str, object]:
    """Return a pipeline's ``model_index.json``; raises OSError, and FetchError if it can't be parsed."""
    try:
        index = read_json(folder / INDEX)
    except ValueError as e:
        raise FetchError(f"{folder / INDEX} is no JSON.", passing=False) from e
    if not isinstance(index, dict):
        raise FetchError(f"{folder / INDEX} holds no object.", passing=False)
    return index


def repos(models_dir: str) -> tuple[str, ...]:
    """Return the repositories with files in the models folder, or in the cache that a pin names."""
    try:
        known = {
            repo for repo, pin in lockfile.read(models_dir).items() if storage(_home(pin, models_dir), repo).is_dir()
        }
    except FetchError:
        known = set()
    folders = Path(models_dir).glob(f"{_PREFIX}*--*")
    found = {folder.name.removeprefix(_PREFIX).replace("--", "/", 1) for folder in folders if folder.is_dir()}
    return tuple(sorted(known | {repo for repo in found if is_repo(repo)}))


def disk_usage(repo: str, models_dir: str) -> int:
    """Return the bytes of a repository on this disk, including incomplete files."""
    return sum(_bytes(folder) for folder in _folders(repo, models_dir))


def remove(repo: str, models_dir: str) -> int:
    """Remove a repository's files and its pin; returns the bytes that were freed.

    Raises:
        FetchError: A folder can't be removed; it stays complete.
    """
    freed = 0
    try:
        for folder in _folders(repo, models_dir):
            # Renamed first: if the process is killed now, half a model can't pass for a whole one.
            folder.rename(folder.with_name(f"{_REMOVED}{secrets.token_hex(4)}"))
            shutil.rmtree(folder.parent / ".locks" / folder.name, ignore_errors=True)
            for doomed in folder.parent.glob(f"{_REMOVED}*"):
                freed += _bytes(doomed)
                shutil.rmtree(doomed)
    except OSError as e:
        raise FetchError(
            f"The files of {repo} can't be removed ({e.strerror or e}): {e.filename}.", passing=False
        ) from e
    lockfile.forget(models_dir, repo)
    return freed


def prune(repo: str, models_dir: str) -> int:
    """Remove the files of commits that are no longer used; returns the bytes that were freed.

    Only in the models folder: other programs may use the cache of ``HF_HOME``.
    """
    folder = storage(Path(models_dir).absolute(), repo)
    keep = lockfile.pinned(repo, models_dir)
    if not keep or external_cache(models_dir) or not (folder / "snapshots" / keep).is_dir():
        return 0
    before = _bytes(folder)
    for old in (folder / "snapshots").iterdir():
        if old.name != keep:
            shutil.rmtree(old, ignore_errors=True)
    used = {path.resolve() for path in (folder / "snapshots" / keep).rglob("*") if path.is_symlink()}
    for blob in (folder / "blobs").glob("*"):
        if blob.resolve() not in used:
            blob.unlink(missing_ok=True)
    return before - _bytes(folder)


def _caches(repo: str, models_dir: str) -> list[tuple[Path, Pin]]:
    """Return the caches that may hold a repository, each with the commit that is used."""
    pin = lockfile.find(repo, models_dir) or adopted(repo, models_dir)
    return [] if pin is None else [(home, pin) for home in _homes(pin, models_dir)]


def _home(pin: Pin, models_dir: str) -> Path:
    return Path(pin.cache) if pin.cache else Path(models_dir).absolute()


def _homes(pin: Pin | None, models_dir: str) -> Iterable[Path]:
    first = [] if pin is None else [_home(pin, models_dir)]
    return dict.fromkeys((*first, cache_root(models_dir), Path(models_dir).absolute()))


def _folders(repo: str, models_dir: str) -> list[Path]:
    homes = _homes(lockfile.find(repo, models_dir), models_dir)
    return [folder for home in homes if (folder := storage(home, repo)).is_dir()]


def _looks_whole(folder: Path, parts: Iterable[str], selection: Selection) -> bool:
    """Return whether a folder can be a whole pipeline although no list of its files is known."""
    for part in parts:
        names = {path.name for path in (folder / part).glob("[!.]*") if path.exists()}
        if not names:
            return False
        if not selection.weights or part in selection.without:
            continue
        if "config.json" in names and not any(name.endswith(".safetensors") for name in names):
            return False
        for name in names:
            if name.endswith(".safetensors.index.json") and not _shards(folder / part / name) <= names:
                return False
    return True


def _shards(index: Path) -> set[str]:
    try:
        return set(read_json(index)["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {""}  # which no folder holds


def size_of(path: Path) -> int | None:
    """Return a file's size in bytes; None where there is no such file."""
    try:
        return path.stat().st_size
    except OSError:
        return None


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
