from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from engine.contract import Lane, Recipe, TextTask
from engine.host import wire
from engine.ray import carried_files
from engine.ray.carried_files import CarriedFiles, read_files, remove_leftovers

PLAIN = Recipe("a", "demo", "a cat", "", 64, 64, 2, 0.0, 7)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_what_messages_name_is_read_once_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, mask, large = tmp_path / "start", tmp_path / "mask", tmp_path / "large"
    start.write_bytes(b"start")
    mask.write_bytes(b"mask")
    large.write_bytes(b"x" * 20)
    monkeypatch.setattr(carried_files, "MAX_BYTES", 10)
    recipe = replace(PLAIN, image=str(start), mask=str(mask), references=(str(start), str(large), "/no/such/file"))
    draw = wire.Draw(Lane.BULK, (1,), (recipe,))
    write = wire.Write(2, TextTask(image=str(mask)))
    assert read_files([draw, write, wire.Drop((1,))]) == {str(start): b"start", str(mask): b"mask"}


def test_files_are_here_until_their_last_request_ends(temporary: Path) -> None:
    files = CarriedFiles()
    recipe = replace(PLAIN, image="/theirs/a", references=("/theirs/b", "/theirs/a", "/theirs/none"))
    draw = wire.Draw(Lane.INTERACTIVE, (1, 2), (recipe, replace(recipe, references=())))
    local = files.localize(draw, {"/theirs/a": b"A", "/theirs/b": b"B"})
    assert isinstance(local, wire.Draw)
    first, second = local.recipes
    assert first.image == second.image == first.references[1]
    assert Path(first.image).read_bytes() == b"A"
    assert Path(first.references[0]).read_bytes() == b"B"
    assert not Path(first.references[2]).exists()
    assert first.references[2] != "/theirs/none", "a file of the same name here is another one"
    files.ended([1, 9])
    assert Path(first.image).exists()
    assert not Path(first.references[0]).exists()
    files.ended([2])
    assert not Path(first.image).exists()
    files.close()
    assert list(temporary.iterdir()) == []


def test_other_messages_pass_as_they_are() -> None:
    files = CarriedFiles()
    described = files.localize(wire.Write(1, TextTask(image="/theirs/a")), {"/theirs/a": b"A"})
    assert isinstance(described, wire.Write)
    assert Path(described.task.image).read_bytes() == b"A"
    for message in (wire.Drop((1,)), wire.Write(3, TextTask("demo", "a cat"))):
        assert files.localize(message, {}) is message


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")
def test_what_killed_processes_left_is_removed_after_a_day(temporary: Path) -> None:
    mine, fresh, old = (temporary / f"easel-painter-{pid}-x" for pid in (os.getpid(), 2**22 + 1, 2**22 + 2))
    for folder in (mine, fresh, old):
        folder.mkdir()
    for folder in (mine, old):
        os.utime(folder, (0, 0))
    remove_leftovers()
    assert sorted(temporary.iterdir()) == sorted((mine, fresh))
