"""The hub's stand-in with one repository, for the tests of what lists and downloads models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.hub import Hub
from tests.unit.engine.hub.conftest import REPO, UNWANTED, WANTED, serving_files


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serving_files(REPO, tmp_path / "hub", {**WANTED, **UNWANTED}) as hub:
        yield hub
