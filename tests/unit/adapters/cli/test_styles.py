"""The operator's styles: loaded from the data folder, and what is wrong with them is said by the log and the doctor."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from adapters.cli import doctor, draw, main, styles, wiring
from adapters.cli.environment import AppSettings
from bot.settings import Settings
from engine.contract import EngineConfig
from tests.fakes.engine import FakeEngine

CSV = "name,prompt,negative_prompt\nOil,oil painting of {prompt},photo\nBad,a,b,c\n"


def test_both_files_are_loaded_and_a_bad_row_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "styles.toml").write_text('\ufeff[ink]\nprompt = "mine"\n', encoding="utf-8")
    (tmp_path / "styles.csv").write_text(CSV, encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        found = styles.logged(tmp_path)
    assert list(found.styles)[:2] == ["ink", "Oil"]
    assert [record.message.split(" is left")[0] for record in caplog.records] == [
        "styles.csv: “Bad”",
        "styles.toml: your own style takes the place of the built-in style “ink”.",
    ]


@pytest.mark.parametrize("data", [b"[", b"\xff\xfe\0", b"x" * (2**20 + 1), b"[a" * 100_000])
@pytest.mark.parametrize("name", ["styles.toml", "styles.csv"])
def test_a_file_that_is_none_leaves_the_others(tmp_path: Path, name: str, data: bytes) -> None:
    other = {"styles.toml": ("styles.csv", CSV), "styles.csv": ("styles.toml", "[Oil]\nprompt = 'oil'\n")}[name]
    (tmp_path / other[0]).write_text(other[1], encoding="utf-8")
    (tmp_path / name).write_bytes(data)
    found = styles.load(tmp_path)
    assert next(iter(found.styles)) == "Oil"
    assert len(found.styles) == 7
    assert [problem.params["file"] for problem in found.problems if problem.key == "cli.styles.file"] == [name]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes in folders")
def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "styles.csv")
    assert [problem.key for problem in styles.load(tmp_path).problems] == ["cli.styles.file"]


def test_the_doctor_names_what_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    assert doctor.check_styles(tmp_path) is None
    (tmp_path / "styles.csv").write_text(CSV, encoding="utf-8")
    found = doctor.check_styles(tmp_path)
    assert found is not None
    assert (found.ok, found.found.startswith("1 style of your own. styles.csv: “Bad”")) == (False, True)
    assert "starts again" in found.advice
    (tmp_path / "styles.csv").write_text(CSV.replace("Bad,a,b,c\n", "ink,a,b\n"), encoding="utf-8")
    found = doctor.check_styles(tmp_path)
    assert found is not None
    assert (found.ok, "takes the place of the built-in style “ink”" in found.found) == (True, True)


def test_the_command_line_draws_in_an_own_style(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C")

    def engine(_: EngineConfig) -> FakeEngine:
        return FakeEngine()

    monkeypatch.setattr(draw, "ProcessEngine", engine)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "styles.csv").write_text(CSV, encoding="utf-8")
    assert main.run(["draw", "a cat", "--style", "oil", "-o", "a.png"]) == 0
    assert b"oil painting of a cat" in (tmp_path / "a.png").read_bytes()
    assert "“Bad” is left out" in capsys.readouterr().err
    assert main.run(["draw", "a cat", "--style", "Oill", "-o", "b.png"]) == 2
    said = capsys.readouterr().err
    assert "did you mean Oil?" in said
    assert "There are Oil, photo" in said


async def test_the_service_has_them(tmp_path: Path) -> None:
    (tmp_path / "styles.csv").write_text(CSV, encoding="utf-8")
    settings = AppSettings(Settings(_env_file=None, data_dir=tmp_path))

    def engine(_: EngineConfig) -> FakeEngine:
        return FakeEngine()

    async with wiring.opened(settings, engine) as easel:
        assert easel.studio.styles()[:2] == ("Oil", "photo")
        assert "one of Oil, photo" in "\n".join(easel.studio.help("en").notes)
