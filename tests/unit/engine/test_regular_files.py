from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.regular_files import FileTooLarge, NotRegular, open_regular, read_bytes, read_json, read_text


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, make: Callable[[Path], object]) -> None:
    path = tmp_path / "it"
    make(path)
    with pytest.raises(NotRegular, match="it is no regular file"):
        open_regular(path)


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "it").write_bytes(b"\xef\xbb\xbfabc")
    (tmp_path / "link").symlink_to("it")
    assert read_bytes(tmp_path / "link", 6) == b"\xef\xbb\xbfabc"
    assert read_text(tmp_path / "link") == "abc"
    with pytest.raises(FileTooLarge, match="more than 5 bytes"):
        read_bytes(tmp_path / "link", 5)
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "none", 5)


def test_json_that_is_nested_too_deeply(tmp_path: Path) -> None:
    (tmp_path / "it").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(tmp_path / "it")
