"""Reads files that operators provide, only regular ones and only up to a maximum size, and writes JSON files as a whole."""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

JSON_BYTES = 64 * 2**20
"""Maximum bytes of a config. The largest of a known model, a tokenizer's, has 11 MB."""

TEXT_BYTES = 2**20
"""Maximum bytes of a file that people write by hand."""


class NotRegular(OSError):
    """The path is a folder, a pipe, a socket or a device."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, "it is no regular file", str(path))


class FileTooLarge(OSError):
    """The file exceeds the maximum size of its kind."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(errno.EFBIG, f"it has more than {most:,} bytes", str(path))


def absolute(folder: Path, written: str) -> Path:
    """Return a path that somebody wrote, relative to a folder or to a home (``~``), as an absolute one.

    Links are kept: a hub's cache links a file's name to content that has no suffix.

    Raises ValueError where it is no path.
    """
    if "\0" in written:
        raise ValueError("a path has no NUL")
    try:
        return Path(os.path.abspath(folder / Path(written).expanduser()))  # noqa: PTH100  # Path.resolve follows links
    except RuntimeError as e:  # a home that is not known
        raise ValueError(str(e)) from e


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file, or a link to one, for reading. Never blocks, as opening a pipe would.

    Raises:
        FileNotFoundError: There is no such file.
        NotRegular: It is no regular file.
        OSError: It can't be opened.
    """
    # Checked before opening, since opening a device may already have an effect.
    if not stat.S_ISREG(path.stat().st_mode):
        raise NotRegular(path)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotRegular(path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most ``most`` bytes.

    Raises:
        FileNotFoundError, NotRegular, OSError: As ``open_regular``.
        FileTooLarge: The file is larger.
    """
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise FileTooLarge(path, most)
    return data


def read_text(path: Path, most: int = TEXT_BYTES) -> str:
    """Return the text of a file in UTF-8, with or without a byte order mark.

    Raises:
        OSError: As ``read_bytes``.
        UnicodeDecodeError: The file is not UTF-8.
    """
    return read_bytes(path, most).decode("utf-8-sig")


def read_json(path: Path, most: int = JSON_BYTES) -> Any:
    """Return the content of a JSON file.

    Raises:
        OSError: As ``read_bytes``.
        ValueError: The file is not UTF-8, not JSON, or nested deeper than Python's stack.
    """
    try:
        return json.loads(read_text(path, most))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def write_json(path: Path, value: object) -> None:
    """Write a JSON file durably, and as a whole: readers see the old content or the new one. Raises OSError."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(value, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
