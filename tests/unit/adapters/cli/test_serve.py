"""What the system allows the service."""

from __future__ import annotations

import logging
import platform
import resource
import subprocess
import sys

import pytest

from adapters.cli import serve


@pytest.mark.parametrize(
    ("soft", "hard", "wanted"),
    [
        (1024, 4096, (4096, 4096)),
        (1024, 2**20, (serve.MOST_FILES, 2**20)),
        (1024, resource.RLIM_INFINITY, (serve.MOST_FILES, resource.RLIM_INFINITY)),
        (4096, 4096, None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None),
    ],
)
def test_the_service_raises_its_limit_of_open_files(
    soft: int, hard: int, wanted: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, values: given.append(values))
    serve.raise_files()
    assert given == ([] if wanted is None else [wanted])


def test_a_limit_that_can_not_be_raised_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    with caplog.at_level(logging.WARNING):
        serve.raise_files()
    assert "1024 open files" in caplog.text


GROWN = """
import resource, sys
from adapters.cli import serve
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 2**20
before = resident()
if sys.argv[1] == "yes":
    assert serve.return_memory()
for _ in range(4):  # glibc learns from the first ones
    blocks = [bytearray(20 * 2**20) for _ in range(8)]
    small = [bytearray(1000) for _ in range(1000)]
    del blocks
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own setting")
def test_large_blocks_are_given_back() -> None:
    def grown(how: str) -> int:
        return int(subprocess.check_output([sys.executable, "-c", GROWN, how], text=True))

    assert grown("yes") < 20
