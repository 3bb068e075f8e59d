"""One browser for all tests of a run, and a page for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.web.browser import Browser, need_chromium
from tests.fakes.engine import FakeEngine
from tests.fakes.step_gate import StepGate
from tests.unit.adapters.web.harness import WebHarness, settings_of


@pytest.fixture(scope="session")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The window that all tests share."""
    need_chromium()
    one = Browser(tmp_path_factory.mktemp("browser"))
    yield one
    one.close()


@pytest.fixture
def browser(window: Browser) -> Browser:
    """The window as at its start: English, 1200 pixels wide, without preferences, and with nothing in its console."""
    window.driver.get("about:blank")
    window.become()
    window.complaints()
    window.requested()
    return window


@pytest.fixture
def engine_gate() -> StepGate:
    """Holds the engine's steps; open until a test closes it."""
    gate = StepGate()
    gate.open()
    return gate


@pytest.fixture
def engine(engine_gate: StepGate) -> FakeEngine:
    """What draws for the page."""
    return FakeEngine(pause=engine_gate)


@pytest.fixture
async def app(tmp_path: Path, engine: FakeEngine, engine_gate: StepGate) -> AsyncIterator[WebHarness]:
    """A page on a free port."""
    async with WebHarness(tmp_path, engine, engine_gate, settings_of()).opened() as one:
        yield one


async def look(app: WebHarness, scene: Callable[[str], None]) -> None:
    """Run what the person at the browser does, in a thread beside the page's loop."""
    await asyncio.to_thread(scene, str(app.client.make_url("/")))
