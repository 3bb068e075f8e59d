"""The lock of a data folder, which one service holds, and its holder."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from bot.core.errors import BadInput
from bot.storage import data_files

LOCK = "easel.lock"
HOLDER = "easel.pid"
"""Process id and host of the last holder; a separate file, since a locked file can't be read on Windows."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the data folder's lock while the block runs; the system releases it when the process dies.

    Raises:
        BadInput: Another service holds it, which the sentence names, or the folder is not writable.
    """
    lock = FileLock(folder / LOCK, timeout=0, mode=data_files.FILE_MODE)
    try:
        data_files.make_folder(folder)
        lock.acquire()
    except Timeout:
        raise BadInput("cli.data.in_use", folder=str(folder), holder=_holder(folder)) from None
    except OSError as error:
        raise _unwritable(folder, error) from None
    try:
        try:
            with data_files.open_new(folder / HOLDER) as file:
                file.write(f"{os.getpid()} {platform.node()}\n".encode())
        except OSError as error:
            # The lock's file may be of this user in a folder of another.
            raise _unwritable(folder, error) from None
        yield
        (folder / HOLDER).unlink(missing_ok=True)
    finally:
        lock.release()


def _unwritable(folder: Path, error: OSError) -> BadInput:
    return BadInput("cli.data.unwritable", folder=str(folder), reason=error.strerror or str(error))


def holder_of(folder: Path) -> str | None:
    """Return process id and host of the present holder; None if there is none."""
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        with lock:
            return None
    except Timeout:
        return _holder(folder)
    except OSError:
        return None


def _holder(folder: Path) -> str:
    try:
        pid, _, host = (folder / HOLDER).read_text(encoding="utf-8").strip().partition(" ")
    except OSError:
        return "?"
    return f"{pid} ({host})" if host else pid
