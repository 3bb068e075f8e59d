"""The system's limits of this process."""

from __future__ import annotations

import ctypes
import logging

MOST_FILES = 65_536
"""Most open files that are requested; some systems allow millions."""

LARGE_BLOCK = 2**20
"""Bytes from which a freed block is returned to the system at once."""

_M_MMAP_THRESHOLD = -3

log = logging.getLogger(__name__)


def return_memory() -> bool:
    """Have the C library return large blocks to the system when they are freed; returns whether it will.

    By default glibc adapts to keep blocks of up to 32 MiB: after large uploads the process would stay hundreds of MiB
    larger.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK))


def raise_files() -> None:
    """Raise the soft limit of open files to the hard limit: every connection and child process needs some."""
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
