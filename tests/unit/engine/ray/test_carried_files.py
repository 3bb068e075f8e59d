from __future__ import annotations

import errno
import os
import subprocess
import sys
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


def test_a_file_that_cannot_be_written_is_missing_and_no_other_is_read(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = temporary / "theirs"
    theirs.write_bytes(b"another file of that name")
    files = CarriedFiles()

    def full(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        local = files.localize(wire.Draw(Lane.BULK, (1,), (replace(PLAIN, image=str(theirs)),)), {str(theirs): b"A"})
    assert isinstance(local, wire.Draw)
    assert local.recipes[0].image != str(theirs)
    assert not Path(local.recipes[0].image).exists()
    assert "a picture of a request can't be written: No space left on device" in caplog.text
    files.ended([1])


_KILLED = """
import os, signal
from engine.host import wire
from engine.contract import TextTask
from engine.ray.carried_files import CarriedFiles

CarriedFiles().localize(wire.Write(1, TextTask(image="/theirs/a")), {"/theirs/a": b"A"})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_pictures_of_a_killed_process_are_removed_by_the_next_one(temporary: Path) -> None:
    subprocess.run([sys.executable, "-c", _KILLED], env={**os.environ, "TMPDIR": str(temporary)}, check=False)
    (left,) = temporary.iterdir()
    assert {file.name for file in left.iterdir()} == {"lock", "0"}
    mine = CarriedFiles()
    made = temporary / "easel-painter-being-made"
    made.mkdir()
    remove_leftovers()
    assert not left.exists()
    assert sorted(temporary.iterdir()) == sorted((mine._folder, made))
    os.utime(made, (0, 0))
    remove_leftovers()
    assert list(temporary.iterdir()) == [mine._folder]
    mine.close()
