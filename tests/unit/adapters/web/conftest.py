"""A page over a running bot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.engine import FakeEngine
from tests.flow.gate import Gate
from tests.unit.adapters.web.house import House, settings_of


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A bot that draws at once."""
    gate = Gate()
    gate.open()
    async with House(tmp_path, FakeEngine(pause=gate), gate, settings_of()).opened() as one:
        yield one


@pytest.fixture
async def held(house: House) -> House:
    """The same, held before the first step until its gate is opened."""
    house.gate.shut()
    return house
