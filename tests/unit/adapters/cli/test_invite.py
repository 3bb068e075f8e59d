"""`easel invite`: the link alone on the last line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adapters.cli.main import BAD_INPUT, OK, run


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("LC_ALL", "C")


def test_it_prints_a_link(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["invite"]) == BAD_INPUT
    said = capsys.readouterr()
    assert said.out == ""
    assert "EASEL_WEB_PUBLIC_URL" in said.err
    for name, value, base in (
        ("EASEL_WEB_HOSTS", "easel.lan, easel.example", r"http://easel\.lan:7860"),
        ("EASEL_WEB_PUBLIC_URL", "https://easel.example/", r"https://easel\.example"),
    ):
        monkeypatch.setenv(name, value)
        assert run(["invite", "--name", "Ada", "--quota", "20/day"]) == OK
        *_, link = capsys.readouterr().out.splitlines()
        assert re.fullmatch(rf"{base}/invite/[\w-]{{43}}", link)


@pytest.mark.parametrize("line", [["--days", "0"], ["--days", "1000"], ["--quota", "many"], ["--person", "web:nobody"]])
def test_what_is_wrong_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: list[str]
) -> None:
    monkeypatch.setenv("EASEL_WEB_PUBLIC_URL", "https://easel.example")
    assert run(["invite", *line]) == BAD_INPUT
    said = capsys.readouterr()
    assert (said.out, len(said.err.splitlines())) == ("", 1)
