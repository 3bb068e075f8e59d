"""The lock of the data folder, and what it says."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from adapters.cli.lock import held
from bot.core.errors import BadInput


def test_the_second_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(BadInput) as caught, held(tmp_path):
        pytest.fail("held twice")
    assert caught.value.key == "cli.data.in_use"
    assert caught.value.params == {"folder": str(tmp_path), "holder": f"{os.getpid()} ({platform.node()})"}


def test_the_folder_is_free_again_afterwards(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), held(tmp_path):
        raise ZeroDivisionError
    with held(tmp_path):
        pass


def test_what_a_killed_holder_left_behind_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "easel.lock").touch()
    (tmp_path / "easel.pid").write_text("1 elsewhere\n")
    with held(tmp_path):
        assert (tmp_path / "easel.pid").read_text() == f"{os.getpid()} {platform.node()}\n"


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(BadInput) as caught, held(tmp_path / "data"):
        pytest.fail("held a file")
    assert caught.value.key == "cli.data.unwritable"
    assert caught.value.params["folder"] == str(tmp_path / "data")


def test_a_folder_whose_holder_cannot_be_written_is_refused_and_free_again(tmp_path: Path) -> None:
    (tmp_path / "easel.pid").mkdir()
    with pytest.raises(BadInput) as caught, held(tmp_path):
        pytest.fail("held a folder that can't be written")
    assert caught.value.key == "cli.data.unwritable"
    (tmp_path / "easel.pid").rmdir()
    with held(tmp_path):
        pass
