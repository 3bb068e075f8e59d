"""Fixtures of all tests: an environment without this machine's own settings, and an open database."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from bot.storage.database import Database

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
    async with await Database.open(tmp_path / "easel.db") as opened:
        yield opened
