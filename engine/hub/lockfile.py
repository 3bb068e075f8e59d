"""``pins.json`` in the models folder: the commit that is used of each repository, and the files of that commit.

``oid`` is the hub's name of a file's content: its SHA-256 if it has 64 digits, else git's own hash. ``cache`` is present
only if ``HF_HOME`` or ``HF_HUB_CACHE`` put the files elsewhere::

    {"format": 1, "models": {"owner/name": {
        "revision": "<40 digits>", "cache": "/elsewhere/hub",
        "files": {"vae/config.json": {"size": 819, "oid": "<40 digits>"}}}}}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from engine.hub.errors import FetchError
from engine.regular_files import read_json, write_json

NAME = "pins.json"
_FORMAT = 1
_SHA256 = 64
_LOCK_SECONDS = 10


@dataclass(frozen=True, slots=True)
class RepoFile:
    """One file of a commit.

    Attributes:
        size: Bytes.
        oid: The hub's name of its content.
    """

    size: int
    oid: str

    @property
    def sha256(self) -> str:
        """The content's SHA-256; empty if the hub does not name it (small files, which git keeps)."""
        return self.oid if len(self.oid) == _SHA256 else ""


@dataclass(frozen=True, slots=True)
class Pin:
    """The commit of a repository that is used.

    Attributes:
        revision: The commit.
        files: Its files that a model can be loaded from; empty if no hub was ever asked (copied files).
        cache: Folder of the hub's cache that holds it; empty for the models folder.
    """

    revision: str
    files: Mapping[str, RepoFile] = field(default_factory=dict)
    cache: str = ""


def find(repo: str, models_dir: str) -> Pin | None:
    """Return the pin of a repository; None if none was chosen yet, or if the file can't be read."""
    try:
        return read(models_dir).get(repo)
    except FetchError:
        return None


def pinned(repo: str, models_dir: str) -> str:
    """Return the commit that is used of a repository; empty if none was chosen yet."""
    pin = find(repo, models_dir)
    return pin.revision if pin else ""


def read(models_dir: str) -> dict[str, Pin]:
    """Return the pins by repository; raises FetchError if the file can't be read or parsed."""
    path = Path(models_dir) / NAME
    try:
        found = read_json(path)
        if found["format"] != _FORMAT:
            raise ValueError(f"its format is {found['format']}")
        return {repo: _pin(entry) for repo, entry in found["models"].items()}
    except FileNotFoundError:
        return {}
    except OSError as e:
        raise FetchError(f"{path} can't be read ({e.strerror or e}).", passing=False) from e
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise FetchError(
            f"{path} is not valid ({type(e).__name__}: {e}): remove it, and pull your models again.", passing=False
        ) from e


def put(models_dir: str, repo: str, pin: Pin) -> None:
    """Use this commit from now on; raises FetchError if the file can't be written."""
    _change(models_dir, lambda pins: pins.update({repo: pin}))


def put_first(models_dir: str, repo: str, pin: Pin) -> Pin:
    """Use this commit unless another process has chosen one meanwhile; return the one that is used.

    Raises:
        FetchError: The file can't be written.
    """
    used = pin

    def change(pins: dict[str, Pin]) -> None:
        nonlocal used
        known = pins.get(repo)
        used = known if known is not None and known.files else pin
        pins[repo] = used

    _change(models_dir, change)
    return used


def forget(models_dir: str, repo: str) -> None:
    """Let the next fetch choose a commit; raises FetchError if the file can't be written."""
    if (Path(models_dir) / NAME).exists():
        _change(models_dir, lambda pins: pins.pop(repo, None))


def _change(models_dir: str, change: Callable[[dict[str, Pin]], object]) -> None:
    folder = Path(models_dir)
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The service and the command line may write at the same time.
        with FileLock(folder / f"{NAME}.lock", timeout=_LOCK_SECONDS):
            pins = read(models_dir)
            change(pins)
            write_json(path, {"format": _FORMAT, "models": {repo: _entry(pins[repo]) for repo in sorted(pins)}})
    except OSError as e:  # filelock's Timeout is one
        raise FetchError(f"{path} can't be written ({e.strerror or e}).", passing=False) from e


def _pin(entry: Mapping[str, Any]) -> Pin:
    files = {path: RepoFile(int(f["size"]), str(f["oid"])) for path, f in entry["files"].items()}
    return Pin(str(entry["revision"]), files, str(entry.get("cache", "")))


def _entry(pin: Pin) -> dict[str, object]:
    files = {path: {"size": file.size, "oid": file.oid} for path, file in sorted(pin.files.items())}
    return {"revision": pin.revision, **({"cache": pin.cache} if pin.cache else {}), "files": files}
