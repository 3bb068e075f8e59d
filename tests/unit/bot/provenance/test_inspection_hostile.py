"""Inspecting 300 hostile files, and taking them as uploads: nothing fails, nothing is asked of the network, work and memory are bounded."""

from __future__ import annotations

import contextlib
import gc
import select
import socket
import sys
from collections.abc import Iterator
from types import FrameType

import psutil
import pytest

from bot.core.image_parts import NotAnImage
from bot.provenance.inspection import inspect
from bot.provenance.kept_marks import found_label, keep_marks
from tests.fakes.hostile_files import hostile_files
from tests.unit.bot.provenance.marked_files import plain

MOST_CALLS = 1_000_000
"""Calls of functions for one file, those of Python and of C; a picture has some hundreds."""

GROWTH = 32 * 2**20
"""Bytes that a second reading of all files may add to the process: the allocators' noise, of 70 MB of files."""


@pytest.fixture
def address() -> Iterator[str]:
    """An address that nobody may ask: also c2pa's own library, which uses no socket of Python."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/manifest"
        assert select.select([listening], [], [], 0)[0] == []


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError(f"a connection: {args}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def calls_of(data: bytes) -> int:
    """Inspect a file; returns the number of calls that it took."""
    calls = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        inspect(data)
    except NotAnImage:
        pass
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.usefixtures("_no_network")
def test_hostile_files_do_nothing(address: str) -> None:
    files = hostile_files(1, 300, address)
    for data in files:
        assert calls_of(data) < MOST_CALLS
        # As an upload, it leaves no mark behind but a label that is right.
        assert found_label(keep_marks(plain(), data, manifest=True)) == ""
    gc.collect()
    before = psutil.Process().memory_info().rss
    for data in files[:150]:
        with contextlib.suppress(NotAnImage):
            inspect(data)
        keep_marks(plain(), data, manifest=True)
    gc.collect()
    assert psutil.Process().memory_info().rss - before < GROWTH
