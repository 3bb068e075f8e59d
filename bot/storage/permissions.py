"""Files and folders that the owner of the process alone may read: made so, and made so afterwards where they are not."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bot.storage import paths

FILE, FOLDER = 0o600, 0o700

PICTURE_FILE = re.compile(r"\d{1,18}-\d{1,4}\.png", re.ASCII)
"""A picture's name in the folder of its day."""

_OTHERS = 0o077

log = logging.getLogger(__name__)


def make_folder(path: Path) -> None:
    """Make a folder and the ones above it that are missing, for their owner alone. Raises OSError."""
    missing = []
    place = path
    while not place.exists():
        missing.append(place)
        place = place.parent
    for folder in reversed(missing):
        folder.mkdir(mode=FOLDER, exist_ok=True)
    path.mkdir(exist_ok=True)  # raises where it is no folder


def open_new(path: Path, mode: int = FILE) -> BinaryIO:
    """Open a file to be written from its beginning; never through a link. Raises OSError.

    Args:
        path: The file.
        mode: Its permissions where it is new, less the umask; its owner alone may read it otherwise.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, mode), "wb")


def tighten(data: Path, pictures: str = paths.PICTURES) -> int:
    """Take from others what they may do with the files that Easel has made in its data folder; returns how many.

    Earlier versions wrote pictures for everybody to read. Links are not followed, and files that Easel did not make stay
    as they are. For a thread.
    """
    if os.name != "posix":
        return 0
    done = 0
    for path in _made(data, pictures):
        try:
            done += _take(path)
        except FileNotFoundError:
            continue  # not made yet
        except OSError as error:
            log.warning("%s may be read by others, and that can't be changed: %s", path, error.strerror or error)
    if done:
        log.info("%d files and folders could be read by others; only their owner can now", done)
    return done


def _take(path: Path) -> bool:
    mode = path.lstat().st_mode
    if not mode & _OTHERS or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return False
    # By its descriptor: between the look and the change it may have become a link.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) & ~_OTHERS)
    finally:
        os.close(descriptor)
    return True


def _made(data: Path, pictures: str) -> Iterator[Path]:
    """Everything that Easel makes, each folder after what is in it: a private folder has nothing to tighten inside."""
    for name in (paths.INPUTS, paths.SHEETS, paths.EXPORTS):
        yield from _files(data / name)
    for year in day_folders(data / pictures, 4):
        for month in day_folders(year, 2):
            for day in day_folders(month, 2):
                yield from _files(day)
            yield month
        yield year
    yield data / pictures
    yield from data.glob("easel.*")
    yield from (data / name for name in ("discord-commands", "orphans", "models"))


def _files(folder: Path) -> Iterator[Path]:
    """The files of a folder that others may look into, then the folder."""
    try:
        mode = folder.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISDIR(mode) or not mode & _OTHERS:
        return
    for entry in os.scandir(folder):
        if any(p.match(entry.name) for p in (PICTURE_FILE, paths.INPUT, paths.SHEET, paths.EXPORT)):
            yield Path(entry.path)
    yield folder


def day_folders(folder: Path, digits: int) -> Iterator[Path]:
    """Yield the folders whose names have that number of digits, without following links. For a thread."""
    if not folder.is_dir():
        return
    for entry in os.scandir(folder):
        if len(entry.name) == digits and entry.name.isdecimal() and entry.is_dir(follow_symlinks=False):
            yield Path(entry.path)
