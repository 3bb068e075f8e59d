"""Fixtures of all tests: an environment without this machine's own settings, and an open database."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from bot.storage.database import Database
from engine.host.imports import large_imports
from tests.fakes.empty_database import open_database

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 << 30
"""A run of all tests keeps less than this in its temporary folders."""


def pytest_configure() -> None:
    """Set what saves time: temporary folders in memory, compiled modules that are kept, one thread for each worker.

    Most tests open a database, and each commit waits for the disk. Without kept bytecode, each process that a test
    starts compiles Easel's modules again. PYTEST_DEBUG_TEMPROOT and OMP_NUM_THREADS take precedence.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Import all tests as a process imports large libraries: the garbage collector never looks through those again."""
    with large_imports():
        return (yield)


# Without a deadline: on a busy machine any example may take long.
settings.register_profile("easel", deadline=None, print_blob=True)
settings.load_profile("easel")


@pytest.fixture(autouse=True, scope="session")
def _clean_environment() -> None:
    """Remove the operator's own EASEL_* settings, so that no test connects to a real service."""
    for name in [n for n in os.environ if n.startswith("EASEL_") and not n.startswith("EASEL_TEST_")]:
        del os.environ[name]
    # A shell starts background jobs with SIGINT ignored, and child processes of the tests would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Restore logging: a command that runs in this process logs to a stream that is closed after its test."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    loggers = [root, *(one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger))]
    levels = [(one, one.level) for one in loggers]
    yield
    root.handlers[:] = handlers
    for one, level in levels:
        if one.level != level:
            one.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Compute with one thread, here and in child processes: sums differ by the last bit with another number of them."""
    import torch  # noqa: PLC0415 - most tests need no torch

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    """An open database file with the shipped tables."""
    async with await open_database(tmp_path / "easel.db") as opened:
        yield opened
