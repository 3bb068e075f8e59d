"""Hashes of checkpoint files: as A1111 computes them, once for a file, and none for a folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from engine.diffusion.checkpoint_hashes import CHARS, CheckpointHashes


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
