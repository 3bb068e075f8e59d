"""`easel key`: the key alone on the last line, and what the list says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.cli.main import BAD_INPUT, OK, run


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")
    return tmp_path


def easel(*line: str) -> int:
    return run(["key", *line])


def test_a_key_is_made_listed_and_revoked(capsys: pytest.CaptureFixture[str]) -> None:
    assert easel("list") == OK
    assert "easel key create" in capsys.readouterr().out
    assert easel("create", "--name", "bridge", "--quota", "20/day", "at-once", "2") == OK
    *_, key = capsys.readouterr().out.splitlines()
    assert key.startswith("easel-")
    assert " " not in key
    assert easel("list") == OK
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("1  bridge  easel-")
    assert key not in line
    assert "never" in line
    assert easel("revoke", "bridge") == OK
    assert "bridge" in capsys.readouterr().out
    assert easel("list") == OK
    assert "revoked" in capsys.readouterr().out
    assert run(["quota", "show"]) == OK
    assert "2 " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (("create", "--name", "x", "--quota", "many"), "many"),
        (("create", "--name", "x", "--person", "telegram:5"), "telegram:5"),
        (("create", "--name", ""), "1 to 40"),
        (("revoke", "nothing"), "nothing"),
    ],
)
def test_what_is_wrong_is_one_sentence(capsys: pytest.CaptureFixture[str], line: tuple[str, ...], named: str) -> None:
    assert easel(*line) == BAD_INPUT
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert named in said.err


def test_two_processes_make_two_keys(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        assert easel("create", "--name", name) == OK
    first, second = (line for line in capsys.readouterr().out.splitlines() if line.startswith("easel-"))
    assert first != second
