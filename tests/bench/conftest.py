"""Folders for measurements that write to the disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def disk() -> Iterator[Path]:
    """A folder on the disk; pytest's own folders may be in memory, where a sync costs nothing.

    It is deleted after the last test: for minutes after many files were deleted, ext4 makes new ones slowly.
    """
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        yield Path(folder)


@pytest.fixture
def folder(disk: Path) -> Path:
    """An empty folder on the disk."""
    return Path(tempfile.mkdtemp(dir=disk))
