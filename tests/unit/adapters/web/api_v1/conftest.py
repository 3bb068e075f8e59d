"""A page over the fake engine whose API may reach this machine, and a checker of its answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.editing import EDITOR, PLAIN
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness, settings_of


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[WebHarness]:
    """A bot with a default model that takes no references, and one that edits."""
    gate = StepGate()
    gate.open()
    engine = FakeEngine((PLAIN, EDITOR), gate, edit_model="editor")
    async with WebHarness(tmp_path, engine, gate, settings_of(private_targets=True)).opened() as one:
        yield one
