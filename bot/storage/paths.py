"""The names that Easel gives to its files, and whether a path out of a row lies where such a file may lie."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

PICTURES = "pictures"
"""Where pictures lie in the data folder."""

INPUTS = "inputs"
"""Where pictures that people give lie in the data folder."""

SHEETS = "sheets"
"""Where contact sheets lie in the data folder."""

EXPORTS = "exports"
"""Where exports lie in the data folder."""

PICTURE = re.compile(r"\d{4}/\d{2}/\d{2}/(\d{1,18})-(\d{1,4})\.png", re.ASCII)
"""A picture's path in the pictures folder: its day, its job and its index."""

INPUT = re.compile(r"[0-9a-f]{64}\.png", re.ASCII)
"""What somebody gave to start from, in its folder: named by its SHA-256."""

SHEET = re.compile(r"[0-9a-f]{24}\.png", re.ASCII)
"""A contact sheet in its folder."""

EXPORT = re.compile(r"\d{1,18}-\d{1,6}\.zip", re.ASCII)
"""A part of an export in its folder."""

HALF_WRITTEN = re.compile(r"(\.[0-9a-f]{8})?\.part", re.ASCII)
"""What stands behind the name of a file that is not whole yet."""

NO_FILE = "0000/00/00/0-0.png"
"""Stands for a path that no picture can have: there never is such a file."""


def is_confined(path: str) -> bool:
    """Whether a relative path with ``/`` stays inside the folder that it is relative to; links are not looked at."""
    return not set(path) & {"\\", "\0", ":"} and all(part not in {"", ".", ".."} for part in path.split("/"))


def is_half_written(name: str, whole: re.Pattern[str]) -> bool:
    """Whether this is the name of a half-written file whose whole name matches."""
    match = re.fullmatch(rf"({whole.pattern})(({HALF_WRITTEN.pattern})+)", name, re.ASCII)
    return match is not None


def is_linked(folder: Path, path: str) -> bool:
    """Whether anything on the way from a folder to ``path`` is a link; the folder itself may be one. For a thread."""
    place = folder
    for part in path.split("/"):
        place = place / part
        if place.is_symlink():
            return True
    return False


def regular(folder: Path, path: str) -> Path | None:
    """Return where a regular file inside a folder is; None for everything else, links among it. For a thread.

    Args:
        folder: A folder of Easel's; it may be a link itself.
        path: Relative to it, with ``/``.
    """
    if not is_confined(path) or is_linked(folder, path):
        return None
    place = folder / path
    try:
        return place if stat.S_ISREG(place.lstat().st_mode) else None
    except OSError:
        return None


def locate(pictures: Path, name: str) -> Path | None:
    """Return the file behind a name that is relative to the data folder, as jobs keep it: a picture, or what was given.

    None where there is none, or where it does not lie inside the folder that it belongs in. For a thread.
    """
    folder, _, rest = name.partition("/")
    if folder == pictures.name:
        return regular(pictures, rest)
    return regular(pictures.parent / INPUTS, rest) if folder == INPUTS else None


def is_start(name: str, pictures: str) -> bool:
    """Whether this is a name that Easel writes into a job for a file to start from."""
    folder, _, rest = name.partition("/")
    if folder == pictures:
        return PICTURE.fullmatch(rest) is not None
    return folder == INPUTS and (INPUT.fullmatch(rest) is not None or rest == "unkept")


def is_sent(name: str, pictures: str) -> bool:
    """Whether a path, relative to the data folder, is one that Easel writes into a stored card."""
    folder, _, rest = name.partition("/")
    patterns = {pictures: PICTURE, SHEETS: SHEET, EXPORTS: EXPORT}
    return folder in patterns and patterns[folder].fullmatch(rest) is not None


def sendable(pictures: Path, path: Path) -> bool:
    """Whether a stored card's file is one of Easel's own, in this data folder and without links. For a thread.

    A row may come out of somebody else's backup: it must not name any file of this machine.
    """
    data = pictures.parent.absolute()
    try:
        name = Path(os.path.normpath(path.absolute())).relative_to(os.path.normpath(data)).as_posix()
    except ValueError:
        return False
    folder, _, rest = name.partition("/")
    return is_sent(name, pictures.name) and not is_linked(data / folder, rest)
