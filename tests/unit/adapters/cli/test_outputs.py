"""Where pictures go, decided before anything is drawn."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from adapters.cli import outputs
from bot.core.errors import BadInput, Unavailable


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_one_picture_has_the_name_that_was_given(tmp_path: Path) -> None:
    assert outputs.plan(str(tmp_path / "a.png"), [7]) == (tmp_path / "a.png",)
    assert outputs.plan(str(tmp_path / "A.PNG"), [7]) == (tmp_path / "A.PNG",)


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert outputs.plan("~/a.png", [7]) == (tmp_path / "a.png",)
    assert outputs.plan("~/new/", [7])[0].parent == tmp_path / "new"


def test_several_are_numbered(tmp_path: Path) -> None:
    assert outputs.plan(str(tmp_path / "a.b.png"), [7, 8]) == (tmp_path / "a.b-1.png", tmp_path / "a.b-2.png")


@pytest.mark.parametrize("name", ["new", "new/", "new.folder/", "deep/new", "."])
def test_a_folder_gets_names_by_time_and_seed(tmp_path: Path, name: str) -> None:
    paths = outputs.plan(f"{tmp_path}/{name}", [7, 8])
    assert {path.parent for path in paths} == {tmp_path / name}
    times = [re.fullmatch(r"(\d{8}-\d{6})-([78])\.png", path.name) for path in paths]
    assert [found and found[2] for found in times] == ["7", "8"]
    assert (tmp_path / name).is_dir()


def test_a_folder_that_is_named_like_a_picture_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    (path,) = outputs.plan(str(tmp_path / "a.png"), [7])
    assert path.parent == tmp_path / "a.png"


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.tar.gz"])
def test_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput) as caught:
        outputs.plan(str(tmp_path / name), [7])
    assert caught.value.key == "cli.output.suffix"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file/a.png", "file/", "x" * 300 + "/a.png", "nul\0/a.png"])
def test_what_cannot_be_written_is_refused_before_drawing(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput) as caught:
        outputs.plan(f"{tmp_path}/{name}", [7])
    assert caught.value.key == "cli.output.unwritable"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_said_before_drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**40, 2**40, 2**20))
    with pytest.raises(Unavailable) as caught:
        outputs.plan(str(tmp_path / "a.png"), [7])
    assert caught.value.key == "unavailable.disk_full"


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    outputs.plan(str(tmp_path / "a.png"), [7])
    assert list(tmp_path.iterdir()) == []
