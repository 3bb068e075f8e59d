"""Hashes of checkpoint files, by which A1111 and Civitai know a model. They are computed beside the drawing."""

from __future__ import annotations

import hashlib
import logging
import threading
from pathlib import Path

from engine.diffusion.errors import first_line

CHARS = 10
"""Hexadecimal digits of the SHA-256 that A1111 writes."""

log = logging.getLogger(__name__)

Version = tuple[str, int, int]
"""A file's path, its size in bytes and its modification time in nanoseconds."""


class CheckpointHashes:
    """Computes the hash of each checkpoint once, in a thread of its own: several GB take some seconds."""

    def __init__(self) -> None:
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
            with Path(version[0]).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()[:CHARS]
        except OSError as error:
            log.warning("The hash of %s is not known: %s", Path(version[0]).name, first_line(error))
        with self._lock:
            # A file that changed meanwhile has no hash, and neither has one that can't be read.
            if digest and _version(Path(version[0])) == version:
                self._known[version] = digest
            else:
                self._known.pop(version, None)


def _version(file: Path) -> Version | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return str(file), found.st_size, found.st_mtime_ns
