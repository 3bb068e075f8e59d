"""A page over a running bot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import TOKEN, WebHarness, settings_of


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[WebHarness]:
    """A bot that draws at once."""
    gate = StepGate()
    gate.open()
    async with WebHarness(tmp_path, FakeEngine(pause=gate), gate, settings_of()).opened() as one:
        yield one


@pytest.fixture
async def club(tmp_path: Path) -> AsyncIterator[WebHarness]:
    """A page that everybody signs in to, as behind a proxy of its owner. Browsers know it as ``localhost`` too."""
    gate = StepGate()
    gate.open()
    settings = settings_of(public_url="http://localhost", member_keys=True)
    async with WebHarness(tmp_path, FakeEngine(pause=gate), gate, settings, TOKEN).opened() as one:
        yield one


@pytest.fixture
async def held(app: WebHarness) -> WebHarness:
    """The same, held before the first step until its gate is opened."""
    app.gate.shut()
    return app
