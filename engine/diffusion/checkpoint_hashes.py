"""Hashes of checkpoint files, by which A1111 and Civitai know a model. They are computed beside the drawing, and kept."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from engine.diffusion.errors import first_line
from engine.regular_files import read_json, write_json

CHARS = 10
"""Hexadecimal digits of the SHA-256 that A1111 writes."""

NAME, LOCK = "checkpoint-hashes.json", "checkpoint-hashes.lock"
"""The hashes that are kept in the folder of models, by path; and what is held while one is computed."""

_DIGEST = re.compile(f"[0-9a-f]{{{CHARS}}}", re.ASCII)

log = logging.getLogger(__name__)

Version = tuple[str, int, int]
"""A file's path, its size in bytes and its modification time in nanoseconds."""


class CheckpointHashes:
    """Computes the hash of each checkpoint once, in a thread of its own: several GB take some seconds."""

    def __init__(self, folder: Path | None = None) -> None:
        """Args:
        folder: The folder of models, where hashes are kept for later and for other processes; None: they are not kept.
        """
        self._folder = folder
        self._lock = threading.Lock()
        self._known: dict[Version, str] = {}
        self._of_model: dict[str, Version] = {}

    def begin(self, model: str, file: Path | None) -> threading.Thread | None:
        """A model was loaded: compute the hash of its file, unless it is known. Returns the thread that does; None for none.

        Args:
            model: The model's name.
            file: Its single file with all weights; None where it is a folder, which has no such hash.
        """
        version = None if file is None else _version(file)
        with self._lock:
            self._of_model.pop(model, None)
            if version is None:
                return None
            self._of_model[model] = version
            if version in self._known:
                return None
            self._known[version] = ""
        # A daemon: reading a file is nothing that the end of the process has to wait for.
        thread = threading.Thread(target=self._compute, args=(version,), name="checkpoint hash", daemon=True)
        thread.start()
        return thread

    def of(self, model: str) -> str:
        """Return the first 10 digits of the SHA-256 of a model's file; empty if it has none, or it is not known yet."""
        with self._lock:
            version = self._of_model.get(model)
            return "" if version is None else self._known.get(version, "")

    def _compute(self, version: Version) -> None:
        digest = ""
        try:
            # Processes that load the same file wait for the first one, and find its hash.
            with self._held():
                path, *rest = version
                *kept, found = self._kept().get(path, [""])
                digest = str(found) if kept == rest else ""
                if not digest:
                    with Path(path).open("rb") as file:
                        digest = hashlib.file_digest(file, "sha256").hexdigest()[:CHARS]
                    # A file that changed meanwhile has no hash.
                    digest = digest if _version(Path(path)) == version else ""
                    if digest:
                        self._keep(version, digest)
        except OSError as error:
            log.warning("The hash of %s is not known: %s", Path(version[0]).name, first_line(error))
        with self._lock:
            if digest:
                self._known[version] = digest
            else:
                self._known.pop(version, None)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the lock of the kept hashes. A folder that can't be locked is no reason to have none."""
        if self._folder is None:
            yield
            return
        lock = FileLock(self._folder / LOCK)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except (OSError, NotImplementedError) as error:
            log.warning("The folder of models can't be locked: %s", error)
        try:
            yield
        finally:
            lock.release()

    def _kept(self) -> dict[str, list[object]]:
        """Return size, modification time and hash of files by path; nothing where none is kept or the file is damaged."""
        if self._folder is None:
            return {}
        try:
            found = read_json(self._folder / NAME)
        except (OSError, ValueError):
            return {}
        return {path: one for path, one in found.items() if _is_entry(one)} if isinstance(found, dict) else {}

    def _keep(self, version: Version, digest: str) -> None:
        """Keep a hash for later. A folder that can't be written costs each process the time to compute it."""
        if self._folder is None:
            return
        path, *rest = version
        try:
            write_json(self._folder / NAME, {**self._kept(), path: [*rest, digest]})
        except OSError as error:
            log.warning("The hash of %s is not kept: %s", Path(path).name, first_line(error))


def _is_entry(found: object) -> bool:
    return isinstance(found, list) and len(found) == 3 and _DIGEST.fullmatch(str(found[2])) is not None


def _version(file: Path) -> Version | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return str(file), found.st_size, found.st_mtime_ns
