"""Start pictures, masks and references on their way to another machine, where the service's paths mean nothing."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from engine.contract import Recipe
from engine.host import wire

if sys.platform != "win32":
    import fcntl

MAX_BYTES = 64 * 2**20
"""Largest file that is carried; the service accepts much smaller ones."""

_PREFIX = "easel-painter-"

_LOCK = "lock"
"""A file that the process of a folder holds: the system gives it free when that ends, however it does."""

_OLD_SECONDS = 86_400.0
"""Age from which on a folder without that file is left over."""

log = logging.getLogger(__name__)


def read_files(messages: Iterable[wire.Message]) -> dict[str, bytes]:
    """Return the files that messages to a worker name, by path; those that can't be read are left out. Blocking."""
    found = {}
    for path in dict.fromkeys(path for message in messages for path in _paths(message)):
        file = Path(path)
        try:
            if file.stat().st_size <= MAX_BYTES:
                found[path] = file.read_bytes()
        except OSError:
            continue  # the worker says that there is no such file
    return found


def _paths(message: wire.Message) -> Sequence[str]:
    match message:
        case wire.Draw(recipes=recipes):
            return [path for recipe in recipes for path in _paths_of(recipe)]
        case wire.Write(task=task):
            return [task.image] if task.image else []
    return []


def _paths_of(recipe: Recipe) -> list[str]:
    return [path for path in (recipe.image, recipe.mask, *recipe.references) if path]


class CarriedFiles:
    """Files that came with requests, in a folder of their own; each goes when its last request has ended."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        _take(self._lock)
        self._numbers = itertools.count()
        self._by_ticket: dict[int, list[Path]] = {}
        self._uses: Counter[Path] = Counter()

    def localize(self, message: wire.Message, files: Mapping[str, bytes]) -> wire.Message:
        """Write the files of a message, and return it with their paths here.

        One that can't be written is missing there: the worker says so of its request.
        """
        here: dict[str, str] = {"": ""}
        match message:
            case wire.Draw(tickets=tickets, recipes=recipes):
                for ticket, recipe in zip(tickets, recipes, strict=True):
                    self._keep(ticket, _paths_of(recipe), files, here)
                return replace(message, recipes=tuple(_moved(recipe, here) for recipe in recipes))
            case wire.Write(ticket, task) if task.image:
                self._keep(ticket, [task.image], files, here)
                return replace(message, task=replace(task, image=here[task.image]))
        return message

    def ended(self, tickets: Iterable[int]) -> None:
        """Remove the files that only these requests needed."""
        for ticket in tickets:
            for path in self._by_ticket.pop(ticket, ()):
                self._uses[path] -= 1
                if not self._uses[path]:
                    del self._uses[path]
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder."""
        os.close(self._lock)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _keep(self, ticket: int, paths: Sequence[str], files: Mapping[str, bytes], here: dict[str, str]) -> None:
        for path in paths:
            if path not in here:
                own = self._folder / str(next(self._numbers))
                here[path] = str(own)
                if path in files:
                    _write(own, files[path])
            self._by_ticket.setdefault(ticket, []).append(Path(here[path]))
            self._uses[Path(here[path])] += 1


def _moved(recipe: Recipe, here: Mapping[str, str]) -> Recipe:
    return replace(
        recipe,
        image=here[recipe.image],
        mask=here[recipe.mask],
        references=tuple(here[path] for path in recipe.references),
    )


def _write(file: Path, data: bytes) -> None:
    try:
        file.write_bytes(data)
    except OSError as error:
        log.error("a picture of a request can't be written: %s", error.strerror or error)
        file.unlink(missing_ok=True)  # half of it is no picture


def remove_leftovers() -> None:
    """Remove the folders of processes that were killed: they hold people's pictures."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another process removes it at the same time, or it is another user's
            if _is_left(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except FileNotFoundError:  # its process is just making it
        return time.time() - folder.stat().st_mtime > _OLD_SECONDS
    try:
        return _take(lock)
    finally:
        os.close(lock)


def _take(lock: int) -> bool:
    """Lock an open file until it is closed; False if another process has it, or this system can't tell."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
