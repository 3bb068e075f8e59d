"""The unmodified clients of the ``openai`` package, connected to a page over the fake engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from openai import AsyncOpenAI, OpenAI

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
    async with WebHarness(tmp_path, engine, gate, settings_of()).opened() as one:
        yield one


@pytest.fixture
async def client(app: WebHarness) -> AsyncIterator[AsyncOpenAI]:
    """An asynchronous client that repeats nothing by itself."""
    async with AsyncOpenAI(base_url=str(app.server.make_url("/v1")), api_key="unused", max_retries=0) as one:
        yield one


@pytest.fixture
def blocking(app: WebHarness) -> OpenAI:
    """A synchronous client, to be used in a thread."""
    return OpenAI(base_url=str(app.server.make_url("/v1")), api_key="unused", max_retries=0)
