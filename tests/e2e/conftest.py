"""Fixtures for tests from the outside: the real service, started and always ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.service import Service

StartService = Callable[..., Service]


@pytest.fixture(scope="module")
def module_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service without chat platforms for all tests of a module: for tests that only use the page."""
    one = Service(tmp_path_factory.mktemp("service"))
    one.start()
    yield one
    one.end()


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[StartService]:
    """A function that starts services: ``start_service(env={...}, name="a", ready=True)``."""
    started: list[Service] = []

    def start(*, env: dict[str, str] | None = None, name: str = "service", ready: bool = True) -> Service:
        one = Service(tmp_path / name, env)
        started.append(one)
        one.start(ready=ready)
        return one

    yield start
    for one in started:
        one.end()


@pytest.fixture
def service(start_service: StartService) -> Service:
    """A service of the test's own, ready, with no chat platform."""
    return start_service()
