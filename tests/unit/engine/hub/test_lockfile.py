from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from engine.hub import lockfile
from engine.hub.errors import FetchError
from engine.hub.lockfile import Pin, RepoFile

PIN = Pin(
    "a" * 40, {"vae/config.json": RepoFile(819, "b" * 40), "vae/x.safetensors": RepoFile(2**33, "c" * 64)}, "/elsewhere"
)


def test_what_was_put_is_read(tmp_path: Path) -> None:
    models = str(tmp_path / "models")
    assert lockfile.read(models) == {}
    assert lockfile.pinned("a/b", models) == ""
    lockfile.put(models, "a/b", PIN)
    lockfile.put(models, "c/d", Pin("d" * 40))
    assert lockfile.read(models) == {"a/b": PIN, "c/d": Pin("d" * 40)}
    assert lockfile.pinned("a/b", models) == PIN.revision
    assert [file.sha256 for file in PIN.files.values()] == ["", "c" * 64]
    lockfile.forget(models, "a/b")
    lockfile.forget(models, "nobody/nothing")
    assert lockfile.read(models) == {"c/d": Pin("d" * 40)}


def test_the_file_is_as_documented(tmp_path: Path) -> None:
    lockfile.put(str(tmp_path), "owner/name", Pin("a" * 40, {"vae/config.json": RepoFile(819, "b" * 40)}))
    assert json.loads((tmp_path / lockfile.NAME).read_text()) == {
        "format": 1,
        "models": {
            "owner/name": {"revision": "a" * 40, "files": {"vae/config.json": {"size": 819, "oid": "b" * 40}}},
        },
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"format": 2, "models": {}}',
        '{"format": 1, "models": []}',
        '{"format": 1, "models": {"a/b": {}}}',
    ],
)
def test_one_that_makes_no_sense_is_kept_and_said(tmp_path: Path, text: str) -> None:
    (tmp_path / lockfile.NAME).write_text(text)
    with pytest.raises(FetchError, match=lockfile.NAME):
        lockfile.read(str(tmp_path))
    with pytest.raises(FetchError, match=lockfile.NAME):
        lockfile.put(str(tmp_path), "a/b", PIN)
    assert lockfile.pinned("a/b", str(tmp_path)) == ""
    assert (tmp_path / lockfile.NAME).read_text() == text


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(FetchError, match="can't be written") as caught:
        lockfile.put(str(tmp_path / "models"), "a/b", PIN)
    assert not caught.value.passing


def test_nothing_is_lost_between_two_who_write(tmp_path: Path) -> None:
    def write(name: str) -> None:
        for i in range(10):
            lockfile.put(str(tmp_path), f"{name}/{i}", Pin("a" * 40))

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lockfile.read(str(tmp_path))) == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == [lockfile.NAME, f"{lockfile.NAME}.lock"]
