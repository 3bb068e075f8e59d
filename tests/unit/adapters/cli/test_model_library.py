"""The models on the disk as the owner's pages list, download and remove them, against a stand-in of the hub."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.cli import environment
from adapters.cli.model_library import DiskLibrary
from bot.core.errors import BadInput, NotAllowed, NotFound, Unavailable
from bot.owner.ports import LibraryModel, ModelState, PullProgress
from tests.fakes.hub import COMMIT, Hub
from tests.unit.engine.hub.conftest import REPO, WANTED, write

TABLES = f"""
[mine]
source = "{REPO}"
like = "demo"
title = "Mine"
licence = "MIT"
"""


@pytest.fixture
def library(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> DiskLibrary:
    """The library of a folder whose default model is the bundled one."""
    folder = tmp_path / "easel"
    write(folder, {"data/models.toml": TABLES.encode(), ".env": f"HF_ENDPOINT={hub.url}\n".encode()})
    monkeypatch.chdir(folder)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in [name for name in os.environ if name.startswith(("HF_", "EASEL_", "HUGGING_FACE_"))]:
        monkeypatch.delenv(name)
    return DiskLibrary(environment.settings())


async def of(library: DiskLibrary, name: str) -> LibraryModel:
    return next(model for model in (await library.read("en")).models if model.name == name)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what a thread does."""
    async with asyncio.timeout(20):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def ended(library: DiskLibrary) -> PullProgress:
    async with asyncio.timeout(20):
        while True:
            pull = (await library.read("en")).pull
            if pull is not None and not pull.running:
                return pull
            await asyncio.sleep(0.01)


async def test_a_model_is_downloaded_listed_and_removed(library: DiskLibrary) -> None:
    assert (await of(library, "demo")).state is ModelState.BUNDLED
    assert (await of(library, "mine")).state is ModelState.ABSENT
    await library.pull("mine")
    pull = await ended(library)
    assert (pull.name, pull.problem, pull.stopped) == ("mine", "", False)
    assert pull.fetched > 0
    mine = await of(library, "mine")
    assert (mine.state, mine.title, mine.licence, mine.commit) == (ModelState.HERE, "Mine", "MIT", COMMIT[:8])
    assert mine.removable
    assert await library.remove("mine") == mine.bytes > 0
    assert (await of(library, "mine")).state is ModelState.ABSENT
    with pytest.raises(NotFound):
        await library.remove("mine")


async def test_one_download_at_a_time_and_it_can_be_stopped(library: DiskLibrary, hub: Hub) -> None:
    big = max((path for path in WANTED), key=lambda path: len(WANTED[path]))
    hub.stalls[big] = 1
    await library.pull("mine")
    with pytest.raises(Unavailable) as refusal:
        await library.pull("mine")
    assert refusal.value.key == "unavailable.models.busy"
    await until(lambda: bool(hub.asked_storage))
    await library.stop_pull()
    hub.released.set()
    pull = await ended(library)
    assert (pull.stopped, pull.problem) == (True, "")
    assert (await of(library, "mine")).state is not ModelState.HERE
    hub.stalls.clear()
    await library.pull("mine")
    assert not (await ended(library)).stopped
    assert (await of(library, "mine")).state is ModelState.HERE, "it goes on where it was stopped"


@pytest.mark.parametrize(
    ("name", "kind"), [("demo", BadInput), ("no such model", NotFound), ("/etc", BadInput), ("../x", NotFound)]
)
async def test_what_can_not_be_downloaded_is_said(library: DiskLibrary, name: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await library.pull(name)
    assert (await library.read("en")).pull is None


async def test_a_download_that_fails_says_why(library: DiskLibrary) -> None:
    await library.pull("somebody/not-there")
    pull = await ended(library)
    assert "somebody/not-there" in pull.problem


async def test_the_default_model_is_not_removed(
    library: DiskLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EASEL_MODEL", "mine")
    with pytest.raises(NotAllowed):
        await DiskLibrary(environment.settings()).remove("mine")
