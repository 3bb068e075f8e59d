"""What the system allows this process."""

from __future__ import annotations

import ctypes
import logging

MOST_FILES = 65_536
"""More open files than this are of no use, and some systems say that millions are allowed."""

LARGE_BLOCK = 2**20
"""Bytes of a block that is given back at once."""

_M_MMAP_THRESHOLD = -3

log = logging.getLogger(__name__)


def return_memory() -> bool:
    """Have the C library give large blocks back to the system as soon as they are freed; returns whether it will.

    By itself glibc learns to keep blocks of up to 32 MiB: after some large uploads the process stays hundreds of MiB larger.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK))


def raise_files() -> None:
    """Raise the soft limit of open files to the hard one: each connection and each worker of the engine takes some."""
    try:
        import resource  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.warning("the limit of %d open files can't be raised: %s", soft, error)
