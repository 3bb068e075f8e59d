"""Fixtures of end-to-end tests: the real service, started and always ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.cli import main
from tests.e2e.service import Service

StartService = Callable[..., Service]
Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """A function that runs one `easel` command in this process and in ``tmp_path``: for lines that end before anything
    is loaded. Returns the exit code and what was said on stdout and stderr.
    """
    monkeypatch.chdir(tmp_path)

    def run(*args: str, lang: str = "C.UTF-8", **env: str) -> tuple[int, str, str]:
        # Changes of the environment end with the command.
        with monkeypatch.context() as own:
            own.setattr(os, "environ", {**os.environ, "LC_ALL": lang, **env})
            try:
                code = main.run(args)
            except SystemExit as end:  # argparse exits for a wrong command line
                code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="module")
def module_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service without chat platforms, shared by the tests of a module."""
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
    """A ready service without chat platforms, for one test."""
    return start_service()
