"""Hashes of checkpoint files: as A1111 computes them, once for a file, and none for a folder."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest

from engine.diffusion.checkpoint_hashes import CHARS, NAME, CheckpointHashes


def put(path: Path, content: bytes = b"weights") -> str:
    """Write a file; returns its hash as A1111 writes it."""
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()[:CHARS]


def ended(hashes: CheckpointHashes, model: str, file: Path | None) -> bool:
    """Load a model and wait for its hash; returns whether it was computed."""
    thread = hashes.begin(model, file)
    if thread is not None:
        thread.join()
    return thread is not None


def test_a_file_has_the_hash_that_a1111_writes(tmp_path: Path) -> None:
    hashes, wanted = CheckpointHashes(), put(tmp_path / "a.safetensors", b"weights" * 10_000)
    assert hashes.of("a") == ""
    assert ended(hashes, "a", tmp_path / "a.safetensors")
    assert hashes.of("a") == wanted
    assert len(wanted) == 10


def test_a_folder_and_a_lost_file_have_none(tmp_path: Path) -> None:
    hashes = CheckpointHashes()
    assert not ended(hashes, "folder", None)
    assert not ended(hashes, "gone", tmp_path / "gone.safetensors")
    assert (hashes.of("folder"), hashes.of("gone"), hashes.of("unknown")) == ("", "", "")


def test_each_version_of_a_file_is_read_once(tmp_path: Path) -> None:
    hashes, file = CheckpointHashes(), tmp_path / "a.safetensors"
    first = put(file)
    assert [ended(hashes, name, file) for name in ("a", "a", "b")] == [True, False, False]
    assert hashes.of("b") == first
    second = put(file, b"other weights")
    assert ended(hashes, "a", file)
    # The model that was loaded before still has the weights of then.
    assert (hashes.of("a"), hashes.of("b")) == (second, first)
    assert not ended(hashes, "a", None)
    assert hashes.of("a") == ""


def test_a_file_that_changes_while_it_is_read_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes, file = CheckpointHashes(), tmp_path / "a.safetensors"
    put(file)
    read = hashlib.file_digest

    def changed(*args: object) -> object:
        digest = read(*args)  # type: ignore[arg-type]  # as it was called
        os.utime(file, ns=(1, 1))
        return digest

    monkeypatch.setattr("hashlib.file_digest", changed)
    assert ended(hashes, "a", file)
    assert hashes.of("a") == ""
    monkeypatch.undo()
    assert ended(hashes, "a", file), "it is tried again"
    assert hashes.of("a")


def test_a_hash_is_kept_for_later_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, file = tmp_path / "models", tmp_path / "a.safetensors"
    first, read = put(file), list[object]()
    digest = hashlib.file_digest

    def counted(*args: object) -> object:
        read.append(args)
        return digest(*args)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr("hashlib.file_digest", counted)

    def of_a_new_process() -> str:
        hashes = CheckpointHashes(folder)
        ended(hashes, "a", file)
        return hashes.of("a")

    assert [of_a_new_process() for _ in range(3)] == [first] * 3
    assert len(read) == 1
    # Another version of the file is another file.
    second = put(file, b"other weights")
    assert [of_a_new_process() for _ in range(2)] == [second] * 2
    assert len(read) == 2
    # One of each is kept; what is damaged is computed again.
    assert list(json.loads((folder / NAME).read_text())) == [str(file)]
    for damaged in (b"{", b"[]", b'{"%s": 5}' % os.fsencode(file), b'{"%s": [1, 2, "x"]}' % os.fsencode(file)):
        (folder / NAME).write_bytes(damaged)
        assert [of_a_new_process() for _ in range(2)] == [second] * 2
    assert len(read) == 6


def test_processes_that_load_the_same_file_wait_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, read = tmp_path / "a.safetensors", list[object]()
    wanted, digest, begun, end = put(file), hashlib.file_digest, threading.Event(), threading.Event()

    def slow(*args: object) -> object:
        read.append(args)
        begun.set()
        assert end.wait(60)
        return digest(*args)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr("hashlib.file_digest", slow)
    several = [CheckpointHashes(tmp_path) for _ in range(3)]
    threads = [several[0].begin("a", file)]
    assert begun.wait(60)
    threads += [one.begin("a", file) for one in several[1:]]
    end.set()
    for thread in threads:
        assert thread is not None
        thread.join()
    assert [one.of("a") for one in several] == [wanted] * 3
    assert len(read) == 1


def test_a_folder_that_can_not_be_written_costs_no_hash(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "models").write_text("a file")
    hashes, file = CheckpointHashes(tmp_path / "models"), tmp_path / "a.safetensors"
    wanted = put(file)
    assert ended(hashes, "a", file)
    assert hashes.of("a") == wanted
    assert "a.safetensors is not kept" in caplog.text


def test_a_file_that_can_not_be_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hashes, file = CheckpointHashes(), tmp_path / "a.safetensors"
    put(file)

    def broken(*_: object) -> object:
        raise OSError("input/output error")

    monkeypatch.setattr("hashlib.file_digest", broken)
    assert ended(hashes, "a", file)
    assert hashes.of("a") == ""
    assert "a.safetensors" in caplog.text
